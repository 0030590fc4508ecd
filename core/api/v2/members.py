"""`/v2/members`, `/v2/members/leader` and `/v2/machines`."""

from functools import partial

import msgspec

from core.api import members
from core.api.access.gate import Gate
from core.api.http.message import Reply, Request, Response
from core.api.plain import TEXT, json_answer, message, method_not_allowed
from core.api.store import ChangeRefusedError, Obstacle, Outcome, Store
from core.api.v2.cluster import Cluster, Member
from core.kv.access import Office
from core.kv.commands import ChangeMember
from core.kv.membership import Change
from core.raft.members import Standing

METHODS = (b"GET", b"POST", b"DELETE", b"PUT")
_PREFIX = b"/v2/members"


class _Urls(msgspec.Struct, rename={"peer_urls": "peerURLs"}):
    peer_urls: list[str] = []
    name: str = ""


class Members:
    """Lists and changes the members: GET, POST, PUT /ID, DELETE /ID."""

    def __init__(self, store: Store, cluster: Cluster, gate: Gate) -> None:
        self._store = store
        self._cluster = cluster
        self._gate = gate
        self._id = b"X-Etcd-Cluster-Id: %b\r\n" % cluster.id.encode()

    def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request at or below `/v2/members`."""
        if request.method not in METHODS:
            reply.send(method_not_allowed(METHODS))
            return
        name = request.path[len(_PREFIX) :].removeprefix(b"/").decode(errors="replace")
        if request.method == b"GET":
            reply.send(self._read(name))
        else:
            self._gate.require(Office.ADMIN, request, reply, partial(self._change, request, name))

    def _read(self, name: str) -> Response:
        if name == "":
            return json_answer({"members": list(self._cluster.members)}, headers=self._id, end=b"\n")
        if name != "leader":
            return message(404, "Not found", self._id)
        leader = self._member(self._cluster.leader_id)
        if leader is None:
            return message(503, "During election", self._id)
        return json_answer(leader, headers=self._id, end=b"\n")

    def _change(self, request: Request, name: str, reply: Reply) -> None:
        asked = self._command(request, name)
        if isinstance(asked, Response):
            reply.send(asked)
        else:
            members.change(self._store, asked, lambda outcome: reply.send(self._answer(request, asked, outcome)))

    def _command(self, request: Request, name: str) -> ChangeMember | Response:
        """What is asked for, or why it cannot be."""
        member = 0
        if request.method != b"POST":
            if not name:
                return Response(405, TEXT + self._id, b"Method Not Allowed\n")
            try:
                member = int(name, 16)
            except ValueError:
                return message(404, f"No such member: {name}", self._id)
        if request.method == b"DELETE":
            return ChangeMember(member, Standing.NONE)
        content_type = (request.header(b"content-type") or b"").decode(errors="replace")
        if content_type != "application/json":
            return message(415, f"Bad Content-Type {content_type}, accept application/json", self._id)
        try:
            body = msgspec.json.decode(request.body, type=_Urls)
            urls = members.checked(body.peer_urls)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            return message(400, str(error), self._id)
        if not urls:
            return message(400, "no valid URLs given", self._id)
        if request.method == b"POST":
            return members.new_member(body.name, urls, learner=False)
        return ChangeMember(member, None, "", urls)

    def _answer(self, request: Request, asked: ChangeMember, outcome: Outcome) -> Response:
        if isinstance(outcome, Change):
            if request.method != b"POST":
                return Response(204, self._id, b"")
            added = Member(f"{asked.id:x}", asked.name, asked.peer_urls, ())
            return json_answer(added, 201, headers=self._id, end=b"\n")
        if isinstance(outcome, ChangeRefusedError) and outcome.obstacle is Obstacle.NOT_A_MEMBER:
            return message(404, f"No such member: {asked.id:x}", self._id)
        if isinstance(outcome, ChangeRefusedError) and outcome.obstacle is Obstacle.REMOVED:
            return message(410, f"Member permanently removed: {asked.id:x}", self._id)
        return message(members.status_of(outcome), str(outcome), self._id)

    def _member(self, name: str | None) -> Member | None:
        return next((member for member in self._cluster.members if member.id == name), None)


class Machines:
    """`/v2/machines`: every client URL, as text."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def __call__(self, request: Request, reply: Reply) -> None:
        """Answer one request."""
        if request.method not in (b"GET", b"HEAD"):
            reply.send(method_not_allowed((b"GET", b"HEAD")))
            return
        urls = sorted(url for member in self._cluster.members for url in member.client_urls)
        reply.send(Response(200, b"Content-Type: text/plain; charset=utf-8\r\n", ", ".join(urls).encode()))
