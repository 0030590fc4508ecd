"""`/version`."""

from core.api.http.message import Handler, Reply, Request
from core.api.plain import json_answer, method_not_allowed

BEHAVES_AS = "2.3.8"
"""The etcd whose behaviour the v2 dialect follows; clients choose their words by it."""
CLUSTER = "2.3.0"


def version_handler(version: str) -> Handler:
    """The handler of `/version`; `version` is the node's own."""
    answer = json_answer({"etcdserver": BEHAVES_AS, "etcdcluster": CLUSTER, "corenode": version})

    def handle(request: Request, reply: Reply) -> None:
        reply.send(answer if request.method == b"GET" else method_not_allowed((b"GET",)))

    return handle
