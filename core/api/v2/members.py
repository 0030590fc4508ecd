"""`/v2/members`, `/v2/members/leader` and `/v2/machines`."""

import msgspec

from core.api.access.gate import Gate
from core.api.http.message import Reply, Request, Response
from core.api.plain import TEXT, json_answer, message, method_not_allowed
from core.api.v2.cluster import Cluster, Member
from core.kv.access import Office

METHODS = (b"GET", b"POST", b"DELETE", b"PUT")
_PREFIX = b"/v2/members"


class _Urls(msgspec.Struct, rename={"peer_urls": "peerURLs"}):
    peer_urls: list[str] = []


class Members:
    """Lists the members. A node is the only one of its cluster, so a change of membership is refused, with a reason."""

    def __init__(self, cluster: Cluster, gate: Gate) -> None:
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
            change = self._change(request, name)
            self._gate.require(Office.ADMIN, request, reply, lambda admitted: admitted.send(change))

    def _read(self, name: str) -> Response:
        if name == "":
            return json_answer({"members": list(self._cluster.members)}, headers=self._id, end=b"\n")
        if name != "leader":
            return message(404, "Not found", self._id)
        leader = self._member(self._cluster.leader_id)
        if leader is None:
            return message(503, "During election", self._id)
        return json_answer(leader, headers=self._id, end=b"\n")

    def _change(self, request: Request, name: str) -> Response:
        if request.method != b"POST":
            if not name:
                return Response(405, TEXT + self._id, b"Method Not Allowed\n")
            if self._member(name) is None:
                return message(404, f"No such member: {name}", self._id)
        if request.method != b"DELETE":
            content_type = (request.header(b"content-type") or b"").decode(errors="replace")
            if content_type != "application/json":
                return message(415, f"Bad Content-Type {content_type}, accept application/json", self._id)
            try:
                urls = msgspec.json.decode(request.body, type=_Urls).peer_urls
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                return message(400, str(error), self._id)
            if not urls:
                return message(400, "no valid URLs given", self._id)
        return message(500, _REASONS[request.method], self._id)

    def _member(self, name: str | None) -> Member | None:
        return next((member for member in self._cluster.members if member.id == name), None)


_REASONS = {
    b"POST": "this version runs clusters of one member; a second one cannot be added",
    b"PUT": "this version runs clusters of one member, which has no peers to be reached at other URLs",
    b"DELETE": "the only member of a cluster cannot be removed; stop the node and remove its data directory instead",
}


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
