"""The audit log: a line for every refused and every administrative request. Never a body, a header or a secret.

The lines are of level info, of a logger of their own that writes them whatever the level of the others: warnings that
repeat are held back, and these must not be.
"""

import logging
from collections.abc import Awaitable, Callable

from core.api.http.message import Outlet, Reply, Request, Response, Talk

_logger = logging.getLogger("corenode.audit")
_logger.setLevel(logging.INFO)


def refused(who: str, request: Request, why: str) -> None:
    """Somebody asked for what they may not have."""
    _logger.info("refused", extra={**_fields(who, request), "why": why})


def failed_login(user: str, request: Request, why: str) -> None:
    """A name and password that are not believed."""
    _logger.info("login failed", extra={**_fields(f"user {user}", request), "why": why})


class Audited:
    """The reply to an administrative request, which writes its line when it is answered."""

    def __init__(self, reply: Reply, who: str, request: Request) -> None:
        self._reply = reply
        self._fields = _fields(who, request)

    def send(self, response: Response) -> None:
        self._write(response.status)
        self._reply.send(response)

    def stream(self, produce: Callable[[Outlet], Awaitable[None]]) -> None:
        self._write(200)
        self._reply.stream(produce)

    def converse(self, talk: Talk) -> None:
        self._write(200)
        self._reply.converse(talk)

    def _write(self, status: int) -> None:
        verdict = "done" if status < 300 else "failed"
        _logger.info("administration", extra={**self._fields, "verdict": verdict, "status": status})


def _fields(who: str, request: Request) -> dict[str, object]:
    what = f"{request.method.decode('latin-1')} {request.path.decode('latin-1')}"
    return {"who": who, "address": request.caller.address, "what": what[:300]}
