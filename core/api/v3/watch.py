"""`/v3/watch`: the watches of one connection, opened and closed by the messages of its request's body.

Everything happens in turns of the front end's loop (`core.api.http.conversation`): a turn serves some messages and some
watches that have something to tell, sends what they say in one piece, and asks for another turn if there is more. While
the client does not take what was sent nothing is read, neither messages nor events, so what it costs is bounded.

A revision of very many events is one line of the stream that takes several turns (`core.api.v3.telling`). They are
turns of nothing else: messages, also one that cancels the watch, wait for the end of the line.
"""

import secrets
from collections import deque
from collections.abc import Sequence
from functools import partial

import msgspec
import trio

from core.api.access import audit
from core.api.access.gate import Gate
from core.api.access.identity import ANONYMOUS
from core.api.encodings import Encodings
from core.api.http.message import Line, Reply, Request
from core.api.plain import JSON
from core.api.v3.calls import NOT_ALLOWED, Context, identified
from core.api.v3.encoding import Reader, int64
from core.api.v3.errors import Code, RpcError, invalid, response, stream_line
from core.api.v3.header import Header
from core.api.v3.render import key_value
from core.api.v3.splitter import Splitter
from core.api.v3.store import KeyWatcher, Store
from core.api.v3.telling import Telling
from core.api.v3.watch_messages import FILTERS, NO_DELETE, NO_PUT, NOBODY, WatchCreateRequest, WatchRequest, reply
from core.kv.access import Identity, Permission, Right, span
from core.kv.errors import CompactedError, DivergedError
from core.kv.records import Event
from core.kv.reserved import NOWHERE, is_reserved, opens

MESSAGES = 32
"""Messages of the body served in one turn: about a millisecond."""
DELIVERIES = 32
"""Watches served in one turn. One that reads history ends the turn: that takes two milliseconds."""
PROGRESS_SECONDS = 600.0
FIRST_SECONDS = 30.0
"""How long the first message may take to come."""
FRAGMENT = 2 << 20
"""Bytes of one message, about, where the client takes fragments: etcd's limit of a request, and a little."""
HELD = 64 << 20
"""Bytes of memory that the watches of one connection may take, about."""
_COST = 1000
"""Of one watch, besides its key."""

_LARGE = 256 << 10
"""Bytes of events after which a turn ends."""
_chance = secrets.SystemRandom()

_COMPACTED = b"etcdserver: mvcc: required revision has been compacted"
_EMPTY = b"mvcc: watcher range is empty"
_DUPLICATE = b"mvcc: duplicate watch ID provided on the WatchStream"
_DENIED = b"rpc error: code = PermissionDenied desc = etcdserver: permission denied"
_NOBODY = b"rpc error: code = InvalidArgument desc = etcdserver: user name is empty"
_TOO_MANY = b"etcdserver: too many watches on this connection; open another one"


class WatchHandler:
    """The handler of the path."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self.store: Store = context.store
        self.gate: Gate = context.gate
        self.header: Header = context.header
        self.encodings = Encodings()
        self.reader = Reader(WatchRequest)

    def __call__(self, request: Request, answer: Reply) -> None:
        if request.method != b"POST":
            answer.send(NOT_ALLOWED)
        else:
            identified(self._context, request, answer, lambda who: answer.converse(WatchStream(self, request, who)))

    def event(self, event: Event, *, previous: bool) -> bytes:
        """An event as JSON, encoded once."""
        record = event.record
        return self.encodings.get((record.position, previous), partial(_event, event, previous=previous))


def _event(event: Event, *, previous: bool) -> bytes:
    kind = b'"type":"DELETE",' if event.record.gone else b""
    before = b""
    if previous and event.previous is not None:
        before = b',"prev_kv":%b' % key_value(event.previous)
    return b'{%b"kv":%b%b}' % (kind, key_value(event.record), before)


class _Watch:
    """One open watch."""

    __slots__ = ("_stream", "allowed", "fragment", "id", "previous", "progress", "queued", "told", "watcher")

    def __init__(self, stream: "WatchStream", watch_id: int, create: WatchCreateRequest, allowed: int) -> None:
        self._stream = stream
        self.id = watch_id
        self.previous = create.prev_kv
        self.fragment = create.fragment
        self.progress = create.progress_notify
        self.told = False
        """Whether it told of anything since progress was told last."""
        self.allowed = allowed
        """By the access records of which revision."""
        self.queued = False
        self.watcher: KeyWatcher | None = None
        """None once it is closed."""

    def tell(self, _: object) -> None:
        """There is something to take."""
        if not self.queued:
            self.queued = True
            self._stream.queue(self)

    def close(self) -> None:
        """Stop watching."""
        if self.watcher is not None:
            self.watcher.close()
            self.watcher = None


class WatchStream:
    """The watches of one connection: a `core.api.http.message.Talk`."""

    def __init__(self, service: WatchHandler, request: Request, identity: Identity | None) -> None:
        self._service = service
        self._request = request
        self._identity = identity
        self._line: Line | None = None
        self._splitter = Splitter()
        self._ended = False
        """The whole body is here."""
        self.hungry = True
        self._watches: dict[int, _Watch] = {}
        self._next_id = 0
        self._held = 0
        self._queue: deque[_Watch] = deque()
        """Those that have something to tell."""
        self._telling: Telling | None = None
        """The line that is begun and not ended."""
        self._out: list[bytes] = []
        self._progress_asked = False
        self._progress_at: float | None = None
        self._first_by = trio.current_time() + FIRST_SECONDS

    # Called by the front end

    def begin(self, line: Line) -> None:
        """The connection is ours."""
        self._line = line
        line.wake_in(FIRST_SECONDS)

    def received(self, data: bytes, *, last: bool) -> None:
        """More messages."""
        self._splitter.feed(data)
        self._ended = last
        self.hungry = False
        self.ready()

    def ready(self) -> None:
        """Take a turn."""
        line = self._line
        if line is None:
            return
        try:
            if self._telling is not None:
                self._tell(self._telling)
            else:
                if not self.hungry:
                    self._serve_messages()
                self._deliver()
            if self._telling is None:
                self._tell_progress(line)
            if self.hungry and not (self._out or line.begun):
                self._check_patience()
        except RpcError as error:
            self._fail(line, error)
            return
        self._send(line)
        if self._telling is not None or not self.hungry or self._queue:
            line.wake()

    def _check_patience(self) -> None:
        """RpcError if nothing was asked for and nothing is to be expected."""
        if self._ended:
            raise invalid("no watch is asked for")
        if trio.current_time() >= self._first_by:
            raise RpcError(Code.DEADLINE_EXCEEDED, f"no message came within {FIRST_SECONDS:g} s")

    def gone(self) -> None:
        """The connection is no longer ours."""
        self._line = None
        self._telling = None
        for watch in self._watches.values():
            watch.close()
        self._watches.clear()
        self._queue.clear()

    def queue(self, watch: _Watch) -> None:
        """A watch has something to tell."""
        self._queue.append(watch)
        if self._line is not None:
            self._line.wake()

    # Messages

    def _serve_messages(self) -> None:
        for _ in range(MESSAGES):
            found = self._splitter.next()
            if found is None:
                self.hungry = True
                if self._ended:
                    self._splitter.end()
                return
            message = self._service.reader.read(found)
            if message.create_request is not None:
                self._create(message.create_request)
            elif message.cancel_request is not None:
                self._cancel(int64(message.cancel_request.watch_id))
            elif message.progress_request is not None:
                self._progress_asked = True

    def _create(self, create: WatchCreateRequest) -> None:
        key = create.key or b"\0"
        end = create.range_end or None
        start = int64(create.start_revision)
        watch_id = int64(create.watch_id)
        filters = [FILTERS.number(name) for name in create.filters]
        if is_reserved(key) and not self._reserve():
            key, end = NOWHERE, None  # to whoever may do nothing with them they are not there
        if start < 0:
            self._refuse(_COMPACTED)
        elif not self._may(key, end):
            self._refuse(self._denial())
        elif end is not None and end != b"\0" and end <= key:
            self._refuse(_EMPTY)
        elif watch_id in self._watches and watch_id != 0:
            self._refuse(_DUPLICATE)
        elif self._held + _cost(key, end) > HELD:
            self._refuse(_TOO_MANY)
        else:
            watch = _Watch(self, watch_id or self._free_id(), create, self._service.gate.switch.revision)
            self._out.append(reply(self._service.header.now(), watch.id, b',"created":true'))
            self._open(watch, key, end, start, filters)

    def _open(self, watch: _Watch, key: bytes, end: bytes | None, start: int, filters: Sequence[int]) -> None:
        puts, deletes = NO_PUT not in filters, NO_DELETE not in filters
        try:
            watch.watcher = self._service.store.watch_keys(
                key, end, watch.tell, start=start, puts=puts, deletes=deletes, previous=watch.previous
            )
        except CompactedError as error:
            self._compacted(watch, error)
            return
        except DivergedError as error:
            self._diverged(watch, error)
            return
        self._watches[watch.id] = watch
        self._held += _cost(watch.watcher.key, watch.watcher.end)
        if watch.progress and self._progress_at is None:
            self._plan_progress()

    def _free_id(self) -> int:
        """The id of a watch whose client leaves it to us."""
        while self._next_id in self._watches:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _cancel(self, watch_id: int) -> None:
        watch = self._watches.get(watch_id)
        if watch is not None:
            self._close(watch)
            self._out.append(reply(self._service.header.now(), watch_id, b',"canceled":true'))

    def _close(self, watch: _Watch) -> None:
        if watch.watcher is not None:
            self._held -= _cost(watch.watcher.key, watch.watcher.end)
        watch.close()
        self._watches.pop(watch.id, None)

    # Who may

    def _who(self) -> Identity:
        return self._identity or self._service.gate.by_connection(self._request.caller)

    def _reserve(self) -> tuple[Permission, ...]:
        return self._service.gate.reserve(self._who(), self._request)

    def _may(self, key: bytes, end: bytes | None) -> bool:
        gate = self._service.gate
        if is_reserved(key):
            return opens(self._reserve(), Right.READ, span(key, end))
        return not gate.switch.enabled or gate.may(self._who(), Right.READ, (span(key, end),))

    def _denial(self) -> bytes:
        who = self._who()
        audit.refused(who.name, self._request, "no permission")
        return _NOBODY if who is ANONYMOUS else _DENIED

    def _still_allowed(self, watch: _Watch, watcher: KeyWatcher) -> bool:
        """Whether it may be told more; looked at again when the access records have changed."""
        now = self._service.gate.switch.revision
        if watch.allowed != now:
            if not self._may(watcher.key, watcher.end):
                return False
            watch.allowed = now
        return True

    # What is told

    def _refuse(self, reason: bytes) -> None:
        """A watch that is not opened."""
        rest = b',"created":true,"canceled":true,"cancel_reason":"%b"' % reason
        self._out.append(reply(self._service.header.now(), NOBODY, rest))

    def _compacted(self, watch: _Watch, error: CompactedError) -> None:
        rest = b',"canceled":true,"compact_revision":"%d"' % error.floor
        self._out.append(reply(self._service.header.without_revision(), watch.id, rest))

    def _diverged(self, watch: _Watch, error: DivergedError) -> None:
        rest = b',"canceled":true,"cancel_reason":%b' % msgspec.json.encode(f"etcdserver: {error}")
        self._out.append(reply(self._service.header.without_revision(), watch.id, rest))

    def _deliver(self) -> None:
        size = 0
        for _ in range(min(DELIVERIES, len(self._queue))):
            watch = self._queue.popleft()
            watch.queued = False
            watcher = watch.watcher
            if watcher is None:
                continue
            if not self._still_allowed(watch, watcher):
                self._close(watch)
                rest = b',"canceled":true,"cancel_reason":"%b"' % self._denial()
                self._out.append(reply(self._service.header.now(), watch.id, rest))
                continue
            live = watcher.live
            try:
                events = watcher.take()
            except CompactedError as error:
                self._close(watch)
                self._compacted(watch, error)
                continue
            except DivergedError as error:
                self._close(watch)
                self._diverged(watch, error)
                continue
            if events:
                watch.told = True
                header = self._service.header.at(events[-1].record.revision)
                encode = partial(self._service.event, previous=watch.previous)
                size += self._tell(Telling(header, watch.id, events, encode, FRAGMENT if watch.fragment else None))
            if watcher.waiting:
                watch.queued = True
                self._queue.append(watch)
            if not live or size > _LARGE or self._telling is not None:
                return

    def _tell(self, telling: Telling) -> int:
        """Send the next of a line, in fragments if the client takes them; how many bytes."""
        pieces = list(telling.more())
        self._out += pieces
        self._telling = None if telling.ended else telling
        return sum(map(len, pieces))

    # How far it has come

    def _plan_progress(self) -> None:
        seconds = PROGRESS_SECONDS * _chance.uniform(1, 1.1)  # not all who connected together, together
        self._progress_at = trio.current_time() + seconds
        if self._line is not None:
            self._line.wake_in(seconds)

    def _tell_progress(self, line: Line) -> None:
        """Where nothing is left to be told everything up to now is."""
        asked = self._progress_asked and self.hungry and not self._queue
        due = self._progress_at is not None and trio.current_time() >= self._progress_at
        if not (asked or due):
            return
        if not self._service.store.settled:
            line.wake()
            return
        header = self._service.header.now()
        if asked:
            self._progress_asked = False
            self._out.append(reply(header, NOBODY))
        if due:
            for watch in self._watches.values():
                if watch.progress and not watch.told and not watch.queued:
                    self._out.append(reply(header, watch.id))
                watch.told = False
            self._plan_progress()

    # Sending

    def _send(self, line: Line) -> None:
        if self._out:
            if not line.begun:
                line.start(200, JSON)
            pieces, self._out = self._out, []
            line.send(*pieces)

    def _fail(self, line: Line, error: RpcError) -> None:
        """End the stream with an error; before anything was sent it is the answer."""
        self._send(line)
        if line.begun:
            line.send(stream_line(error))
        else:
            answer = response(error)
            line.start(answer.status, answer.headers)
            line.send(answer.body)
        line.end()


def _cost(key: bytes, end: bytes | None) -> int:
    """Bytes of memory a watch takes, about."""
    return _COST + len(key) + len(end or b"")
