"""Every size and time the front end bounds, in one value."""

import msgspec

from core.api.http import recognise

KIB = 1024
MIB = 1024 * KIB


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes, times in seconds. What exceeds one costs only the connection that does it.

    Times are checked by a sweep every `sweep_s`, so a limit takes effect up to two sweeps late, never early.
    """

    target_max: int = 8 * KIB
    """Request target; beyond: 414."""
    head_max: int = 16 * KIB
    """Request line and headers together; beyond: 431."""
    body_max: int = 1536 * KIB
    """Request body after decoding; beyond: 413."""
    held_max: int = 256 * MIB
    """Unfinished requests and unsent responses of all connections together; the one that goes beyond is refused
    with 503 (request) or cut off (response)."""
    connections_max: int = 20_000
    """Open connections. Beyond, the oldest of those that never sent a whole request makes room; if there is none: 503
    and close. Lowered at start to what the limit on open files leaves."""
    handshakes_max: int = 1000
    """Unfinished TLS handshakes of one listener, some 30 KiB each; beyond, the oldest is closed."""
    idle_s: float = 120.0
    """Between requests."""
    request_s: float = 30.0
    """From the first byte of a request to its last; beyond: 408."""
    handshake_s: float = 10.0
    """TLS handshake."""
    write_s: float = 30.0
    """For a client to take what was sent to it, besides one second for each `write_rate_min` bytes."""
    write_rate_min: int = 64 * KIB
    linger_s: float = 2.0
    """How long input is thrown away after a refusal, so that the client can read why."""
    sweep_s: float = 1.0

    def __post_init__(self) -> None:
        """Raise ValueError where two limits contradict each other."""
        if self.target_max < recognise.HEAD_MAX:
            raise ValueError(
                f"target_max must be at least {recognise.HEAD_MAX} bytes: "
                "smaller requests are recognised before this limit is looked at"
            )
        if self.head_max < self.target_max:
            raise ValueError("head_max must be at least target_max: the target is part of the head")
        times = (self.idle_s, self.request_s, self.handshake_s, self.write_s, self.linger_s, self.sweep_s)
        sizes = (self.body_max, self.held_max, self.connections_max, self.handshakes_max, self.write_rate_min)
        if min(times) <= 0 or min(sizes) <= 0:
            raise ValueError("limits must be greater than zero")
