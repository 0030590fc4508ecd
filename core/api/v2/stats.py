"""`/v2/stats/self`, `/v2/stats/store` and `/v2/stats/leader`."""

from collections.abc import Callable

from core.api.http.message import Handler, Reply, Request, Response
from core.api.plain import JSON, json_answer, message, method_not_allowed
from core.api.v2.cluster import Cluster
from core.api.v2.counters import Counters
from core.api.v2.render import rfc3339


class Statistics:
    """The three handlers. `wall` gives the Unix time."""

    def __init__(self, cluster: Cluster, counters: Counters, wall: Callable[[], float]) -> None:
        self._cluster = cluster
        self._counters = counters
        self._wall = wall

    def of_self(self) -> Response:
        """What this node is, and whom it follows since when."""
        cluster = self._cluster
        name = next((member.name for member in cluster.members if member.id == cluster.self_id), "")
        return json_answer(
            {
                "name": name,
                "id": cluster.self_id,
                "state": cluster.state,
                "startTime": rfc3339(cluster.started),
                "leaderInfo": {
                    "leader": cluster.leader_id or "0",
                    "uptime": go_duration(self._wall() - cluster.leader_since),
                    "startTime": rfc3339(cluster.leader_since),
                },
                "recvAppendRequestCnt": 0,
                "sendAppendRequestCnt": 0,
            }
        )

    def of_store(self) -> Response:
        """The counters of operations."""
        cluster = self._cluster
        return Response(200, JSON, self._counters.body(expired=cluster.expired, watchers=cluster.watchers))

    def of_leader(self) -> Response:
        """The followers as the leader sees them. Only the last latency is known, so it stands for all figures."""
        cluster = self._cluster
        if cluster.leader_id != cluster.self_id:
            return message(403, "not current leader")
        followers = {
            follower.id: {
                "latency": {
                    "current": follower.latency_ms,
                    "average": follower.latency_ms,
                    "standardDeviation": 0,
                    "minimum": follower.latency_ms,
                    "maximum": follower.latency_ms,
                },
                "counts": {"fail": follower.dropped, "success": follower.sent},
            }
            for follower in cluster.followers
        }
        return json_answer({"leader": cluster.self_id, "followers": followers})


def getting(answer: Callable[[], Response]) -> Handler:
    """A handler for GET alone."""

    def handle(request: Request, reply: Reply) -> None:
        reply.send(answer() if request.method == b"GET" else method_not_allowed((b"GET",)))

    return handle


def go_duration(seconds: float) -> str:
    """A duration as Go prints it, such as `1h0m2.5s`; to the microsecond. Below zero is zero."""
    micros = max(round(seconds * 1e6), 0)
    if micros == 0:
        return "0s"
    if micros < 1000:
        return f"{micros}µs"
    if micros < 1_000_000:
        return f"{_trimmed(micros / 1e3)}ms"
    minutes, rest = divmod(micros, 60_000_000)
    hours, minutes = divmod(minutes, 60)
    above = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{above}{_trimmed(rest / 1e6)}s"


def _trimmed(number: float) -> str:
    return f"{number:.6f}".rstrip("0").rstrip(".")
