"""Every path of the dialect."""

from collections.abc import Mapping

import trio

from core.api.access.gate import Gate
from core.api.http.message import Handler
from core.api.router import Route
from core.api.v2.cluster import Cluster
from core.api.v3.calls import Context
from core.api.v3.header import Header
from core.api.v3.kv import kv_handlers
from core.api.v3.leases import lease_handlers
from core.api.v3.store import Store

PREFIXES = ("/v3/", "/v3beta/", "/v3alpha/")


def routes(store: Store, gate: Gate, cluster: Cluster, request_max: int) -> list[Route]:
    """The routes, each under every prefix; the keys and values of a request may have `request_max` bytes."""
    context = Context(store, gate, Header(store, cluster), request_max, trio.Lock())
    handlers = table(context)
    return [Route((prefix + path).encode(), handlers[path]) for prefix in PREFIXES for path in handlers]


def table(context: Context) -> Mapping[str, Handler]:
    """The handlers by path, without prefix."""
    return {**kv_handlers(context), **lease_handlers(context)}
