"""A directory with what is in it, as JSON in slices.

A listing may be of any size, so it is a walk that can be put down and taken up again. All of it is of one index.
"""

from collections.abc import Iterator

from core.api.store import Store
from core.api.v2.render import encode, present
from core.kv import paths
from core.kv.records import Record

SLICE_NODES = 128
"""Nodes to a slice: one to three milliseconds of reading and rendering."""
SLICE_BYTES = 64 * 1024
FIRST_PAGE = 16
"""Nodes asked of the store at first; later pages follow the size of the values."""
_END = object()


class _Directory:
    """A directory in the middle of being listed."""

    def __init__(self, children: Iterator[Record | None], path: bytes, tail: bytes) -> None:
        self.children = children
        self.name_at = len(path) + (path != paths.ROOT)
        """Where the names of its children begin in their paths."""
        self.tail = tail
        """What follows its nodes."""
        self.begun = False
        """Whether a node was written."""


class Listing:
    """The walk through a directory (None: the root) as of the store's index at this moment."""

    def __init__(self, store: Store, directory: Record | None, *, recursive: bool) -> None:
        self.index = store.revision
        self.complete = False
        """Whether the last slice was given."""
        self._store = store
        self._directory = directory
        self._recursive = recursive
        self._page = FIRST_PAGE

    def slices(self) -> Iterator[bytes]:
        """The body, piece by piece. CompactedError when the index is no longer kept."""
        pieces: list[bytes] = []
        size = 0
        for fragment in self._fragments():
            pieces.append(fragment)
            size += len(fragment)
            if len(pieces) >= SLICE_NODES or size >= SLICE_BYTES:
                yield b"".join(pieces)
                pieces.clear()
                size = 0
        self.complete = True
        yield b"".join(pieces)

    def _fragments(self) -> Iterator[bytes]:
        """Depth first with a stack of its own: paths may be deeper than Python's."""
        path = paths.ROOT if self._directory is None else self._directory.key
        head, tail = (b'{"dir":true', b"}") if self._directory is None else self._split(self._directory)
        yield b'{"action":"get","node":' + head
        stack = [_Directory(self._children(path), path, tail)]
        while stack:
            top = stack[-1]
            record = next(top.children, _END)
            if record is None:
                yield b""
            elif not isinstance(record, Record):
                stack.pop()
                yield b"]" + top.tail if top.begun else top.tail
            elif record.key.startswith(b"_", top.name_at):
                yield b""  # hidden, but it took time
            else:
                before = b"," if top.begun else b',"nodes":['
                top.begun = True
                if record.directory and self._recursive:
                    head, tail = self._split(record)
                    stack.append(_Directory(self._children(record.key), record.key, tail))
                    yield before + head
                else:
                    yield before + encode(present(self._store, record))
        yield b"}\n"

    def _split(self, directory: Record) -> tuple[bytes, bytes]:
        """The JSON of a directory before and after the place of its nodes."""
        node = encode(present(self._store, directory))
        place = node.rindex(b',"modifiedIndex":')
        return node[:place], node[place:]

    def _children(self, path: bytes) -> Iterator[Record | None]:
        """What is directly in a directory; None where only time passed, over deleted names."""
        after: bytes | None = b""
        while after is not None:
            limit = self._page
            at = None if self._store.revision == self.index else self.index
            page = self._store.children(path, after, limit, at)
            yield from page.records
            after = page.more
            size = sum(len(record.value) for record in page.records) + 1
            self._page = max(1, min(SLICE_NODES, 2 * limit, limit * SLICE_BYTES // size))
            if not page.records:
                yield None
