"""`/v3/kv/range`: read, sort and cut ranges in slices, all of one revision."""

from collections.abc import Iterator
from functools import partial
from itertools import islice

import msgspec

from core.api.v3.calls import Call, Context
from core.api.v3.encoding import int64
from core.api.v3.errors import invalid
from core.api.v3.messages import SORT_ORDERS, SORT_TARGETS, RangeRequest
from core.api.v3.operations import key_value_pieces
from core.api.v3.render import key_value, key_values
from core.api.v3.sorting import Sorting, ordered
from core.api.v3.store import Store
from core.kv.access import Right, Span, span
from core.kv.errors import CompactedError
from core.kv.outcomes import RangeDone
from core.kv.records import Record

PAGE = 200
"""Records to a slice when they are fetched one by one, in another order than that of their keys."""
_DESCEND = 2
_ALL = 1 << 62


class Options(msgspec.Struct, frozen=True, gc=False):
    """What a range asks for, in numbers."""

    key: bytes
    end: bytes | None
    limit: int
    """0: all."""
    revision: int
    """0: now."""
    order: int
    target: int
    keys_only: bool
    count_only: bool
    bounds: tuple[int, int, int, int] | None
    """Least and greatest mod revision and create revision; 0: not asked."""

    @property
    def by_key(self) -> bool:
        """Whether the order of the keys is the one asked for, either way."""
        return self.target == 0

    @property
    def is_plain(self) -> bool:
        """Whether the first keys of the range are what is asked for, so that a limit may be applied while reading."""
        return self.order == 0 and self.bounds is None

    def keeps(self, record: Record) -> bool:
        """Whether a version is within the bounds."""
        if self.bounds is None:
            return True
        least, greatest, first, last = self.bounds
        return (
            (not least or record.revision >= least)
            and (not greatest or record.revision <= greatest)
            and (not first or record.create_revision >= first)
            and (not last or record.create_revision <= last)
        )


def options_of(request: RangeRequest) -> Options:
    """The options of a request. RpcError 3."""
    if not request.key:
        raise invalid("key is not provided")
    target = SORT_TARGETS.number(request.sort_target)
    if not 0 <= target < len(SORT_TARGETS.names):
        raise invalid("invalid sort option")
    bounds = (
        int64(request.min_mod_revision),
        int64(request.max_mod_revision),
        int64(request.min_create_revision),
        int64(request.max_create_revision),
    )
    return Options(
        request.key,
        request.range_end or None,
        min(max(int64(request.limit), 0), _ALL),
        max(int64(request.revision), 0),
        SORT_ORDERS.number(request.sort_order),
        target,
        request.keys_only,
        request.count_only,
        bounds if any(bounds) else None,
    )


class Ranges:
    """The handler."""

    def __init__(self, context: Context) -> None:
        self._store = context.store
        self._header = context.header

    def serve(self, request: RangeRequest, call: Call) -> None:
        """Answer one request."""
        options = options_of(request)
        call.permit(Right.READ, options.key, options.end)
        shown = call.shown(options.key)
        if shown is not options.key:
            options = msgspec.structs.replace(options, key=shown, end=None)
        if request.serializable:
            self._read(options, call)
        else:
            call.confirmed(partial(self._read, options, call))

    def _read(self, options: Options, call: Call) -> None:
        store = self._store
        header = self._header.now()
        if options.end is None and not options.count_only:
            record = store.key(options.key, options.revision)
            call.send(b'{"header":%b%b}' % (header, one(options, record)))
            return
        call.send_slices(b'{"header":%b' % header, Body(store, options).pieces())


def one(options: Options, record: Record | None) -> bytes:
    """What follows the header in the answer for a single key."""
    if record is None:
        return b""
    if not options.keeps(record):
        return b',"count":"1"'
    return b',"kvs":[%b],"count":"1"' % key_value(record, keys_only=options.keys_only)


def shaped(options: Options, done: RangeDone) -> Iterator[bytes]:
    """What follows the header in the answer for a range that was read within a transaction, in pieces, a slice of work
    each."""
    records = [record for record in done.records if options.keeps(record)]
    descending = options.order == _DESCEND
    if not options.by_key:
        records = ordered(records, options.target, descending=descending)
    elif descending:
        records.reverse()
    shown = records[: options.limit or _ALL]
    if shown:
        yield b',"kvs":['
        yield from key_value_pieces(shown, keys_only=options.keys_only)
        yield b"]"
    if len(records) > len(shown):
        yield b',"more":true'
    if done.count:
        yield b',"count":"%d"' % done.count


class Body:
    """What follows the header in the answer for a range, as of the store's revision at this moment."""

    def __init__(self, store: Store, options: Options) -> None:
        self._store = store
        self._options = options
        self._now = store.revision
        self._count = 0

    def pieces(self) -> Iterator[bytes]:
        """JSON piece by piece, a slice of work each; some are empty. CompactedError when the revision is gone."""
        options = self._options
        shown = 0
        limit = options.limit or _ALL
        more = False
        found = self._counted() if options.count_only else self._by_key() if options.by_key else self._sorted()
        for slice_ in found:
            kept = slice_[: limit - shown]
            more = more or len(slice_) > len(kept)
            if kept:
                before = b"," if shown else b',"kvs":['
                shown += len(kept)
                yield before + key_values(kept, keys_only=options.keys_only)
            else:
                yield b""
        end = b"]" if shown else b""
        if more:
            end += b',"more":true'
        if self._count:
            end += b',"count":"%d"' % self._count
        yield end + b"}"

    def _counted(self) -> Iterator[tuple[Record, ...]]:
        for _ in self._pages(0, reverse=False):
            yield ()

    def _by_key(self) -> Iterator[tuple[Record, ...]]:
        """In the order of the keys. The bounds come before the limit."""
        options = self._options
        wanted = options.limit + 1 if options.limit else _ALL
        yield from self._pages(wanted, reverse=options.order == _DESCEND)

    def _sorted(self) -> Iterator[tuple[Record, ...]]:
        """In another order. Without one etcd takes the first keys of the limit and sorts those."""
        options = self._options
        cut = options.limit + 1 if options.limit and not options.order and options.bounds is None else _ALL
        sorting = Sorting(options.target, descending=options.order == _DESCEND)
        for records in self._pages(cut, reverse=False):
            sorting.add(records)
            yield ()
        positions = sorting.positions()
        while batch := list(islice(positions, PAGE)):
            yield tuple([self._existing(position) for position in batch])

    def _existing(self, position: bytes) -> Record:
        record = self._store.record(position)
        if record is None:
            raise CompactedError(self._now)
        return record

    def _pages(self, wanted: int, *, reverse: bool) -> Iterator[tuple[Record, ...]]:
        """The records within the bounds, at most `wanted`, a page at a time; all keys are counted."""
        store, options = self._store, self._options
        rest: Span | None = span(options.key, options.end)
        while rest is not None:
            at = options.revision or (0 if store.revision == self._now else self._now)
            page = store.page(rest, at, wanted if options.bounds is None or not wanted else _ALL, reverse=reverse)
            self._count += page.count
            kept = page.records
            if options.bounds is not None:
                kept = tuple([record for record in kept if options.keeps(record)])
            kept = kept[:wanted]
            wanted -= len(kept)
            rest = page.rest
            yield kept
