"""Rounds: what is wanted is compared with what is there, and the difference carried out, each unit for itself."""

import logging
from collections.abc import Awaitable, Callable

import trio

from core.agent.backoff import Backoff
from core.agent.desk import Case
from core.agent.executor import Actual, Executor, ExecutorError, ExecutorGone
from core.agent.health import Checks
from core.agent.journal import Journal, Mark
from core.agent.options import Options
from core.agent.orders import Orders
from core.agent.reports import Reports
from core.agent.steps import steps
from core.agent.texts import NO_CARE, TextError, care, fetch
from core.client import Store
from core.client.errors import ClientError
from core.sched.records import Placement

log = logging.getLogger(__name__)

STARTS_AT_ONCE = 8
"""A host's disk and service manager are shared."""
STOPS_AT_ONCE = 64
"""Most of a stop is waiting, and those that take their time should not hold up others."""
SPACING_SECONDS = 0.02
"""Between two rounds, so that changes which come together are one round, or two. And before one that takes units away:
of an emptied registry the header, without which that is not believed, may vanish last."""


class Rounds:
    """Owns what is known of units on this host, and is alone in asking the executor for changes."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        options: Options,
        journal: Journal,
        save: Callable[[], Awaitable[None]],
        orders: Orders,
        reports: Reports,
        checks: Checks,
        may_start: Callable[[], bool],
    ) -> None:
        """`may_start` says whether what is placed here may be begun: not while the host may count as gone, for it may
        be placed elsewhere by now."""
        self._store = store
        self._executor = executor
        self._options = options
        self._journal = journal
        self._save = save
        self._orders = orders
        self._reports = reports
        self._checks = checks
        self._may_start = may_start
        self._due = trio.Event()
        self._starts = trio.CapacityLimiter(STARTS_AT_ONCE)
        self._stops = trio.CapacityLimiter(STOPS_AT_ONCE)
        self._listed = -float("inf")
        self._unlisted = True
        self._unsettled = False
        self._gone = Backoff()
        self._away = Backoff(longest=15.0)
        """For texts that could not be read from the store."""
        self.cases: dict[str, Case] = {}
        self.listed = trio.Event()
        """Set once it is known what this host has."""
        self.admitted = False
        """Whether the host was registered: before that it may be somebody else's id that it goes by."""
        self.rounds = 0
        """How many there were."""

    def due(self) -> None:
        """Something has changed: look again."""
        self._due.set()

    async def run(self) -> None:
        """Rounds whenever something has changed; never returns."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            while True:
                self._due = trio.Event()
                try:
                    await self._round(nursery)
                    self._gone = Backoff()
                except ExecutorGone as error:
                    self._lost(error)
                await trio.sleep(SPACING_SECONDS)
                with trio.move_on_at(self._wake()):
                    await self._due.wait()

    async def clear(self) -> None:
        """Unload everything, when `run` has ended: the host leaves. What cannot be unloaded is said in the log.
        ExecutorGone."""
        async with trio.open_nursery() as nursery:
            for name in [name for name, case in self.cases.items() if case.actual]:
                nursery.start_soon(self._unload, name)
        await self._executor.settle()
        await self._list()

    # What is there

    async def _listen(self) -> None:
        async for actual in self._executor.changes():
            if actual is None:
                self._unlisted = True
            else:
                self._saw(actual.name, actual)
            self.due()

    async def _list(self) -> None:
        found = await self._executor.adopt()
        self._listed, self._unlisted = trio.current_time(), False
        for name in sorted({*found, *(name for name, case in self.cases.items() if case.actual)}):
            self._saw(name, found.get(name))
        self.listed.set()

    def _saw(self, name: str, actual: Actual | None) -> None:
        case = self.cases.setdefault(name, Case())
        case.actual = actual
        if actual != case.before:
            case.before = None
        self.tell(name)

    def tell(self, name: str) -> None:
        """Report a unit as it is now; forget it if it is neither here nor wanted."""
        case = self.cases.get(name)
        if case:
            self._checks.follow(name, case)
        state = case.state(self._journal.started.get(name)) if case else None
        self._reports.tell(name, state)
        if case and state is None and not case.busy:
            del self.cases[name]

    def _lost(self, error: ExecutorGone) -> None:
        self._gone.failed(trio.current_time())
        self._unlisted = True
        log.warning("units cannot be managed, they are kept as they are: %s", error)

    # What is to be done

    def _wake(self) -> float:
        """When to look again at the latest."""
        now = trio.current_time()
        if self._gone.waits(now):
            return self._gone.until
        waiting = [case.attempts.until for case in self.cases.values() if case.attempts.waits(now)]
        waiting += [self._away.until] if self._away.waits(now) else []
        waiting += [case.revivals.until for case in self.cases.values() if case.revivals.waits(now)]
        return min([self._listed + self._options.listing, *waiting])

    def _misses_any(self) -> bool:
        """Whether a unit that was wanted is not any more."""
        wanted = self._orders.wanted
        return wanted is not None and any(case.order and name not in wanted for name, case in self.cases.items())

    async def _round(self, nursery: trio.Nursery) -> None:
        self.rounds += 1
        now = trio.current_time()
        if self._gone.waits(now):
            return
        if self._unlisted or now >= self._listed + self._options.listing:
            await self._list()
        if self._journal.rewound != self._orders.rewound:
            self._journal.rewound = self._orders.rewound
            await self._save()
        if self._misses_any():
            await trio.sleep(SPACING_SECONDS)
            if not await self._orders.are_vouched_for():
                return
        wanted = self._orders.wanted
        if wanted is None:
            return
        self._order(wanted)
        await self._read_care()
        if self._orders.doubt or not self.admitted:
            return  # nothing is begun on a doubtful word, and nothing ended
        todo = self._todo()
        await self._unload_all(nursery, [name for name, what in todo.items() if "unload" in what])
        ready = await self._load_all([name for name, what in todo.items() if "load" in what])
        if self._unsettled:
            await self._executor.settle()
            self._unsettled = False
        for name, what in todo.items():
            rest = tuple(step for step in what if step in ("stop", "start"))
            if rest and (name in ready or "load" not in what):
                self._begin(nursery, name, self._stop_start, rest)
        if self._unlisted:
            await self._list()
        self._journal.story, self._journal.revision = self._orders.known, self._orders.revision
        await self._save()

    def _order(self, wanted: dict[str, Placement]) -> None:
        for name in sorted({*wanted, *self.cases}):
            case = self.cases.setdefault(name, Case())
            if case.order != wanted.get(name):
                case.ordered(wanted.get(name))
                self.tell(name)
        for name in self._journal.started.keys() - self.cases.keys():
            del self._journal.started[name]

    def _todo(self) -> dict[str, tuple[str, ...]]:
        now = trio.current_time()
        todo: dict[str, tuple[str, ...]] = {}
        for name in sorted(self.cases):
            case = self.cases[name]
            if case.busy or case.attempts.waits(now):
                continue
            mark = self._journal.started.get(name)
            what: tuple[str, ...] = steps(case.order, case.actual, mark)
            if "start" in what and not self._may_start():
                continue
            if not what and case.wants_revival(mark) and not case.revivals.waits(now):
                case.revivals.failed(now)
                case.revived += 1
                what = ("stop", "start") if case.actual and case.actual.up else ("start",)
                log.info("%s is started again: %s", name, case.sick or (case.actual and case.actual.result) or "failed")
            if what:
                todo[name] = what
            elif case.order and case.order.desired == "loaded":
                self._journal.started.pop(name, None)
            elif case.order and mark is None and not case.order.after:
                self._journal.started[name] = Mark(case.order.text, case.order.restart)
        return todo

    async def _read_care(self) -> None:
        """What units that run since before this agent ask of it."""
        for name, case in list(self.cases.items()):
            if case.actual is None or case.order is None or case.care_for == case.actual.text or case.busy:
                continue
            try:
                case.care = care(name, await fetch(self._store, case.actual.text))
                case.care_for = case.actual.text
                self.tell(name)
            except TextError:
                case.care, case.care_for = NO_CARE, case.actual.text
            except ClientError as error:
                log.info("the text of %s cannot be read yet: %s", name, error)
                return

    # Doing it

    def _begin(
        self, nursery: trio.Nursery, name: str, work: Callable[..., Awaitable[None]], *arguments: object
    ) -> trio.Event:
        """Do something about one unit beside the others; the event is set when it is done."""
        self.cases[name].busy = True
        done = trio.Event()

        async def attempt() -> None:
            try:
                await work(name, *arguments)
            except ExecutorGone as error:
                self._lost(error)
            finally:
                self.cases[name].busy = False
                self._unlisted = True
                done.set()
                self.due()

        nursery.start_soon(attempt)
        return done

    async def _unload_all(self, nursery: trio.Nursery, names: list[str]) -> None:
        """What is unloaded makes room for what is loaded; but a unit that will not end does not hold up the rest."""
        begun = [self._begin(nursery, name, self._unload) for name in names]
        with trio.move_on_after(self._options.stop_patience):
            for done in begun:
                await done.wait()

    async def _unload(self, name: str) -> None:
        try:
            async with self._stops:
                await self._executor.unload(name)
        except ExecutorError as error:
            self._failed(name, error)
            return
        self._journal.started.pop(name, None)
        self._unsettled = True
        log.info("unloaded %s", name)

    async def _load_all(self, names: list[str]) -> set[str]:
        """Those that were loaded."""
        ready: set[str] = set()
        for name in names:
            case = self.cases[name]
            if case.order is None or self._away.waits(trio.current_time()):
                continue
            try:
                data = await fetch(self._store, case.order.text)
                await self._executor.load(name, data)
            except (ExecutorError, TextError) as error:
                self._failed(name, error)
                continue
            except ClientError as error:
                self._away.failed(trio.current_time())
                log.warning("texts of units cannot be read: %s", error)
                continue
            self._away = Backoff(longest=15.0)
            case.care, case.care_for = care(name, data), case.order.text
            self._succeeded(name)
            self._unsettled = self._unlisted = True
            ready.add(name)
            log.info("loaded %s: %s", name, case.order.why)
        return ready

    async def _stop_start(self, name: str, what: tuple[str, ...]) -> None:
        case = self.cases[name]
        order = case.order
        try:
            if "stop" in what:
                if order is not None and self._journal.started.get(name) == Mark(order.text, order.restart):
                    del self._journal.started[name]  # a revival: should this agent end now, the next one starts it
                async with self._stops:
                    await self._executor.stop(name)
                self._journal.started.pop(name, None)
            if "start" in what and order is not None:
                case.ill, case.health, case.sick, case.before = False, "", "", case.actual
                async with self._starts:
                    await self._executor.start(name)
                self._journal.started[name] = Mark(order.text, order.restart)
                await self._save()
        except ExecutorError as error:
            self._failed(name, error)
            return
        self._succeeded(name)
        log.info("%s: %s", name, " and ".join({"stop": "stopped", "start": "started"}[step] for step in what))

    def _failed(self, name: str, error: Exception) -> None:
        case = self.cases[name]
        case.attempts.failed(trio.current_time())
        case.failure = str(error)
        pause = case.attempts.until - trio.current_time()
        log.warning("%s: %s (next attempt in %.0f s)", name, error, pause)
        self.tell(name)

    def _succeeded(self, name: str) -> None:
        case = self.cases[name]
        case.failure = ""
        case.attempts = Backoff()
        self.tell(name)
