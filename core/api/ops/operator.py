"""`/corenode/status`, `/corenode/snapshot` and `/corenode/compact`: for the operator beside the node."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Protocol

import msgspec

from core.api.access.gate import Gate
from core.api.http.message import Handler, Outlet, Reply, Request, Response
from core.api.ops.pace import BYTES_PER_SECOND, Pace
from core.api.plain import json_answer, message, method_not_allowed
from core.api.router import Route
from core.api.store import (
    DamagedError,
    NoLeaderError,
    NoSpaceError,
    Outcome,
    OutcomeUnknownError,
    OverloadedError,
    Store,
)
from core.kv.access import Office
from core.kv.commands import Compact
from core.kv.errors import CompactedError, FutureRevisionError
from core.kv.outcomes import Compacted
from core.tls.shown import Shown

_log = logging.getLogger(__name__)

_BINARY = b"Content-Type: application/octet-stream\r\n"
_MAX_REVISION = 2**63 - 1


class CommitTimes(msgspec.Struct, frozen=True):
    """How long durable commits took lately, in milliseconds."""

    count: int
    median_ms: float
    p99_ms: float
    worst_ms: float


class Status(msgspec.Struct, frozen=True):
    """What `/corenode/status` shows. Ids are hexadecimal; sizes are in bytes."""

    name: str
    member_id: str
    cluster_id: str
    leader_id: str | None
    role: str
    """leader, voter or learner."""
    pid: int
    version: str
    revision: int
    raft_index: int
    raft_term: int
    compaction_floor: int
    """The oldest revision that can still be read."""
    log_bytes: int
    state_bytes: int
    alarms: tuple[str, ...]
    uptime_seconds: float
    commits: CommitTimes
    tls: Shown | None = None
    """None: it serves no TLS."""
    peer_tls: Shown | None = None
    """As new links between members use it; None: they are plain."""


class Node(Protocol):
    """The node as its operator sees it. The daemon fulfils it."""

    def status(self) -> Status: ...

    def revoked(self) -> Sequence[int]:
        """The serial numbers of all revoked certificates."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A snapshot file of the state at this moment, in pieces; leaving the context frees what it holds.

        An exception in the middle breaks the connection: a file without its end is recognised as such.
        """
        ...


class Operator:
    """The three handlers. Each says which office it needs; others get 403."""

    def __init__(self, store: Store, gate: Gate, node: Node) -> None:
        self._store = store
        self._gate = gate
        self._node = node

    def routes(self) -> list[Route]:
        """The paths."""
        return [
            Route(b"/corenode/status", self._for(Office.READER, b"GET", self._status)),
            Route(b"/corenode/snapshot", self._for(Office.OPERATOR, b"GET", self._snapshot)),
            Route(b"/corenode/compact", self._for(Office.OPERATOR, b"POST", self._compact)),
        ]

    def _for(self, office: Office, method: bytes, serve: Handler) -> Handler:
        """A handler for who holds the office."""

        def handler(request: Request, reply: Reply) -> None:
            if request.method == method:
                self._gate.require(office, request, reply, partial(serve, request))
            else:
                reply.send(method_not_allowed((method,)))

        return handler

    def _status(self, request: Request, reply: Reply) -> None:
        reply.send(json_answer(self._node.status(), end=b"\n"))

    def _snapshot(self, request: Request, reply: Reply) -> None:
        reply.stream(partial(self._send_snapshot, request.caller.address))

    async def _send_snapshot(self, peer: str, outlet: Outlet) -> None:
        begun, slow = False, False
        pace = Pace()
        try:
            async with self._node.snapshot() as pieces:
                async for piece in pieces:
                    if not begun:
                        begun = True
                        await outlet.start(200, _BINARY)
                    if piece and not await pace.send(outlet, piece):
                        slow = True
                        break
        except Exception as error:  # whatever the disk says, the node goes on
            if isinstance(error, DamagedError):
                self._store.damage.met(error)
            else:
                _log.exception("the snapshot asked for by an operator could not be read")
            if begun:
                await outlet.abort()
                return
            refusal = message(503, f"no snapshot can be read now: {error}")
            await outlet.start(refusal.status, refusal.headers)
            await outlet.send(refusal.body)
        if slow:
            _log.warning(
                "a snapshot was broken off: its reader is too slow, and what it reads cannot be freed",
                extra={"peer": peer, "needed_bytes_per_second": BYTES_PER_SECOND},
            )
            await outlet.abort()

    def _compact(self, request: Request, reply: Reply) -> None:
        name, _, digits = request.query.partition(b"=")
        if name != b"revision" or not digits.isdigit() or len(digits) > 19 or int(digits) > _MAX_REVISION:
            reply.send(message(400, "say up to which revision: POST /corenode/compact?revision=N"))
            return

        def compacted(outcome: Outcome) -> None:
            reply.send(_compaction(outcome))

        try:
            self._store.propose(Compact(int(digits)), compacted)
        except (OverloadedError, NoSpaceError, NoLeaderError) as error:
            compacted(error)


def _compaction(outcome: Outcome) -> Response:
    match outcome:
        case Compacted():
            return json_answer({"revision": outcome.revision, "floor": outcome.floor}, end=b"\n")
        case CompactedError():
            return message(400, f"already compacted: the oldest revision kept is {outcome.floor}")
        case FutureRevisionError():
            return message(400, "this revision has not been reached yet; /corenode/status shows the present one")
        case OutcomeUnknownError():
            return message(504, f"the outcome is unknown: {outcome}")
        case NoSpaceError():
            return message(507, str(outcome))
        case OverloadedError() | NoLeaderError():
            return message(503, str(outcome))
        case _:
            return message(500, str(outcome) or type(outcome).__name__)
