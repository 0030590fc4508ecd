"""Which handler answers which path. The keys of v2 come first: they are nearly every request."""

import logging
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from core.api.http.message import Handler, Reply, Request
from core.api.plain import DAMAGED, message, not_found
from core.api.store import Damage, DamagedError, DivergedError

_KEYS = b"/v2/keys"
_BELOW_KEYS = _KEYS + b"/"
_MISTAKES = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
"""What a handler raises that did not reckon with what somebody sent. What concerns disk or memory is not among them."""

_logger = logging.getLogger(__name__)


class Route(msgspec.Struct, frozen=True):
    """A path and its handler; with `below` also every path beneath it, where nothing deeper is listed."""

    path: bytes
    handler: Handler
    below: bool = False


class Router:
    """A handler that hands on by path; what nobody serves is a 404. A request that a handler was not written for costs
    itself, and not the node."""

    def __init__(self, keys: Handler, routes: Iterable[Route], damage: Damage) -> None:
        self._keys = keys
        self._damage = damage
        self._exact: dict[bytes, Handler] = {}
        below: list[Route] = []
        for route in routes:
            if route.path in self._exact:
                raise ValueError(f"two handlers for {route.path.decode()}")
            self._exact[route.path] = route.handler
            if route.below:
                below.append(Route(route.path + b"/", route.handler))
        self._below = sorted(below, key=lambda route: len(route.path), reverse=True)

    def __call__(self, request: Request, reply: Reply) -> None:
        path = request.path
        try:
            if path.startswith(_BELOW_KEYS) or path == _KEYS:
                self._keys(request, reply)
                return
            handler = self._exact.get(path)
            if handler is None:
                handler = next((route.handler for route in self._below if path.startswith(route.path)), not_served)
            handler(request, reply)
        except DamagedError as error:
            self._damage.met(error)
            reply.send(message(503, str(error)) if isinstance(error, DivergedError) else message(500, DAMAGED))
        except _MISTAKES:
            _logger.exception("a mistake of this program", extra={"path": path[:200].decode("latin-1")})
            with suppress(RuntimeError):  # it was answered before that
                reply.send(message(500, "a mistake of this program; see the node's log"))


def not_served(request: Request, reply: Reply) -> None:
    """The handler of all other paths."""
    reply.send(not_found())
