"""What was made of files as they stand, kept until they change: reads of the same file need not read it again.

What is here was read from rows whose checksums were right, or written by this process: it is no less checked than a
row that was just read, and stays right if its row is damaged on the disk meanwhile.
"""

from collections.abc import Collection

from core.kv import paths

LIMIT = 48 << 20
"""Bytes of memory that all of it may take, about: some 150,000 answers about small values."""
LARGEST = 64 << 10
"""Bytes of one. To send a larger one takes far longer than to make it."""
MANY = 4096
"""Files; if more than so many change at once it is quicker to forget all."""
_COST = 170
"""Bytes of memory that an entry, or a directory, takes beside its own."""


class Memo:
    """Bytes by the clean path of a file. Whoever writes rows says what changed; all others only read and keep.

    Bounded without long work at once: beyond the limit each new entry drops one that was not asked for lately.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._size = 0
        self._fresh: dict[bytes, bytes] = {}
        self._aged: dict[bytes, bytes] = {}
        """Entries on their way out: one that is asked for comes back."""
        self._above: set[bytes] = set()
        """All directories above an entry: a file in the place of one hides the entry."""
        self._above_size = 0

    def get(self, path: bytes) -> bytes | None:
        """What was made of the file at a path, if that is known and the file is what it was."""
        made = self._fresh.get(path)
        if made is None and self._aged:
            made = self._aged.pop(path, None)
            if made is not None:
                self._fresh[path] = made
        return made

    def keep(self, path: bytes, made: bytes) -> None:
        """Remember what was made of a file as it is now; it must depend on nothing else. Nothing if it is known."""
        if len(made) > min(LARGEST, self._limit) or path in self._fresh or path in self._aged:
            return
        directory = paths.parent(path)
        while directory not in self._above and directory != paths.ROOT:
            self._above.add(directory)
            self._above_size += len(directory) + _COST
            directory = paths.parent(directory)
        if self._above_size > self._limit // 4:  # of many entries that are long gone
            self.clear()
            return
        self._fresh[path] = made
        self._size += len(path) + len(made) + _COST
        while self._size + self._above_size > self._limit:
            if not self._aged:
                self._aged, self._fresh = self._fresh, {}
            old, gone = self._aged.popitem()
            self._size -= len(old) + len(gone) + _COST

    def changed(self, path: bytes) -> None:
        """The file at a path was made, written or ended."""
        if not self._size:
            return
        made = self._fresh.pop(path, None)
        if made is None:
            made = self._aged.pop(path, None)
        if made is not None:
            self._size -= len(path) + len(made) + _COST
        if path in self._above:
            self.clear()

    def changed_all(self, keys: Collection[bytes]) -> None:
        """All these were."""
        if len(keys) > MANY:
            self.clear()
            return
        for path in keys:
            self.changed(path)

    def clear(self) -> None:
        """Anything may have changed."""
        self._fresh, self._aged, self._above = {}, {}, set()
        self._size = self._above_size = 0
