"""A term: from the election to the end of the lead. Mirror, story, plans, rollouts, in this order."""

import logging
import math
import time
from collections.abc import Awaitable, Callable

import msgspec
import trio

from core.client import Claim, Compare, Operation, Put, Store
from core.engine import story
from core.engine.collector import collect
from core.engine.figures import Figures
from core.engine.mirror import Mirror
from core.engine.rollouts import Rollouts
from core.engine.writer import Spawn, WentBackError, Writer
from core.sched import keys
from core.sched.planner import Planner
from core.sched.records import Generation, encode
from core.sched.tasks import Task

log = logging.getLogger(__name__)

LOOK_SECONDS = 15.0
"""How often the store is asked whether it goes forward."""
HEADERS_AT_ONCE = 50


class LostTouchError(Exception):
    """The connection to the store was lost, and is there again: nobody knows what it was told of."""


class Past(msgspec.Struct):
    """What a process knows of the store from its earlier terms."""

    revision: int = 0
    generation: Generation | None = None
    mods: dict[bytes, int] = {}
    """The revisions of all records, as they were at `mods_at`."""
    mods_at: int = 0
    doubted: dict[str, tuple[float, float]] = {}
    """Hosts that are not heard on whether the store went back: until when, and after how many seconds of that."""


class Term:
    """Of one lead."""

    def __init__(
        self,
        store: Store,
        claim: Claim,
        value: bytes,
        cluster: str,
        past: Past,
        now: Callable[[], float],
        figures: Figures,
    ) -> None:
        self._store = store
        self._claim = claim
        self._cluster = cluster
        self._past = past
        self._now = now
        self._figures = figures
        self._due = trio.Event()
        self._doubted = trio.Event()
        self._why_doubted = ""
        self._failure: Exception | None = None
        self._spawn: Spawn = _not_running
        self.mirror = Mirror(store, self._changed)
        self._writer = self.make_writer(store, claim, value)

    def make_writer(self, store: Store, claim: Claim, value: bytes) -> Writer:
        return Writer(store, claim, value, self.mirror, self._figures)

    async def run(self) -> None:
        """Until the lead is lost. NotLeadingError, WentBackError, ClientError; CompactedError or LostTouchError: all
        is to be read anew."""
        await self.mirror.read()
        try:
            await self._lead()
        finally:
            if self._past.mods is self.mirror.mods:
                self._past.mods_at = self.mirror.revision

    async def _lead(self) -> None:
        async with trio.open_nursery() as nursery:

            async def guarded(work: Callable[..., Awaitable[None]], *arguments: object) -> None:
                """The first failure ends the term, by itself instead of in a group."""
                try:
                    await work(*arguments)
                except Exception as error:
                    self._failure = self._failure or error
                    nursery.cancel_scope.cancel()

            def spawn(work: Callable[..., Awaitable[None]], *arguments: object) -> None:
                nursery.start_soon(guarded, work, *arguments)

            self._spawn = spawn
            self._spawn(self.mirror.follow, self._lost_connection)
            self._spawn(self._look)
            self._spawn(self._work)
        if self._failure is not None:
            raise self._failure

    def _changed(self) -> None:
        self._due.set()

    def _lost_connection(self, why: str) -> None:
        self._why_doubted = why
        self._doubted.set()

    async def _look(self) -> None:
        """Whether the store goes forward; a watch on one that went back is silent. When the connection was lost it may
        have gone back and forward again, so all is read anew."""
        while True:
            with trio.move_on_after(LOOK_SECONDS):
                await self._doubted.wait()
                raise LostTouchError(f"the connection to the store was lost: {self._why_doubted}")
            known = self.mirror.revision  # before the question: the watch may overtake the answer
            found = await self._store.range(self._claim.key)
            if found.revision < known:
                raise WentBackError("the store went back to an older snapshot")
            self._past.revision = max(self._past.revision, self.mirror.revision)

    async def _work(self) -> None:
        await self._agree()
        self._spawn(collect, self.mirror, self._writer, self._figures)
        planner, rollouts = Planner(self.mirror.view), Rollouts(self.mirror, self._writer)
        if self._past.generation is not None and story.is_older(self.mirror.headers, self._past.generation):
            await self._plan(planner)  # an older story's placements are set right before anybody is told to follow them
            await self._writer.settled()
        while True:
            self._due = trio.Event()
            await self._write_headers()
            for task in await rollouts.step():
                await self._submit(task)
            await self._plan(planner)
            self._past.revision = max(self._past.revision, self.mirror.revision)
            with trio.move_on_after(self._until(rollouts.due)):
                await self._due.wait()

    def _until(self, rollouts: int) -> float:
        """Seconds until something is due although nothing changes."""
        doubts = [until for until, _ in self._past.doubted.values() if until > self._now()]
        times = [when for when in (self.mirror.view.next_due, rollouts, *doubts) if when]
        return max(min(times) - self._now(), 0.1) if times else math.inf

    # The story

    async def _agree(self) -> None:
        """Return when it is known which story the placements tell, and agents may believe it."""
        mirror, past = self.mirror, self._past
        went_back = mirror.revision < past.revision or await mirror.tells_otherwise(past.mods, past.mods_at)
        saw_it = went_back
        raised = False
        was_emptied = mirror.generation is None and await self._wait_for_founders()
        while True:
            self._due = trio.Event()
            new = story.successor(mirror.generation, self._cluster, self._least(went_back=went_back))
            if new is None:
                break
            compare = Compare(keys.GENERATION, "mod", "=", mirror.mods.get(keys.GENERATION, 0))
            revision = await self._writer.write([compare], [Put(keys.GENERATION, encode(new))])
            await (mirror.reached(revision) if revision else self._due.wait())
            went_back, raised = False, True
        past.generation, past.revision = mirror.generation, mirror.revision
        past.mods, past.mods_at = mirror.mods, mirror.revision
        if mirror.generation is not None and story.is_older(mirror.headers, mirror.generation):
            self._hold("the store was restored from a snapshot; waiting for hosts to tell what runs on them")
            await trio.sleep(story.SETTLE_SECONDS)
            if raised and not saw_it and not was_emptied:
                self._doubt(story.alone(mirror.view, mirror.generation))
            was_emptied = True
        if was_emptied:
            await self._adopt()
        self._figures.holding = ""

    async def _wait_for_founders(self) -> bool:
        """Where there is no generation, wait for the first host. If it followed one before, the registry was emptied:
        wait until all that runs is known again. Whether it was."""
        mirror, was_emptied = self.mirror, False
        while mirror.generation is None:
            self._due = trio.Event()
            unknown = story.strangers(mirror.view)
            if not was_emptied and (unknown or story.has_followers(mirror.view)):
                was_emptied = True
                self._hold("the registry was emptied; waiting for hosts to tell what runs on them")
                await trio.sleep(story.SETTLE_SECONDS)
                continue
            if mirror.view.machines and not unknown:
                break
            if unknown:
                self._hold(
                    f"the registry was emptied, and does not know {', '.join(unknown[:3])}"
                    f"{' and others' if len(unknown) > 3 else ''}, which run. Restore it, or submit them again, or"
                    " write the key generation to give them up"
                )
            await self._due.wait()
        return was_emptied

    def _least(self, *, went_back: bool) -> int:
        mirror, past, now = self.mirror, self._past, self._now()
        doubted = {machine for machine, (until, _) in past.doubted.items() if now < until}
        return story.least(
            mirror.view, mirror.generation, self._cluster, past.generation, went_back=went_back, doubted=doubted
        )

    def _doubt(self, machines: list[str]) -> None:
        for machine in machines:
            _, before = self._past.doubted.get(machine, (0.0, 0.0))
            wait = min(max(2 * before, story.DOUBT_SECONDS), story.LONGEST_DOUBT_SECONDS)
            self._past.doubted[machine] = self._now() + wait, wait
            log.warning("%s said that the store went back, most hosts did not; not heard for %d s", machine, wait)

    def _hold(self, why: str) -> None:
        if self._figures.holding != why:
            log.warning("nothing is placed: %s", why)
        self._figures.holding = why

    async def _adopt(self) -> None:
        """Let placements follow what runs. They do when this returns: once the headers vouch for them, agents stop what
        has none."""
        view = self.mirror.view
        while True:
            for _ in view.take_in():
                await trio.lowlevel.checkpoint()
            tasks = story.adopted(view)
            if not tasks:
                return
            for task in tasks:
                view.assume(task)
                await self._submit(task)
            await self._writer.settled()

    async def _write_headers(self) -> None:
        mirror = self.mirror
        if mirror.generation is None or mirror.generation != self._past.generation:
            raise WentBackError("the generation of the registry was changed")
        if mirror.generation.generation < self._least(went_back=False):
            raise WentBackError("a host says that the store went back")
        missing = story.behind(mirror.view, mirror.headers, mirror.generation)
        for start in range(0, len(missing), HEADERS_AT_ONCE):
            part = missing[start : start + HEADERS_AT_ONCE]
            compare = [Compare(keys.GENERATION, "mod", "=", mirror.mods.get(keys.GENERATION, 0))]
            change: list[Operation] = [Put(keys.header(machine), encode(mirror.generation)) for machine in part]
            revision = await self._writer.write(compare, change)
            if revision:
                mirror.headers.update(dict.fromkeys(part, mirror.generation))

    # Plans

    async def _plan(self, planner: Planner) -> None:
        view, figures = self.mirror.view, self._figures
        view.advance(int(self._now()))
        figures.engine_reconcile_count_total += 1
        began = time.perf_counter()
        for step in planner.plan():
            spent = time.perf_counter() - began
            figures.engine_reconcile_duration_second += spent
            figures.slices += 1
            figures.longest_slice = max(figures.longest_slice, spent)
            for task in step.tasks:
                await self._submit(task)
            await trio.lowlevel.checkpoint()
            began = time.perf_counter()
        figures.waiting = len(planner.waiting)

    async def _submit(self, task: Task) -> None:
        await self._writer.submit(self._spawn, task)


def _not_running(work: Callable[..., Awaitable[None]], *arguments: object) -> None:
    raise RuntimeError(f"a term begins {work.__name__}{arguments} only while it runs")
