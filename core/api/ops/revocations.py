"""`/corenode/revocations`: the serial numbers of certificates that are no longer good."""

import hashlib
import re
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from core.api.access.gate import Gate
from core.api.access.reserve import RELAYED
from core.api.http.message import Reply, Request, Response
from core.api.plain import json_answer, message, method_not_allowed
from core.api.store import NoLeaderError, NoSpaceError, Outcome, OutcomeUnknownError, OverloadedError, Store
from core.kv.access import Office
from core.kv.outcomes import Revoked
from core.kv.revocations import command_for

_QUERY = re.compile(rb"serial=([0-9A-Fa-f]{1,40})")


class Revocations(Protocol):
    """What the node knows of them."""

    def revoked(self) -> Sequence[int]:
        """Every revoked serial number."""
        ...


class RevocationsHandler:
    """GET lists them, also for hosts: workers turn away the same clients as members. With If-None-Match the list comes
    only if it is another one. POST with `serial=HEX` adds one; repeating it does no harm."""

    def __init__(self, store: Store, gate: Gate, known: Revocations) -> None:
        self._store = store
        self._gate = gate
        self._known = known

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method not in (b"GET", b"POST"):
            reply.send(method_not_allowed((b"GET", b"POST")))
        elif request.method == b"GET" and self._is_worker(request):
            self._list(request, reply)
        elif request.method == b"GET":
            self._gate.require(Office.ADMIN, request, reply, partial(self._list, request))
        else:
            self._gate.require(Office.ADMIN, request, reply, partial(self._revoke, request))

    def _is_worker(self, request: Request) -> bool:
        """Whether it is a worker itself that asks, and nobody who came by it. What it may read is no secret: a list of
        revoked certificates is made to be handed round."""
        caller = request.caller
        return caller.certificate is not None and request.header(RELAYED) is None

    def _list(self, request: Request, reply: Reply) -> None:
        found = json_answer({"serials": [f"{serial:x}" for serial in self._known.revoked()]}, end=b"\n")
        tag = b'"%b"' % hashlib.blake2b(found.body, digest_size=16).hexdigest().encode()
        if request.header(b"if-none-match") == tag:
            reply.send(Response(304, b"ETag: %b\r\n" % tag, b""))
        else:
            reply.send(Response(found.status, found.headers + b"ETag: %b\r\n" % tag, found.body))

    def _revoke(self, request: Request, reply: Reply) -> None:
        found = _QUERY.fullmatch(request.query)
        if found is None or int(found[1], 16) == 0:
            reply.send(message(400, "say which certificate: POST /corenode/revocations?serial=HEX"))
            return
        serial = int(found[1], 16)

        def recorded(outcome: Outcome) -> None:
            reply.send(_answer(serial, outcome))

        try:
            self._store.propose(command_for(serial), recorded)
        except (OverloadedError, NoSpaceError, NoLeaderError) as error:
            recorded(error)


def _answer(serial: int, outcome: Outcome) -> Response:
    match outcome:
        case Revoked():
            return json_answer({"serial": f"{serial:x}", "new": outcome.new, "revision": outcome.revision}, end=b"\n")
        case OutcomeUnknownError():
            return message(504, f"the outcome is unknown: {outcome}; asking again does no harm")
        case NoSpaceError():
            return message(507, str(outcome))
        case OverloadedError() | NoLeaderError():
            return message(503, str(outcome))
        case _:
            return message(500, str(outcome) or type(outcome).__name__)
