"""A request on its way: who asks, what they may, what is proposed for them, and the one answer.

`Unary` makes a front-end handler of a typed function: it decodes the body, finds out who asks while access is
restricted, calls the function with the message and a `Call`, and answers whatever it refuses.
"""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter_ns
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import trio

from core.api.access import audit
from core.api.access.gate import Denied, Gate, untrusted
from core.api.access.identity import ANONYMOUS, addresses_of
from core.api.http.message import Outlet, Reply, Request, Response
from core.api.plain import DAMAGED, JSON, TEXT, message
from core.api.store import Outcome, ProposalError
from core.api.v3.encoding import M, Reader
from core.api.v3.errors import Code, RpcError, etcd, invalid, refusal, response
from core.api.v3.figures import Meter
from core.api.v3.header import Header, ok
from core.api.v3.store import Store
from core.kv.access import Identity, Office, Permission, Right, Span, span
from core.kv.commands import Admissible, Admitted, Command, Compact, HostBind
from core.kv.errors import DamagedError, DivergedError, KeyspaceError, StaleAccessError
from core.kv.reserved import NOWHERE, is_reserved, opens

NOT_ALLOWED = Response(405, TEXT, b"Method Not Allowed\n")
SYNCHRONOUS_PIECES = 4
"""Pieces of an answer that are made at once, a millisecond each; a longer one gets a task of its own."""
REFUSALS = (RpcError, KeyspaceError, ProposalError, DivergedError)
"""What serving a request may raise; it is answered."""


class Context(msgspec.Struct, frozen=True):
    """What every service of the dialect works with."""

    store: Store
    gate: Gate
    header: Header
    request_max: int
    """Bytes that the keys and values of a request may have."""
    turn: trio.Lock
    """Held to make a slice of a long answer: everything else waits for one slice and not for one of each answer."""

    def check_size(self, size: int) -> None:
        """RpcError 3 if a request is too large."""
        if size > self.request_max:
            raise invalid("request is too large")


class Again(Protocol):
    """Whoever can serve a request from its beginning."""

    meter: Meter

    def __call__(self, request: Request, reply: Reply) -> None: ...


class Call:
    """One request being served. `send` or `fail` is called once."""

    __slots__ = ("_access", "_again", "_began", "_context", "_first_reply", "identity", "reply", "request")

    def __init__(
        self, context: Context, request: Request, reply: Reply, again: Again, began: int, identity: Identity | None
    ) -> None:
        """`began` is the `perf_counter_ns` of the request's arrival."""
        self._context = context
        self._again = again
        self._began = began
        self._first_reply = reply
        self._access = context.gate.switch.revision
        self.request = request
        self.reply = reply
        self.identity = identity
        """Who asks; None while access is not restricted."""

    # The answer

    def send(self, body: bytes) -> None:
        """Answer with a success."""
        self._again.meter.latency.observe(perf_counter_ns() - self._began)
        self.reply.send(ok(body))

    def fail(self, error: object) -> None:
        """Answer with an error of the store, of the keyspace or of this dialect."""
        refuse(self._again.meter, self.reply, error)

    def send_slices(self, start: bytes, pieces: Iterator[bytes]) -> None:
        """Answer with `start` and then pieces, each a slice of work; the rest of many in a task of its own. An error of
        a piece is a refusal at first, and later breaks the connection."""
        begun = [start]
        for _ in range(SYNCHRONOUS_PIECES):
            piece = next(pieces, None)
            if piece is None:
                self.send(b"".join(begun))
                return
            begun.append(piece)
        self.reply.stream(partial(_send_slices, b"".join(begun), pieces, self._context))

    # Who may

    def permit(self, right: Right, key: bytes, end: bytes | None = None) -> None:
        """RpcError unless whoever asks may read or write this range. Reading reserved keys is allowed to whoever may
        do nothing with them: to such as these they are not there, see `shown`."""
        if is_reserved(key):
            if right is not Right.READ or self.reserve:
                self._permit_reserved(right, span(key, end))
        elif self.identity is not None:
            self.permit_spans(right, (span(key, end),))

    def permit_spans(self, right: Right, spans: tuple[Span, ...]) -> None:
        """RpcError unless whoever asks may read or write all of these, which are not reserved. While access is not
        restricted that is so."""
        identity = self.identity
        if identity is not None and not self._context.gate.may(identity, right, spans):
            audit.refused(identity.name, self.request, "no permission")
            raise denied(identity)

    @property
    def reserve(self) -> tuple[Permission, ...]:
        """What whoever asks may do with reserved keys."""
        gate = self._context.gate
        return gate.reserve(self.identity or gate.by_connection(self.request.caller), self.request)

    def shown(self, key: bytes) -> bytes:
        """The key that is looked at when somebody asks for one, alone or as the beginning of a range: of a reserved
        key, for whoever may do nothing with these, one that is never there."""
        return NOWHERE if is_reserved(key) and not self.reserve else key

    def _permit_reserved(self, right: Right, part: Span) -> None:
        if not opens(self.reserve, right, part):
            who = self.identity or self._context.gate.by_connection(self.request.caller)
            audit.refused(who.name, self.request, "reserved keys")
            raise reserved_denied()
        if right is not Right.READ:
            self._bind()

    def _bind(self) -> None:
        """The first key that writes in the name of a machine id has it from then on."""
        context = self._context
        who = self.identity or context.gate.by_connection(self.request.caller)
        if who.host and context.gate.accounts.holder(who.host) is None:
            context.store.propose(HostBind(who.host, who.key, addresses_of(self.request.caller)), _bound)

    def permit_root(self) -> None:
        """RpcError unless whoever asks is an administrator, or access is not restricted."""
        identity = self.identity
        if identity is not None and identity.office < Office.ADMIN:
            audit.refused(identity.name, self.request, "needs admin")
            raise denied(identity)

    def require(self, office: Office) -> None:
        """RpcError unless whoever asks holds the office, restricted or not; if so, the answer is audited."""
        identity = self.identity or self._context.gate.by_connection(self.request.caller)
        if identity.office < office:
            audit.refused(identity.name, self.request, f"needs {office.name.lower()}")
            if self.identity is not None:
                raise denied(self.identity)
            raise RpcError(Code.PERMISSION_DENIED, f"etcdserver: permission denied: {untrusted(office)}")
        if office > Office.READER:
            self.reply = audit.Audited(self.reply, identity.name, self.request)

    # The store

    def confirmed(self, read: Callable[[], None]) -> None:
        """Call `read` when a read made then is linearizable."""

        def confirm(error: ProposalError | None) -> None:
            if error is None:
                self.guarded(read)
            else:
                self.fail(error)

        self._context.store.confirm(confirm)

    def guarded(self, work: Callable[[], None]) -> None:
        """Do something that may be refused."""
        try:
            work()
        except REFUSALS as error:
            self.fail(error)
        except DamagedError as error:  # perhaps called by the drive loop, which must not end of a read
            self._context.store.damage.met(error)
            self.reply.send(message(500, DAMAGED))

    def propose(self, command: Admissible | Compact, done: Callable[[Any], None]) -> None:
        """Propose a command; `done` gets what it came to unless it was refused. If the access records changed in
        between, the request is judged anew."""
        self.propose_or(command, done, self.fail)

    def propose_or(
        self, command: Admissible | Compact, done: Callable[[Any], None], refused: Callable[[Exception], None]
    ) -> None:
        """As `propose`, with something of its own to do with a refusal."""
        proposal: Command = command
        if self.identity is not None and not isinstance(command, Compact):
            proposal = Admitted(self._access, command)

        def decided(outcome: Outcome) -> None:
            if isinstance(outcome, StaleAccessError):
                self._again(self.request, self._first_reply)
            elif isinstance(outcome, Exception):
                refused(outcome)
            else:
                done(outcome)

        try:
            self._context.store.propose(proposal, decided)
        except ProposalError as error:
            refused(error)


async def _send_slices(begun: bytes, pieces: Iterator[bytes], context: Context, outlet: Outlet) -> None:
    """Send the rest. What begins with empty pieces may still be refused in words; later there is no whole to send."""
    started = False
    try:
        piece: bytes | None = b""
        while piece is not None:
            async with context.turn:
                piece = next(pieces, None)
            if not started and piece != b"":
                started = True
                await outlet.start(200, JSON)
                await outlet.send(begun)
            if piece:
                await outlet.send(piece)  # without the turn: a slow client delays nobody
    except REFUSALS as error:
        refused = response(refusal(error))
    except DamagedError as error:
        context.store.damage.met(error)
        refused = message(500, DAMAGED)
    else:
        return
    if started:
        await outlet.abort()
        return
    await outlet.start(refused.status, refused.headers)
    await outlet.send(refused.body)


T = TypeVar("T")


def _bound(outcome: Outcome) -> None:
    """If another key was first, what comes next is refused."""


class _Handler(Generic[T]):
    """The handler of one path: POST with a body that `read` understands, one answer."""

    def __init__(self, context: Context, read: Callable[[bytes], T], serve: Callable[[T, Call], None]) -> None:
        self._context = context
        self._read = read
        self._serve = serve
        self._switch = context.gate.switch
        self.meter = Meter()

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method != b"POST":
            reply.send(NOT_ALLOWED)
            return
        began = perf_counter_ns()
        try:
            asked = self._read(request.body)
        except RpcError as error:
            refuse(self.meter, reply, error)
            return
        if self._switch.enabled:
            identified(self._context, request, reply, partial(self._identified, asked, request, reply, began))
        else:
            self._identified(asked, request, reply, began, None)

    def _identified(self, asked: T, request: Request, reply: Reply, began: int, found: Identity | None) -> None:
        call = Call(self._context, request, reply, self, began, found)
        try:
            self._serve(asked, call)
        except REFUSALS as error:
            call.fail(error)


class Unary(_Handler[M]):
    """The handler of a path whose body is one message."""

    def __init__(self, context: Context, kind: type[M], serve: Callable[[M, Call], None]) -> None:
        super().__init__(context, Reader(kind).read, serve)
        self.kind = kind


class Several(_Handler[list[M]]):
    """The handler of a path whose body is a stream of messages: POST with all of them."""

    def __init__(self, context: Context, kind: type[M], serve: Callable[[list[M], Call], None]) -> None:
        super().__init__(context, Reader(kind).read_all, serve)
        self.kind = kind


def refuse(meter: Meter, reply: Reply, error: object) -> None:
    """Answer with an error, and count it."""
    refused = refusal(error)
    meter.failed[refused.code.name.lower()] += 1
    reply.send(response(refused))


def unbelieved(denied: Denied) -> RpcError:
    """How credentials that are not believed are answered."""
    if denied.status == 401:
        return etcd(Code.UNAUTHENTICATED, "invalid auth token")
    return RpcError(Code.RESOURCE_EXHAUSTED if denied.status == 429 else Code.UNAVAILABLE, denied.why)


def denied(identity: Identity) -> RpcError:
    """How whoever may not is answered."""
    if identity is ANONYMOUS:
        return invalid("user name is empty")
    return etcd(Code.PERMISSION_DENIED, "permission denied")


def reserved_denied() -> RpcError:
    """How whoever asks for reserved keys of others is answered."""
    return etcd(Code.PERMISSION_DENIED, "permission denied: keys below \\0corenode/ are for operators and hosts")


def identified(context: Context, request: Request, reply: Reply, done: Callable[[Identity | None], None]) -> None:
    """Call `done` with who asks (None: access is not restricted); whoever is not believed is answered so."""
    if not context.gate.switch.enabled:
        done(None)
        return

    def decide(found: Identity | Denied) -> None:
        if isinstance(found, Denied):
            reply.send(response(unbelieved(found)))
        else:
            done(found)

    context.gate.identify(request, decide)
