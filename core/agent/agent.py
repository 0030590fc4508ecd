"""One agent: its parts, put together, and how it ends."""

import logging
import random

import msgspec
import trio

from core.agent.executor import Executor, ExecutorGone
from core.agent.health import Checks, Probe
from core.agent.journal import Journal, Memory
from core.agent.options import Options
from core.agent.orders import Orders
from core.agent.presence import DuplicateMachineError, Presence
from core.agent.probes import probe as real_probe
from core.agent.reports import Reports
from core.agent.rounds import Rounds
from core.client import Store
from core.client.errors import ClientError
from core.sched.records import Drain

log = logging.getLogger(__name__)


class Figures(msgspec.Struct, frozen=True):
    """Of one agent, since it began."""

    units: int
    rounds: int
    writes: int
    """Transactions that told of units."""
    registered: bool
    doubt: str
    """Why units are kept as they are instead of following the engine's word; empty if they follow."""


class Agent:
    """The agent of this host. `run` it once."""

    def __init__(
        self,
        store: Store,
        executor: Executor,
        options: Options,
        memory: Memory,
        *,
        chance: random.Random | None = None,
        probe: Probe = real_probe,
    ) -> None:
        self._store = store
        self._executor = executor
        self._options = options
        self._memory = memory
        self._chance = chance or random.Random()  # noqa: S311 - spreads load
        self._probe = probe
        self._journal = Journal()
        self._saved = b""
        self._ending = trio.Event()
        self._refusal: DuplicateMachineError | None = None
        self._rounds: Rounds | None = None
        self._orders: Orders | None = None
        self._reports: Reports | None = None
        self._presence: Presence | None = None

    def stop(self) -> None:
        """Ask `run` to end: units stay or move, as the options say."""
        self._ending.set()

    @property
    def figures(self) -> Figures:
        rounds, orders, reports, presence = self._rounds, self._orders, self._reports, self._presence
        return Figures(
            len(rounds.cases) if rounds else 0,
            rounds.rounds if rounds else 0,
            reports.writes if reports else 0,
            bool(presence and presence.lease),
            orders.doubt if orders else "",
        )

    @property
    def held(self) -> int | None:
        """How many units this host has or is to have; None while that, or what the store knows of it, is not known."""
        rounds, presence = self._rounds, self._presence
        return len(rounds.cases) if rounds and rounds.rounds and presence and presence.lease else None

    @property
    def ailing(self) -> list[str]:
        """Units of this host that have failed, or whose checks fail."""
        states = self._reports.states if self._reports else {}
        return sorted(name for name, state in states.items() if state.active == "failed" or state.health == "unhealthy")

    def leave(self, drain: Drain | None) -> None:
        """Have the engine take all units away before this host restarts; None: it does not restart."""
        self._options = msgspec.structs.replace(
            self._options, machine=msgspec.structs.replace(self._options.machine, leaving=drain)
        )
        if self._presence:
            self._presence.leave(drain)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Manage this host's units until `stop`; started once the host is registered. DuplicateMachineError.

        Cancelled, it ends at once: units stay, and the host counts as present until its lease ends.
        """
        self._journal = await self._memory.read()
        machine = self._options.machine
        if self._journal.boot != machine.boot_id:
            self._journal.boot = machine.boot_id
            self._journal.started.clear()
        orders = self._orders = Orders(
            self._store, machine.id, self._journal.story, self._journal.revision, self._changed, self._rewound
        )

        def registered() -> None:
            rounds.admitted = True
            rounds.due()
            task_status.started()

        presence = self._presence = Presence(
            self._store,
            machine,
            self._options.ttl,
            self._chance,
            lambda: orders.revision,
            orders.heard_of,
            registered,
        )
        presence.follows = orders.follows
        reports = self._reports = Reports(self._store, machine.id)
        checks = Checks(self._probe, self._told)
        async with self._executor:
            rounds = self._rounds = Rounds(
                self._store, self._executor, self._options, self._journal, self._save, orders, reports, checks
            )
            async with trio.open_nursery() as outer:
                async with trio.open_nursery() as inner:
                    inner.start_soon(checks.run)
                    inner.start_soon(orders.run)
                    inner.start_soon(rounds.run)
                    outer.start_soon(reports.run, presence)
                    outer.start_soon(self._register, presence, rounds, reports)
                    await self._ending.wait()
                    inner.cancel_scope.cancel()
                moves = self._options.on_stop == "move" and self._refusal is None
                if moves:
                    await self._move(rounds)
                outer.cancel_scope.cancel()
            # A host that was emptied before it restarts need not be waited for, nor wait for its own lease to end.
            emptied = self._options.machine.leaving is not None and self.held == 0
            if moves or emptied:
                await self._give_up(presence)
        if self._refusal is not None:
            raise self._refusal

    async def _register(self, presence: Presence, rounds: Rounds, reports: Reports) -> None:
        """A host appears once it is known what runs on it, and that its units can be managed."""
        await rounds.listed.wait()
        try:
            await presence.run(self._journal, self._save, reports.announce)
        except DuplicateMachineError as error:
            self._refusal = error
            self._ending.set()

    async def _move(self, rounds: Rounds) -> None:
        """Everything ends here before the host is gone, so that nothing runs twice."""
        try:
            await rounds.clear()
        except ExecutorGone as error:
            log.warning("units could not be stopped before leaving: %s", error)

    async def _give_up(self, presence: Presence) -> None:
        try:
            await presence.give_up()
        except ClientError as error:
            log.warning(
                "the store was not told that this host leaves; it will notice in %d s: %s", self._options.ttl, error
            )

    def _changed(self) -> None:
        if self._rounds:
            self._rounds.due()

    def _rewound(self) -> None:
        """What was told to the store may be lost; and the engine must hear that this host believes it no more."""
        if self._orders and self._presence:
            self._presence.follows = self._orders.follows
            self._presence.lose("the store went back to an older story")

    def _told(self, name: str) -> None:
        if self._rounds:
            self._rounds.tell(name)
            self._rounds.due()

    async def _save(self) -> None:
        """Keep the journal, if it has changed. Without a disk to write to the agent goes on."""
        data = msgspec.json.encode(self._journal)
        if data == self._saved:
            return
        try:
            await self._memory.write(self._journal)
            self._saved = data
        except OSError as error:
            log.warning("the agent's journal cannot be written, after a restart units may be started again: %s", error)
