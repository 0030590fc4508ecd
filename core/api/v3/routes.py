"""Every path of the dialect."""

from collections.abc import Mapping

import trio

from core.api.access.gate import Gate
from core.api.figures import Source
from core.api.http.message import Handler
from core.api.router import Route
from core.api.v3.auth import auth_handlers
from core.api.v3.calls import Context
from core.api.v3.cluster import Cluster, cluster_handlers
from core.api.v3.election import election_handlers
from core.api.v3.figures import figures
from core.api.v3.header import Header
from core.api.v3.kv import kv_handlers
from core.api.v3.leases import lease_handlers
from core.api.v3.lock import lock_handlers
from core.api.v3.maintenance import Node, maintenance_handlers
from core.api.v3.queue import Queue
from core.api.v3.store import Store
from core.api.v3.watch import WatchHandler

WATCH = "watch"
PREFIXES = ("/v3/", "/v3beta/", "/v3alpha/")

OPENED = frozenset((prefix + WATCH).encode() for prefix in PREFIXES)
"""Paths whose requests are served while their body comes."""


def routes(store: Store, gate: Gate, cluster: Cluster, node: Node, request_max: int) -> list[Route]:
    """The routes, each under every prefix; the keys and values of a request may have `request_max` bytes."""
    context = Context(store, gate, Header(store, cluster), request_max, trio.Lock())
    handlers = table(context, cluster, node)
    return [Route((prefix + path).encode(), handlers[path]) for prefix in PREFIXES for path in handlers]


def figures_of(routes: list[Route]) -> Source:
    """What `/metrics` shows of them."""
    shortest = PREFIXES[0].encode()
    named = [(route.path.removeprefix(shortest).decode(), route.handler) for route in routes]
    return figures(named)


def table(context: Context, cluster: Cluster, node: Node) -> Mapping[str, Handler]:
    """The handlers by path, without prefix."""
    queue = Queue()
    return {
        **kv_handlers(context),
        **lease_handlers(context),
        **cluster_handlers(context, cluster),
        **maintenance_handlers(context, cluster, node),
        **auth_handlers(context),
        WATCH: WatchHandler(context),
        **lock_handlers(context, queue),
        **election_handlers(context, queue),
    }
