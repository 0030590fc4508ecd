"""What somebody was given for longer than an answer takes: a stream lasts only as long as the records allow it."""

from collections.abc import Awaitable, Callable

import trio

from core.api.http.message import Outlet, Reply
from core.kv.errors import DamagedError
from core.kv.ledger import Switch

REVIEW_SECONDS = 0.2
"""How long a stream outlives the change of records that forbids it, at most. Watches send nothing in between."""
_AT_ONCE = 100
"""Claims judged between two checkpoints."""


class Claim:
    """Somebody's claim to a stream, judged once for each version of the access records."""

    __slots__ = ("_as_of", "_holds", "_judge", "_switch")

    def __init__(self, switch: Switch, judge: Callable[[], bool]) -> None:
        """Made when it holds, by the records as they are."""
        self._switch = switch
        self._judge = judge
        self._as_of = switch.revision
        self._holds = True

    def holds(self) -> bool:
        """Whether it still does. What was lost once stays lost."""
        if self._as_of != self._switch.revision:
            self._as_of = self._switch.revision
            try:
                self._holds = self._holds and self._judge()
            except DamagedError:
                self._holds = False
        return self._holds


class Claims:
    """Those of all streams under way. `run` is a task of the daemon."""

    def __init__(self, switch: Switch) -> None:
        self._switch = switch
        self._open: dict[trio.CancelScope, Claim] = {}

    def stream(self, reply: Reply, produce: Callable[[Outlet], Awaitable[None]], claim: Claim) -> None:
        """Answer with a stream that is cut off, so that nobody takes it for whole, when the claim holds no longer."""

        async def claimed(outlet: Outlet) -> None:
            scope = trio.CancelScope()
            self._open[scope] = claim
            try:
                with scope:
                    await produce(outlet)
            finally:
                del self._open[scope]
            if scope.cancelled_caught:
                await outlet.abort()

        reply.stream(claimed)

    async def run(self) -> None:
        """Cut off what may not go on, until cancelled."""
        seen = self._switch.revision
        while True:
            await trio.sleep(REVIEW_SECONDS)
            if self._switch.revision != seen:
                seen = self._switch.revision
                await self._review()

    async def _review(self) -> None:
        for number, (scope, claim) in enumerate(list(self._open.items()), 1):
            if not claim.holds():
                scope.cancel()
            if number % _AT_ONCE == 0:
                await trio.lowlevel.checkpoint()
