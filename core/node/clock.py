"""The cluster's clock as one node sees it."""

from collections.abc import Callable


class ClusterClock:
    """Cluster time in ns: the last logged value and the monotonic time that has passed since.

    It never goes back and does not heed the wall clock; an outage of the cluster stops it. Wall time only renders it.
    """

    def __init__(self, logged: int, monotonic: Callable[[], int], wall: Callable[[], float]) -> None:
        """`monotonic` gives ns, `wall` Unix seconds."""
        self._monotonic = monotonic
        self._wall = wall
        self._base = logged - monotonic()
        self._offset = 0.0
        self.follow_wall()

    def now(self) -> int:
        return self._base + self._monotonic()

    def advance(self, logged: int) -> None:
        """Another member, or a replayed entry, logged this time: do not fall behind it."""
        if logged > self.now():
            self._base = logged - self._monotonic()

    def wall(self, cluster_time: int) -> float:
        """The Unix time to show for a cluster time. Steady between calls of `follow_wall`, so that one expiration
        is shown alike by every reply."""
        return cluster_time / 1e9 + self._offset

    def follow_wall(self) -> None:
        """Take over a step of the wall clock; smaller differences than a tenth of a second are left alone."""
        offset = self._wall() - self.now() / 1e9
        if abs(offset - self._offset) > 0.1:
            self._offset = offset
