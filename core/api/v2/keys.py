"""`/v2/keys`: the handler of reads, writes and waits."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from time import perf_counter_ns

import trio

from core.api.http.message import Outlet, Reply, Request, Response
from core.api.plain import method_not_allowed, plain
from core.api.store import Outcome, ProposalError, Store
from core.api.v2.counters import Counters, Operation
from core.api.v2.errors import INVALID_FIELD, RequestError, refusal
from core.api.v2.form import MAX_KEY, BadPathError, Parameters, key_of, parameters_of
from core.api.v2.head import Head
from core.api.v2.listing import Listing
from core.api.v2.render import event_body, node_body, quiet_body
from core.api.v2.watching import Watching
from core.kv import paths
from core.kv.commands import Command, CompareAndDelete, CompareAndSwap, Create, Delete, Set, Update
from core.kv.errors import CompactedError, TreeError
from core.kv.records import Action, Event, Record

METHODS = (b"HEAD", b"GET", b"PUT", b"POST", b"DELETE")
SYNCHRONOUS_SLICES = 2
"""Slices of a listing that are made at once; a longer one gets a task of its own."""
_NAME = 21
"""Bytes that an in-order name adds to its directory."""
_WORDY = frozenset((Action.SET, Action.CREATE, Action.UPDATE, Action.COMPARE_AND_SWAP))


class Keys:
    """The handler of `/v2/keys` and all below it."""

    def __init__(self, store: Store, cluster_id: str, counters: Counters) -> None:
        self._store = store
        self._head = Head(store, cluster_id)
        self._counters = counters

    def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request; its path begins with `/v2/keys`."""
        method = request.method
        if method not in METHODS:
            reply.send(method_not_allowed(METHODS))
            return
        began = perf_counter_ns()
        try:
            key = key_of(request.path)
            parameters = parameters_of(request)
            if method == b"GET" or method == b"HEAD":
                self._read(method, reply, key, parameters, began)
            else:
                self._write(method, reply, key, parameters, began)
        except RequestError as error:
            self._refuse(reply, error)
        except BadPathError:
            reply.send(plain(400, b"400 Bad Request"))

    # Writes

    def _write(self, method: bytes, reply: Reply, key: bytes, parameters: Parameters, began: int) -> None:
        operation, command = chosen(method, key, parameters)
        try:
            self._store.propose(command, partial(self._written, reply, operation, parameters.quiet, began))
        except ProposalError as error:
            self._written(reply, operation, False, began, error)

    def _written(self, reply: Reply, operation: Operation, quiet: bool, began: int, outcome: Outcome) -> None:
        self._counters.writes.observe(perf_counter_ns() - began)
        if not isinstance(outcome, Event):
            self._counters.failed[operation] += 1
            self._refuse(reply, outcome)
            return
        self._counters.succeeded[operation] += 1
        record = outcome.record
        action = record.action
        created = action is Action.CREATE or (action is Action.SET and outcome.previous is None)
        body = quiet_body(action) if quiet and action in _WORDY else event_body(self._store, outcome)
        reply.send(Response(201 if created else 200, self._head.success(record.index), body))

    # Reads

    def _read(self, method: bytes, reply: Reply, key: bytes, parameters: Parameters, began: int) -> None:
        answer: Callable[[], None]
        if parameters.wait:
            answer = partial(self._wait, reply, key, parameters)
        else:
            answer = partial(self._get, reply, key, parameters.recursive, began)
        if parameters.quorum and method == b"GET":
            self._store.confirm(partial(self._confirmed, reply, answer))
        else:
            answer()

    def _confirmed(self, reply: Reply, answer: Callable[[], None], error: ProposalError | None) -> None:
        if error is None:
            answer()
        else:
            self._counters.failed[Operation.GETS] += 1
            self._refuse(reply, error)

    def _wait(self, reply: Reply, key: bytes, parameters: Parameters) -> None:
        reply.stream(Watching(self._store, self._head, key, parameters).produce)

    def _get(self, reply: Reply, key: bytes, recursive: bool, began: int) -> None:
        store = self._store
        try:
            record = None if key == paths.ROOT else store.node(key)
        except TreeError as error:
            self._counters.failed[Operation.GETS] += 1
            self._refuse(reply, error)
            return
        self._counters.succeeded[Operation.GETS] += 1
        if record is None or record.directory:
            self._list(reply, record, recursive)
        else:
            reply.send(Response(200, self._head.success(store.revision), node_body(store, record)))
        self._counters.reads.observe(perf_counter_ns() - began)

    def _list(self, reply: Reply, directory: Record | None, recursive: bool) -> None:
        listing = Listing(self._store, directory, recursive=recursive)
        head = self._head.success(listing.index)
        slices = listing.slices()
        pieces = list(islice(slices, SYNCHRONOUS_SLICES))
        if listing.complete:
            reply.send(Response(200, head, b"".join(pieces)))
        else:
            reply.stream(partial(_send_slices, head, pieces, slices))

    # Errors

    def _refuse(self, reply: Reply, error: object) -> None:
        answer = refusal(error, self._store.revision)
        reply.send(Response(answer.status, self._head.error(answer.index), answer.body()))


async def _send_slices(head: bytes, pieces: list[bytes], rest: Iterator[bytes], outlet: Outlet) -> None:
    """Send a long listing. If its index is compacted away in the middle there is no whole to send."""
    await outlet.start(200, head)
    await outlet.send(b"".join(pieces))
    try:
        for piece in rest:
            if piece:
                await outlet.send(piece)
            await trio.lowlevel.checkpoint()
    except CompactedError:
        await outlet.abort()


def chosen(method: bytes, key: bytes, parameters: Parameters) -> tuple[Operation, Command]:
    """The operation that a write asks for, and its command."""
    if method == b"PUT":
        return _put(key, parameters)
    compares = parameters.previous_index > 0 or parameters.previous_value is not None
    if method == b"DELETE":
        if compares:
            return Operation.COMPARE_AND_DELETE, CompareAndDelete(
                key, parameters.previous_value, parameters.previous_index
            )
        recursive = parameters.recursive
        return Operation.DELETE, Delete(key, parameters.directory or recursive, recursive)
    if len(key) + _NAME > MAX_KEY:
        raise RequestError(INVALID_FIELD, f"the key has {len(key)} bytes and {_NAME} to come; {MAX_KEY} are possible")
    return Operation.CREATE, _create(key, parameters, in_order=True)


def _put(key: bytes, parameters: Parameters) -> tuple[Operation, Command]:
    exists = parameters.previous_exists
    if exists is False:
        return Operation.CREATE, _create(key, parameters, in_order=False)
    if parameters.previous_index > 0 or parameters.previous_value is not None:
        return Operation.COMPARE_AND_SWAP, CompareAndSwap(
            key,
            parameters.value,
            parameters.ttl,
            parameters.previous_value,
            parameters.previous_index,
            parameters.refresh,
        )
    if exists:
        return Operation.UPDATE, Update(key, parameters.value, parameters.ttl, parameters.refresh)
    directory = parameters.directory
    value = b"" if directory else parameters.value
    return Operation.SETS, Set(key, value, directory, parameters.ttl, parameters.refresh)


def _create(key: bytes, parameters: Parameters, *, in_order: bool) -> Create:
    directory = parameters.directory
    return Create(key, b"" if directory else parameters.value, directory, parameters.ttl, in_order)
