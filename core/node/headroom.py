"""Whether there is room for more data: on the disk, and under the quota."""

from core.node.disk import Space, State

CREDIT = 4 << 20
"""Bytes of commands that may be admitted between two looks. A byte admitted is written to the log and to the state, and
both copy pages: the low-water mark of the disk is many times this."""


class Headroom:
    """Watches space. `shortage` says why data is refused at the moment, and what to do; empty if it is not."""

    def __init__(self, space: Space, state: State, quota: int) -> None:
        """`quota` in bytes of the state."""
        self._space = space
        self._state = state
        self._quota = quota
        self._credit = 0
        self.shortage = ""
        self.look()

    def follow(self, state: State) -> None:
        """Another state took the place of the old one."""
        self._state = state
        self.look()

    @property
    def nearly_gone(self) -> bool:
        """Whether history should make room for data: nine tenths of the quota are used, or the disk is short."""
        return bool(self.shortage) or self._used() >= self._quota * 0.9

    def admits(self, size: int) -> bool:
        """Whether a command that adds `size` bytes may be proposed; it counts as if it were."""
        self._credit -= size
        if self._credit < 0 and not self.shortage:
            self.look()
        return not self.shortage

    def ran_out(self, why: str) -> bool:
        """A commit found no room: refuse data from now on, and give the reserve to what may go on. Whether there
        was a reserve to give."""
        self.shortage = why
        return self._space.release_reserve()

    def look(self) -> None:
        """See how things are now; what was short may have become ample by itself."""
        self._space.restore_reserve()
        left = self._quota - self._used()
        self._credit = min(CREDIT, left)
        if left <= 0:
            self.shortage = (
                f"the data takes up its quota of {self._quota} bytes; delete keys, or raise --quota-backend-bytes"
            )
        elif self._space.is_low():
            self.shortage = "the disk of the data directory is nearly full; free some space on it"
        else:
            self.shortage = ""

    def _used(self) -> int:
        return self._state.size_in_use() + self._state.dirty_bytes
