"""Everything of operations, by path."""

from collections.abc import Sequence

from core.api.access.gate import Gate
from core.api.figures import Source
from core.api.ops.health import LIVEZ, READYZ, Health, HealthHandler, livez, readyz
from core.api.ops.members import LEAD, PATH, Cluster, LeadHandler, MembersHandler
from core.api.ops.metrics import Metrics
from core.api.ops.operator import Node, Operator
from core.api.ops.revocations import RevocationsHandler
from core.api.ops.version import version_handler
from core.api.router import Route
from core.api.store import Store


def routes(
    store: Store, gate: Gate, health: Health, node: Node, cluster: Cluster, sources: Sequence[Source], version: str
) -> list[Route]:
    """The routes; `sources` are asked for `/metrics`, `version` is the node's own."""
    return [
        Route(b"/version", version_handler(version)),
        Route(b"/health", HealthHandler(store, health)),
        Route(LIVEZ, livez(store), below=True),
        Route(READYZ, readyz(store, health), below=True),
        Route(b"/metrics", Metrics(sources)),
        Route(b"/corenode/revocations", RevocationsHandler(store, gate, node)),
        Route(PATH, MembersHandler(store, gate, cluster), below=True),
        Route(LEAD, LeadHandler(store, gate)),
        *Operator(store, gate, node).routes(),
    ]
