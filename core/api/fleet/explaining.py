"""`/corenode/fleet/units/NAME/explain`: why a unit is where it is, why not elsewhere, what it waits for."""

import time

import trio

from core.api.fleet.answers import Refused
from core.api.fleet.desired import name_of
from core.api.fleet.tables import PAGE
from core.api.http.message import Response
from core.api.plain import json_answer
from core.client import Store, prefix
from core.client.errors import CompactedError
from core.sched import keys
from core.sched.explain import explain
from core.sched.view import View

AT_ONCE = 50
"""Records taken in between two rounds of the loop: about a millisecond."""
_TABLES = (
    keys.HOSTS,
    keys.MACHINES,
    keys.TEXTS,
    keys.UNITS,
    keys.PLACEMENTS,
    keys.STATES,
    keys.ROLLOUTS,
)


class Explaining:
    """The handler. It reads all there is, as the engine does, so it explains one unit at a time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._turn = trio.Lock()

    async def explain(self, name: str) -> Response:
        """By the rules that the engine plans by."""
        unit = name_of(name).text
        async with self._turn:
            view = await self._view()
            found = explain(view, unit)
        if not found.desired and not found.placed:
            raise Refused(404, f"there is no unit {unit}")
        return json_answer(found, end=b"\n")

    async def _view(self) -> View:
        while True:
            view, revision = View(), 0
            try:
                for table in _TABLES:
                    async for page in self._store.pages(prefix(table), size=PAGE, revision=revision):
                        revision = revision or page.revision
                        for number, kv in enumerate(page.kvs, 1):
                            view.apply(kv.key, kv.value, kv.mod_revision)
                            if number % AT_ONCE == 0:
                                await trio.lowlevel.checkpoint()
            except CompactedError:
                continue
            view.advance(int(time.time()))
            for number, _ in enumerate(view.take_in(), 1):
                if number % AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            return view
