"""Everything of the v2 dialect but the keys, by path."""

from collections.abc import Callable

from core.api.access.gate import Gate
from core.api.router import Route
from core.api.store import Store
from core.api.v2.auth import Auth
from core.api.v2.cluster import Cluster
from core.api.v2.counters import Counters
from core.api.v2.members import Machines, Members
from core.api.v2.stats import Statistics, getting


def routes(store: Store, gate: Gate, cluster: Cluster, counters: Counters, wall: Callable[[], float]) -> list[Route]:
    """The routes; `wall` gives the Unix time. `/v2/keys` is `core.api.v2.keys.Keys`, which the router tries first."""
    auth = Auth(store, gate, cluster.id)
    statistics = Statistics(cluster, counters, wall)
    return [
        Route(b"/v2/members", Members(store, cluster, gate), below=True),
        Route(b"/v2/auth/enable", auth.enable),
        Route(b"/v2/auth/users", auth.users, below=True),
        Route(b"/v2/auth/roles", auth.roles, below=True),
        Route(b"/v2/machines", Machines(cluster)),
        Route(b"/v2/stats/self", getting(statistics.of_self)),
        Route(b"/v2/stats/store", getting(statistics.of_store)),
        Route(b"/v2/stats/leader", getting(statistics.of_leader)),
    ]
