"""Every size, count and time of the peer port, in one value."""

import msgspec

KIB = 1024
MIB = 1024 * KIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds.

    With n other members their links hold at most n times (`queue_bytes` + four times `frame_bytes`: one on its way out,
    and one coming in as what was received, as its body and as its values); callers that have not said what they want,
    `pending_max` times the 16 KiB of a request; a snapshot, a few MiB at each end.
    """

    frame_bytes: int = 8 * MIB
    """Body of one frame. A raft message carries up to 1 MiB of entries, or one larger entry alone; an entry is a batch
    of at most 4 MiB of commands. Has to be the same or larger on the members it is sent to."""
    queue_bytes: int = 16 * MIB
    """Frames that wait to be sent to one member, and the one under way."""
    queue_frames: int = 8192
    beat_s: float = 1.0
    """How often each side of a connection says that it lives."""
    silent_beats: int = 4
    """After so many beats without a word from the other side the connection is closed."""
    connect_s: float = 2.0
    """To find the host and connect to it; long enough for the first packet to be lost once."""
    handshake_s: float = 5.0
    """From connecting to the answer to the upgrade, on both sides."""
    retry_first_s: float = 0.05
    """Before the first new attempt to connect; doubles with each failure, and chance takes up to half of it off."""
    retry_most_s: float = 1.0
    pending_max: int = 128
    """Accepted connections that have not yet said what they want. At the next one the oldest is closed."""
    linger_s: float = 1.0
    """How long input is thrown away after a refusal, so that the other side can read why."""
    told_again_s: float = 60.0
    """The same refusal of the same caller is logged once in this time."""

    def __post_init__(self) -> None:
        """Raise ValueError where two limits contradict each other."""
        if self.queue_bytes < self.frame_bytes:
            raise ValueError("queue_bytes must be at least frame_bytes: a frame that fits no queue is never sent")
        times = (
            self.beat_s,
            self.connect_s,
            self.handshake_s,
            self.retry_first_s,
            self.retry_most_s,
            self.linger_s,
            self.told_again_s,
        )
        counts = (self.frame_bytes, self.queue_frames, self.silent_beats, self.pending_max)
        if min(times) <= 0 or min(counts) <= 0:
            raise ValueError("limits must be greater than zero")
