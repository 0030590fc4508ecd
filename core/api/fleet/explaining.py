"""`/corenode/fleet/units/NAME/explain`: why a unit is where it is, why not elsewhere, what it waits for."""

from typing import Protocol

import trio

from core.api.fleet.answers import Refused
from core.api.fleet.desired import name_of
from core.api.http.message import Response
from core.api.plain import json_answer
from core.sched.explain import Explanation, explaining
from core.sched.view import View


class Sight(Protocol):
    """Who knows all there is; `core.engine.sight.Sight`."""

    async def view(self) -> View:
        """All that was written before this call; only to look at. ClientError."""
        ...


class Explaining:
    """The handler. It looks at every machine, so it explains one unit at a time."""

    def __init__(self, sight: Sight) -> None:
        self._sight = sight
        self._turn = trio.Lock()

    async def explain(self, name: str) -> Response:
        """By the rules that the engine plans by."""
        unit = name_of(name).text
        async with self._turn:
            found = await self._explained(unit)
        if not found.desired and not found.placed:
            raise Refused(404, f"there is no unit {unit}")
        return json_answer(found, end=b"\n")

    async def _explained(self, unit: str) -> Explanation:
        work = explaining(await self._sight.view(), unit)
        while True:
            try:
                next(work)
            except StopIteration as end:
                found: Explanation = end.value
                return found
            await trio.lowlevel.checkpoint()
