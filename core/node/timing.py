"""How long something takes: count, sum, running average, longest, and a histogram for the metrics."""

from bisect import bisect_left

BOUNDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Upper bounds of the histogram in seconds; what is longer goes into one bucket more."""
_WEIGHT = 0.1


class Timing:
    """Durations in seconds."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.average = 0.0
        """Running average in which the last ten or so weigh most."""
        self.longest = 0.0
        self.buckets = [0] * (len(BOUNDS) + 1)

    def add(self, seconds: float) -> None:
        self.count += 1
        self.total += seconds
        self.average += (seconds - self.average) * _WEIGHT
        self.longest = max(self.longest, seconds)
        self.buckets[bisect_left(BOUNDS, seconds)] += 1
