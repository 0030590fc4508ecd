"""A histogram of durations, cheap enough for every request."""

from bisect import bisect_left

BOUNDS_NS = (
    100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 6_400_000, 12_800_000, 25_600_000, 51_200_000,
    102_400_000, 204_800_000, 409_600_000, 819_200_000, 1_638_400_000, 3_276_800_000, 6_553_600_000,
)  # fmt: skip
"""Upper bounds of the buckets; the last bucket is without bound."""


class Latency:
    """How many took how long."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS_NS) + 1)
        self.total_ns = 0

    def observe(self, duration_ns: int) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS_NS, duration_ns) if duration_ns > BOUNDS_NS[0] else 0] += 1
        self.total_ns += duration_ns

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound in seconds, as Prometheus wants them."""
        found: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*BOUNDS_NS, None), self.counts, strict=True):
            running += count
            found.append(("+Inf" if bound is None else str(bound / 1e9), float(running)))
        return found
