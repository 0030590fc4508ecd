"""How much of the log stays behind the applied entry, so that a member that was away needs no whole snapshot."""

from collections import deque

RETAINED_BYTES = 64 << 20
"""Data of the entries that stay while there are others to feed."""
HELD_BYTES = 1 << 30
"""Data that may pile up behind a snapshot on its way: beyond, its receiver will need another one."""
_MARK_BYTES = 1 << 20


class Retention:
    """Counts what is applied, in marks of about a megabyte."""

    def __init__(self) -> None:
        self._total = 0
        self._marks: deque[tuple[int, int]] = deque([(0, 0)])
        """(index, data applied up to and with it since the start), ascending."""
        self._held: list[int] = []

    def applied(self, index: int, size: int) -> None:
        """An entry with `size` bytes of data was applied."""
        self._total += size
        if self._total - self._marks[-1][1] >= _MARK_BYTES:
            self._marks.append((index, self._total))

    def floor(self, applied: int, *, alone: bool) -> int:
        """Up to where the log may go: nobody but the member itself needs what is before `applied`, if it is `alone`."""
        if alone and not self._held:
            return applied
        while len(self._marks) > 1 and self._total - self._marks[1][1] >= RETAINED_BYTES:
            if self._held and self._marks[1][0] > min(self._held) and self._total - self._marks[1][1] < HELD_BYTES:
                break
            self._marks.popleft()
        return min(self._marks[0][0], applied)

    def hold(self, index: int) -> None:
        """A snapshot of `index` is on its way; what is behind will be needed when it has arrived."""
        self._held.append(index)

    def release(self, index: int) -> None:
        """It arrived, or will not."""
        self._held.remove(index)

    def restart(self, index: int) -> None:
        """The log begins anew behind `index`."""
        self._marks = deque([(index, self._total)])
