"""`/corenode/members` and `/corenode/lead`: who belongs to the cluster, who votes, who leads."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import msgspec

from core.api import members
from core.api.access.gate import Gate
from core.api.http.message import Reply, Request, Response
from core.api.plain import json_answer, message, method_not_allowed
from core.api.store import Outcome, Store
from core.kv.access import Office
from core.kv.commands import ChangeMember
from core.kv.membership import Change
from core.raft.members import Standing

PATH = b"/corenode/members"
LEAD = b"/corenode/lead"
_METHODS = (b"GET", b"POST", b"PUT", b"DELETE")
T = TypeVar("T")


class Member(msgspec.Struct, frozen=True):
    """A member as this node sees it. Times in seconds."""

    id: str
    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]
    version: str
    role: str
    """leader, voter or learner."""
    link: str
    """How this node's link to it stands: self, up, or why there is none."""
    heard_seconds: float | None = None
    """How long ago anything came from it."""
    round_trip_ms: float | None = None


class Cluster(Protocol):
    """The members as the node sees them. The daemon fulfils it."""

    def roster(self) -> Sequence[Member]: ...


class _New(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    peer_urls: tuple[str, ...]
    name: str = ""
    learner: bool = False


class _Moved(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    peer_urls: tuple[str, ...]


class _Heir(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    member: str


class MembersHandler:
    """GET lists; POST adds, PUT /ID changes its URLs, POST /ID/promote gives it a vote, DELETE /ID removes it."""

    def __init__(self, store: Store, gate: Gate, cluster: Cluster) -> None:
        self._store = store
        self._gate = gate
        self._cluster = cluster

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method not in _METHODS:
            reply.send(method_not_allowed(_METHODS))
        elif request.method == b"GET":
            self._gate.require(Office.READER, request, reply, self._list)
        else:
            self._gate.require(Office.ADMIN, request, reply, partial(self._change, request))

    def _list(self, reply: Reply) -> None:
        reply.send(json_answer({"members": self._cluster.roster()}, end=b"\n"))

    def _change(self, request: Request, reply: Reply) -> None:
        try:
            command = _command(request)
        except (ValueError, msgspec.DecodeError) as error:
            reply.send(message(400, str(error)))
            return
        members.change(self._store, command, lambda outcome: reply.send(_answer(command, outcome)))


class LeadHandler:
    """POST {"member": ID} asks the leader to hand over the lead."""

    def __init__(self, store: Store, gate: Gate) -> None:
        self._store = store
        self._gate = gate

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method != b"POST":
            reply.send(method_not_allowed((b"POST",)))
        else:
            self._gate.require(Office.ADMIN, request, reply, partial(self._transfer, request))

    def _transfer(self, request: Request, reply: Reply) -> None:
        try:
            member = _id(_body(request, _Heir).member)
        except (ValueError, msgspec.DecodeError) as error:
            reply.send(message(400, str(error)))
            return

        def begun(error: Outcome) -> None:
            answer = {"member": f"{member:x}"}
            reply.send(json_answer(answer, end=b"\n") if error is None else _refusal(error))

        self._store.transfer(member, begun)


def _command(request: Request) -> ChangeMember:
    name, _, action = request.path[len(PATH) :].lstrip(b"/").decode(errors="replace").partition("/")
    match request.method, name, action:
        case b"POST", "", "":
            new = _body(request, _New)
            return members.new_member(new.name, new.peer_urls, learner=new.learner)
        case b"POST", _, "promote":
            return ChangeMember(_id(name), Standing.VOTER)
        case b"PUT", _, "" if name:
            return ChangeMember(_id(name), None, "", members.checked(_body(request, _Moved).peer_urls))
        case b"DELETE", _, "" if name:
            return ChangeMember(_id(name), Standing.NONE)
    raise ValueError("say which member: /corenode/members/ID, with the ID of the list")


def _body(request: Request, kind: Callable[..., T]) -> T:
    return msgspec.json.decode(request.body, type=kind)  # type: ignore[no-any-return]


def _id(text: str) -> int:
    try:
        number = int(text, 16)
    except ValueError:
        number = 0
    if not 0 < number < 1 << 64:
        raise ValueError(f"{text!r} is no member id; they have up to 16 hexadecimal digits")
    return number


def _answer(command: ChangeMember, outcome: Outcome) -> Response:
    if isinstance(outcome, Change):
        return json_answer({"id": f"{command.id:x}"}, end=b"\n")
    return _refusal(outcome)


def _refusal(error: Outcome) -> Response:
    return message(members.status_of(error), str(error) or type(error).__name__)
