"""`/corenode/hosts`: whose machine ids are, and how an operator lets go of one."""

from functools import partial

from core.api import members
from core.api.access.gate import Gate
from core.api.http.message import Reply, Request
from core.api.plain import json_answer, message, method_not_allowed
from core.api.store import NoLeaderError, NoSpaceError, Outcome, OverloadedError, Store
from core.kv.access import Office
from core.kv.commands import HostForget
from core.kv.outcomes import HostDone

PATH = b"/corenode/hosts"


class HostsHandler:
    """DELETE /ID: the next host that names this machine id has it."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self._store = store
        self._gate = gate

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method != b"DELETE":
            reply.send(method_not_allowed((b"DELETE",)))
            return
        self._gate.require(Office.OPERATOR, request, reply, partial(self._forget, request))

    def _forget(self, request: Request, reply: Reply) -> None:
        machine = request.path[len(PATH) :].lstrip(b"/").decode(errors="replace")

        def done(outcome: Outcome) -> None:
            if isinstance(outcome, HostDone):
                reply.send(json_answer({"forgotten": machine}, end=b"\n"))
            else:
                reply.send(message(members.status_of(outcome), str(outcome)))

        try:
            self._store.propose(HostForget(machine), done)
        except (OverloadedError, NoSpaceError, NoLeaderError) as error:
            done(error)
