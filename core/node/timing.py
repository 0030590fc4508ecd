"""How long something takes, for telling the cause of slowness and for the metrics."""

from collections import deque

import msgspec

from core.node.latency import Latency

_RECENT = 512


class Timing:
    """Durations in seconds."""

    def __init__(self) -> None:
        self.histogram = Latency()
        self.count = 0
        self.longest = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.count += 1
        self.longest = max(self.longest, seconds)
        self._recent.append(seconds)
        self.histogram.observe(int(seconds * 1e9))

    def quantile(self, share: float) -> float:
        """What this share of the last few hundred stayed below; 0 before the first."""
        ordered = sorted(self._recent)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


class Counts(msgspec.Struct):
    """What happened since the start."""

    leaders: int = 0
    """Elections: a leader of a term became known."""
    sent: int = 0
    """Snapshots that reached a member."""
    received: int = 0
    """Snapshots that were installed."""


class Timings(msgspec.Struct, frozen=True):
    """Where the time goes, for metrics and for telling the cause of slowness."""

    commit: Timing
    """Durable commits of the log: the disk."""
    apply: Timing
    """Applying batches and answering their requests: the processor."""
    flush: Timing
    """Flushes of the state: both."""
    lag: Timing
    """How late the ticker woke: whatever kept the loop."""
