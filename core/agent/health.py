"""Health checks of running units: what they come to decides whether a unit counts as running, and restarts it."""

from collections.abc import Awaitable, Callable

import msgspec
import trio

from core.agent.desk import Case
from core.sched.health import Health
from core.sched.records import Health as Verdict

Probe = Callable[[str, Health], Awaitable[str]]
"""Makes a check of the unit of that name."""

STARTING_SECONDS = 1.0
"""How often a unit that has not passed yet is checked at the most: whoever waits for it waits no longer than needed."""


class Course(msgspec.Struct):
    """How one check went so far. Pure; times are seconds of one clock."""

    check: Health
    began: float
    passed: bool = False
    failures: int = 0
    """In a row, those of the first time not counted."""
    why: str = ""

    def outcome(self, why: str, now: float) -> None:
        """One check was made: `why` it failed, empty if it passed."""
        if not why:
            self.passed, self.failures, self.why = True, 0, ""
            return
        self.why = why
        if self.passed or now - self.began >= self.check.start:
            self.failures += 1

    @property
    def verdict(self) -> Verdict:
        if self.failures >= self.check.retries:
            return "unhealthy"
        return "healthy" if self.passed else "starting"

    @property
    def pause(self) -> float:
        return self.check.interval if self.passed else min(self.check.interval, STARTING_SECONDS)


def together(courses: list[Course]) -> tuple[Verdict, str]:
    """What all checks of a unit come to, and why."""
    for verdict in ("unhealthy", "starting"):
        for course in courses:
            if course.verdict == verdict:
                return course.verdict, course.why
    return "healthy", next((course.why for course in courses if course.why), "")


class Checks:
    """Runs the checks of units that are up; `told` is called when a unit's health has changed."""

    def __init__(self, probe: Probe, told: Callable[[str], None]) -> None:
        self._probe = probe
        self._told = told
        self._nursery: trio.Nursery | None = None
        self._running: dict[str, tuple[object, trio.CancelScope]] = {}

    async def run(self) -> None:
        """Never returns."""
        async with trio.open_nursery() as self._nursery:
            await trio.sleep_forever()

    def follow(self, name: str, case: Case) -> None:
        """Begin, go on with or end the checks of a unit, by what it is now. Each start of it is checked anew."""
        up = case.actual is not None and case.actual.up and bool(case.care.checks)
        run = (case.care_for, case.actual.pid, case.revived) if up and case.actual else None
        known, scope = self._running.get(name, (None, None))
        if run == known or self._nursery is None:
            return
        if scope is not None:
            scope.cancel()
            del self._running[name]
        case.health, case.sick, case.ill = "", "", False
        if run is not None:
            scope = trio.CancelScope()
            self._running[name] = run, scope
            case.health = "starting"
            self._nursery.start_soon(self._watch, name, case, scope)

    async def _watch(self, name: str, case: Case, scope: trio.CancelScope) -> None:
        with scope:
            courses = [Course(check, trio.current_time()) for check in case.care.checks]
            async with trio.open_nursery() as nursery:
                for course in courses:
                    nursery.start_soon(self._repeat, name, case, course, courses)

    async def _repeat(self, name: str, case: Case, course: Course, courses: list[Course]) -> None:
        while True:
            course.outcome(await self._probe(name, course.check), trio.current_time())
            health, why = together(courses)
            if (case.health, case.sick) != (health, why):
                case.health, case.sick, case.ill = health, why, health == "unhealthy"
                self._told(name)
            await trio.sleep(course.pause)
