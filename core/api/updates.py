"""The door of this host's updater, for its own root and for operators.

GET  /corenode/host/update          how it fares: what runs, what is under way, both slots
POST /corenode/host/update/check    which releases are signed and served now
POST /corenode/host/update/apply    {"version": "1.2.0", "now": false}: install one, or restart for what is there
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from core.api.http.message import Outlet, Reply, Request
from core.api.plain import json_answer, message, method_not_allowed

PATH = b"/corenode/host/update"
Require = Callable[[Request, Reply, Callable[[Reply], None]], None]
"""Serves whoever operates this host or the cluster, and answers the others why not."""


class UpdatesRefused(Exception):  # noqa: N818 - an answer, not a fault of the program
    """Why something cannot be done; the text is for people."""


class Apply(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an operator on this host asks for."""

    version: str = ""
    """Empty: what the cluster offers, or the newest there is."""
    now: bool = False
    """Restart whatever the strategy and the window say."""


class Updates(Protocol):
    """The updater of this host. UpdatesRefused from each but the first."""

    async def status(self) -> object: ...
    async def check(self) -> object: ...
    async def apply(self, wanted: Apply) -> object: ...


class UpdateDoor:
    """A handler of all of these paths."""

    def __init__(self, updates: Updates, require: Require) -> None:
        self._updates = updates
        self._require = require

    def __call__(self, request: Request, reply: Reply) -> None:
        what = request.path[len(PATH) :]
        if what not in (b"", b"/check", b"/apply"):
            reply.send(message(404, f"{PATH.decode()}, its /check and its /apply are what there is"))
            return
        method = b"POST" if what else b"GET"
        if request.method != method:
            reply.send(method_not_allowed((method,)))
            return
        work: Callable[[], Awaitable[object]] = self._updates.check if what == b"/check" else self._updates.status
        if what == b"/apply":
            try:
                wanted = msgspec.json.decode(request.body or b"{}", type=Apply)
            except msgspec.DecodeError as error:
                reply.send(message(400, f"the request cannot be read: {error}"))
                return
            work = lambda: self._updates.apply(wanted)  # noqa: E731
        self._require(request, reply, lambda given: given.stream(lambda outlet: _produce(work, outlet)))


async def _produce(work: Callable[[], Awaitable[object]], outlet: Outlet) -> None:
    try:
        answer = json_answer(await work(), end=b"\n")
    except UpdatesRefused as error:
        answer = message(409, str(error))
    await outlet.start(answer.status, answer.headers)
    await outlet.send(answer.body)
