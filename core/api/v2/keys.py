"""`/v2/keys`: the handler of reads, writes and waits."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from time import perf_counter_ns

import trio

from core.api.access import audit
from core.api.access.claims import Claim
from core.api.access.gate import INSUFFICIENT, Denied, Gate
from core.api.encodings import Encodings
from core.api.http.message import Outlet, Reply, Request, Response
from core.api.plain import method_not_allowed, plain
from core.api.store import DamagedError, Outcome, ProposalError, Store
from core.api.v2.counters import Counters, Operation
from core.api.v2.errors import INVALID_FIELD, UNAUTHORIZED, Refusal, RequestError, refusal
from core.api.v2.form import MAX_KEY, PREFIX, BadPathError, Parameters, key_of, parameters_of
from core.api.v2.head import Head
from core.api.v2.listing import Listing
from core.api.v2.render import event_body, node_body, quiet_body
from core.api.v2.watching import Watching
from core.kv import paths
from core.kv.access import Identity, Right, tree_spans
from core.kv.commands import Admissible, Admitted, CompareAndDelete, CompareAndSwap, Create, Delete, Set, Update
from core.kv.errors import CompactedError, StaleAccessError, TreeError
from core.kv.records import Action, Event

METHODS = (b"HEAD", b"GET", b"PUT", b"POST", b"DELETE")
SYNCHRONOUS_SLICES = 2
"""Slices of a listing that are made at once; a longer one gets a task of its own."""
_NAME = 21
"""Bytes that an in-order name adds to its directory."""
_PREFIX_SIZE = len(PREFIX)
_GETS = Operation.GETS
_WORDY = frozenset((Action.SET, Action.CREATE, Action.UPDATE, Action.COMPARE_AND_SWAP))


class Keys:
    """The handler of `/v2/keys` and all below it."""

    def __init__(self, store: Store, gate: Gate, cluster_id: str, counters: Counters) -> None:
        self._store = store
        self._gate = gate
        self._switch = gate.switch
        self._head = Head(store, cluster_id)
        self._counters = counters
        self._encodings = Encodings()
        self._turn = trio.Lock()
        """Held to make a slice of a long listing. It is handed on in the next round of the loop, so however many
        listings are made, everything else waits for one slice and not for one of each."""

    def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request; its path begins with `/v2/keys`."""
        began = perf_counter_ns()
        method = request.method
        restricted = self._switch.enabled
        # A path that needs decoding is not kept, so what is found by its bytes alone is what they mean.
        if method == b"GET" and not request.query and not restricted:
            made = self._store.memo.get(request.path[_PREFIX_SIZE:])
            if made is not None:
                self._got(reply, made, began)
                return
        if method not in METHODS:
            reply.send(method_not_allowed(METHODS))
            return
        try:
            key = key_of(request.path)
            parameters = parameters_of(request)
            if restricted:
                self._admit(request, reply, key, parameters, began)
            elif method == b"GET" or method == b"HEAD":
                self._read(request, reply, key, parameters, began, None)
            else:
                self._write(request, reply, key, parameters, began, None)
        except (RequestError, DamagedError) as error:
            self._refuse(reply, error)
        except BadPathError:
            reply.send(plain(400, b"400 Bad Request"))

    # Who may

    def _admit(self, request: Request, reply: Reply, key: bytes, parameters: Parameters, began: int) -> None:
        """Serve a request, while access is restricted, if whoever asks may do this."""
        reads = request.method in (b"GET", b"HEAD")

        def judged(found: Identity) -> None:
            if not self._may(found, key, parameters, reads=reads):
                audit.refused(found.name, request, "no permission")
                self._deny(reply, Denied(401, INSUFFICIENT))
            elif reads:
                claim = self._claim(request, key, parameters, found)
                self._read(request, reply, key, parameters, began, claim)
            else:
                self._write(request, reply, key, parameters, began, self._switch.revision)

        def identified(found: Identity | Denied) -> None:
            if isinstance(found, Denied):
                self._deny(reply, found)
                return
            try:
                judged(found)
            except (RequestError, DamagedError) as error:
                self._refuse(reply, error)

        self._gate.identify(request, identified)

    def _claim(self, request: Request, key: bytes, parameters: Parameters, identity: Identity | None) -> Claim:
        """The claim of somebody who may read this to go on reading it."""

        def allowed(found: Identity) -> bool:
            return not self._switch.enabled or self._may(found, key, parameters, reads=True)

        return self._gate.claim(request, identity, allowed)

    def _may(self, identity: Identity, key: bytes, parameters: Parameters, *, reads: bool) -> bool:
        spans = tree_spans(key, recursive=parameters.recursive)
        return self._gate.may(identity, Right.READ if reads else Right.WRITE, spans)

    def _deny(self, reply: Reply, denied: Denied) -> None:
        answer = Refusal(denied.status, UNAUTHORIZED, denied.why, 0)
        reply.send(Response(answer.status, self._head.error(0) + denied.headers(), answer.body()))

    # Writes

    def _write(
        self, request: Request, reply: Reply, key: bytes, parameters: Parameters, began: int, access: int | None
    ) -> None:
        """Propose what is asked for, as allowed by the access records of revision `access` (None: not restricted)."""
        operation, command = chosen(request.method, key, parameters)
        quiet = parameters.quiet
        try:
            self._store.propose(
                command if access is None else Admitted(access, command),
                partial(self._written, request, reply, operation, quiet, began),
            )
        except ProposalError as error:
            self._written(request, reply, operation, quiet, began, error)

    def _written(
        self, request: Request, reply: Reply, operation: Operation, quiet: bool, began: int, outcome: Outcome
    ) -> None:
        self._counters.writes.observe(perf_counter_ns() - began)
        if not isinstance(outcome, Event):
            if isinstance(outcome, StaleAccessError):
                # It was refused and changed nothing: judge it by the records as they are now. Each round needs
                # another change of them.
                self(request, reply)
                return
            self._counters.failed[operation] += 1
            self._refuse(reply, outcome)
            return
        self._counters.succeeded[operation] += 1
        record = outcome.record
        action = record.action
        created = action is Action.CREATE or (action is Action.SET and outcome.previous is None)
        try:
            body = quiet_body(action) if quiet and action in _WORDY else event_body(self._store, outcome)
        except DamagedError as error:  # written it is all the same
            self._refuse(reply, error)
            return
        reply.send(Response(201 if created else 200, self._head.success(record.index), body))

    # Reads

    def _read(
        self,
        request: Request,
        reply: Reply,
        key: bytes,
        parameters: Parameters,
        began: int,
        claim: Claim | None,
    ) -> None:
        """Answer a read that somebody has a claim to (None: access is not restricted)."""
        read = self._wait if parameters.wait else self._get
        if parameters.quorum and request.method == b"GET":
            answer = partial(read, request, reply, key, parameters, began, claim)
            self._store.confirm(partial(self._confirmed, reply, answer))
        else:
            read(request, reply, key, parameters, began, claim)

    def _confirmed(self, reply: Reply, answer: Callable[[], None], error: ProposalError | None) -> None:
        if error is None:
            try:
                answer()
            except DamagedError as damaged:
                self._refuse(reply, damaged)
        else:
            self._counters.failed[_GETS] += 1
            self._refuse(reply, error)

    def _wait(
        self, request: Request, reply: Reply, key: bytes, parameters: Parameters, began: int, claim: Claim | None
    ) -> None:
        claim = claim or self._claim(request, key, parameters, None)
        watching = Watching(self._store, self._head, self._encodings, key, parameters, claim.holds)
        self._gate.claims.stream(reply, watching.produce, claim)

    def _get(
        self, request: Request, reply: Reply, key: bytes, parameters: Parameters, began: int, claim: Claim | None
    ) -> None:
        store = self._store
        made = store.memo.get(key)
        if made is not None:
            self._got(reply, made, began)
            return
        try:
            record = None if key == paths.ROOT else store.node(key)
        except TreeError as error:
            self._counters.failed[_GETS] += 1
            self._refuse(reply, error)
            return
        if record is not None and not record.directory:
            made = node_body(store, record)
            if not record.deadline and not record.lease and b"%" not in key:
                store.memo.keep(key, made)
            self._got(reply, made, began)
            return
        self._counters.succeeded[_GETS] += 1
        listing = Listing(self._store, record, recursive=parameters.recursive)
        self._list(reply, listing, lambda: claim or self._claim(request, key, parameters, None))
        self._counters.reads.observe(perf_counter_ns() - began)

    def _got(self, reply: Reply, body: bytes, began: int) -> None:
        """Answer with a file as it is now."""
        counters = self._counters
        counters.succeeded[_GETS] += 1
        reply.send(Response(200, self._head.now(), body))
        counters.reads.observe(perf_counter_ns() - began)

    def _list(self, reply: Reply, listing: Listing, claim: Callable[[], Claim]) -> None:
        head = self._head.success(listing.index)
        slices = listing.slices()
        pieces = list(islice(slices, SYNCHRONOUS_SLICES))
        if listing.complete:
            reply.send(Response(200, head, b"".join(pieces)))
        else:
            self._gate.claims.stream(reply, partial(self._send_slices, head, pieces, slices), claim())

    async def _send_slices(self, head: bytes, pieces: list[bytes], rest: Iterator[bytes], outlet: Outlet) -> None:
        """Send a long listing. If its index is compacted away in the middle, or damage met, there is no whole to
        send."""
        await outlet.start(200, head)
        piece: bytes | None = b"".join(pieces)
        while piece is not None:
            if piece:
                await outlet.send(piece)  # without the turn: a slow client delays nobody
            try:
                async with self._turn:
                    piece = next(rest, None)
            except (CompactedError, DamagedError) as error:
                if isinstance(error, DamagedError):
                    self._store.damage.met(error)
                await outlet.abort()
                return

    # Errors

    def _refuse(self, reply: Reply, error: object) -> None:
        if isinstance(error, DamagedError):
            self._store.damage.met(error)
        answer = refusal(error, self._store.revision)
        reply.send(Response(answer.status, self._head.error(answer.index), answer.body()))


def chosen(method: bytes, key: bytes, parameters: Parameters) -> tuple[Operation, Admissible]:
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


def _put(key: bytes, parameters: Parameters) -> tuple[Operation, Admissible]:
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
