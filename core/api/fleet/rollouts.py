"""`/corenode/fleet/rollouts`: a unit's text replaced step by step."""

from core.api.fleet.answers import Refused, number, whole
from core.api.fleet.desired import STEPS, Wanted, name_of
from core.api.fleet.tables import read
from core.api.http.message import Request, Response
from core.api.plain import json_answer
from core.client import Store
from core.sched import keys
from core.sched.records import HEALTHY_AFTER

MOST_PARALLEL = 10_000
MOST_HEALTHY_AFTER = 86_400
"""Seconds."""


class RolloutsHandlers:
    """What is served below `/corenode/fleet/rollouts`."""

    def __init__(self, store: Store, wanted: Wanted) -> None:
        self._store = store
        self._wanted = wanted

    async def list_rollouts(self) -> Response:
        """All that are known, by unit."""
        tables = await read(self._store, keys.ROLLOUTS)
        found = {name: whole(each) for name, each in sorted(tables.rollouts.items())}
        return json_answer({"revision": tables.revision, "rollouts": found}, end=b"\n")

    async def get(self, name: str) -> Response:
        """One."""
        found = (await read(self._store, keys.rollout(name_of(name).text))).rollouts.get(name)
        if found is None:
            raise Refused(404, f"there is no rollout of {name}")
        return json_answer(whole(found), end=b"\n")

    async def begin(self, request: Request, name: str) -> Response:
        """Replace a unit's text by the one in the body, `?max_parallel=` at a time; each is done once it was well
        for `?healthy_after=` seconds."""
        most = number(request, "max_parallel", 1, 1, MOST_PARALLEL)
        well = number(request, "healthy_after", HEALTHY_AFTER, 0, MOST_HEALTHY_AFTER)
        begun = await self._wanted.roll_out(name_of(name), request.body, most, well)
        return json_answer(whole(begun), 201, end=b"\n")

    async def steer(self, name: str, verb: str) -> Response:
        """Pause, resume or return."""
        if verb not in STEPS:
            raise Refused(404, f"a rollout can be told to {', '.join(STEPS)}, not to {verb[:40]!r}")
        return json_answer(whole(await self._wanted.steer(name_of(name), verb)), end=b"\n")
