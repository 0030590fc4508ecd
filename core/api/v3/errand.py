"""A request that takes several steps and waits in between, served by a task: what it may, proposes, reads, answers.

A proposal whose client has gone is carried to its end first, so that whoever cleans up knows what there is to clean.
"""

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import trio

from core.api.access import audit
from core.api.http.message import Outlet, Request
from core.api.plain import JSON
from core.api.store import Outcome, ProposalError
from core.api.v3.calls import Call, Context, denied, reserved_denied
from core.api.v3.encoding import M
from core.api.v3.errors import Code, RpcError, refusal, response, stream_line
from core.api.v3.header import Header
from core.api.v3.store import Store
from core.kv.access import Identity, Right, Span
from core.kv.commands import Admissible, Admitted, Command
from core.kv.errors import KeyspaceError, StaleAccessError
from core.kv.records import Record
from core.kv.reserved import is_reserved, opens

PAGE = 200
"""Records to a slice of a range that is looked through."""


class Errand:
    """One such request."""

    def __init__(self, context: Context, call: Call, outlet: Outlet) -> None:
        self.store: Store = context.store
        self.header: Header = context.header
        self._gate = context.gate
        self._turn = context.turn
        self._identity = call.identity
        self._request: Request = call.request
        self._outlet = outlet
        self._begun = False
        self._needs: list[tuple[Right, Span]] = []

    # Who may

    def need(self, right: Right, span: Span) -> None:
        """Whoever asks must have this right, now and at each further step. RpcError."""
        self._needs.append((right, span))
        self.check()

    def check(self) -> None:
        """RpcError unless whoever asks still has all rights that are needed."""
        for right, span in self._needs:
            if is_reserved(span.start):
                identity = self._who()
                if not opens(self._gate.reserve(identity, self._request), right, span):
                    audit.refused(identity.name, self._request, "reserved keys")
                    raise reserved_denied()
            elif self._gate.switch.enabled:
                identity = self._who()
                if not self._gate.may(identity, right, (span,)):
                    audit.refused(identity.name, self._request, "no permission")
                    raise denied(identity)

    def _who(self) -> Identity:
        return self._identity or self._gate.by_connection(self._request.caller)

    # The store

    async def propose(self, command: Admissible) -> Any:
        """What a command comes to. KeyspaceError, ProposalError, RpcError. It is awaited even if cancelled."""
        while True:
            self.check()
            switch = self._gate.switch
            outcome = await self._decided(Admitted(switch.revision, command) if switch.enabled else command)
            if not isinstance(outcome, Exception):
                return outcome
            if not isinstance(outcome, StaleAccessError):
                raise outcome

    async def _decided(self, command: Command) -> Outcome:
        outcomes: list[Outcome] = []
        decided = trio.Event()

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            decided.set()

        self.store.propose(command, done)
        with trio.CancelScope(shield=True):
            await decided.wait()
        return outcomes[0]

    async def confirm(self) -> None:
        """Return when a read made then is linearizable. ProposalError."""
        answers: list[ProposalError | None] = []
        confirmed = trio.Event()

        def done(error: ProposalError | None) -> None:
            answers.append(error)
            confirmed.set()

        self.store.confirm(done)
        await confirmed.wait()
        if answers[0] is not None:
            raise answers[0]

    async def records(self, span: Span, at: int, see: Callable[[Record], None]) -> None:
        """Show every key of a range as of revision `at`, in slices. CompactedError."""
        rest: Span | None = span
        while rest is not None:
            async with self._turn:
                page = self.store.page(rest, at, PAGE)
                for record in page.records:
                    see(record)
                left = page.rest
                if len(page.records) < page.count:  # the page was full before its rows were looked through
                    left = Span(page.records[-1].key + b"\0", rest.stop)
            rest = left

    # The answer

    async def send(self, body: bytes) -> None:
        """Send a piece of the answer."""
        if not self._begun:
            await self.begin()
        await self._outlet.send(body)

    async def begin(self) -> None:
        """Send the head of the answer."""
        self._begun = True
        await self._outlet.start(200, JSON)

    async def fail(self, error: Exception) -> None:
        """Send an error, and that is all."""
        told = refusal(error)
        if self._begun:
            await self._outlet.send(stream_line(told))
            return
        answer = response(told)
        await self._outlet.start(answer.status, answer.headers)
        await self._outlet.send(answer.body)


Run = Callable[[M, Errand], Awaitable[None]]


def errand(context: Context, run: Run[M]) -> Callable[[M, Call], None]:
    """What `Unary` serves a request with whose answer takes a task."""

    def serve(message: M, call: Call) -> None:
        async def produce(outlet: Outlet) -> None:
            one = Errand(context, call, outlet)
            try:
                with told_plainly():
                    await run(message, one)
            except RpcError as error:
                await one.fail(error)

        call.reply.stream(produce)

    return serve


@contextlib.contextmanager
def told_plainly() -> Iterator[None]:
    """Errors of these services reach clients with the code UNKNOWN: etcd serves them by a client of its own, which
    loses the codes."""
    try:
        yield
    except RpcError as error:
        raise RpcError(Code.UNKNOWN, error.message) from error
    except (KeyspaceError, ProposalError) as error:
        raise RpcError(Code.UNKNOWN, refusal(error).message) from error
