"""This host as a machine of the cluster: what runs units on it, its agent, its updates, and what it says of them.

What fails while units are run ends this process with a sentence, and ends no unit. A store that is away ends nothing.
"""

import logging
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import trio

from core.agent.agent import Agent
from core.agent.executor import Executor, ExecutorError, ExecutorGone
from core.agent.journal import JournalFile
from core.agent.options import OnStop, Options
from core.agent.presence import DuplicateMachineError
from core.agent.supervisor.executor import Supervisor
from core.api.figures import Figure
from core.api.fleet import HostFace, Units
from core.client import Store
from core.client.images import Images
from core.config import Config
from core.sched.records import Machine
from core.service import StartError
from core.update.voters import Voters
from core.updating import Updating

UNITS, JOURNAL = "units", "agent.json"
"""In the data directory: where the embedded supervisor keeps its units, and what the agent must know again."""
SYSTEMD = Path("/run/systemd/system")
"""There if systemd is the init of this host, as sd_booted(3) says."""
_ON_STOP: dict[str, OnStop] = {"leave": "leave", "move": "move"}

_logger = logging.getLogger(__name__)


def executor_of(config: Config, machine_id: str) -> Executor | None:
    """What runs units here; None: nothing does. StartError."""
    if config.executor == "none":
        return None
    booted = SYSTEMD.is_dir()
    if config.executor == "systemd" and not booted:
        raise StartError("--executor systemd: systemd is not the init of this host; use embedded, or auto")
    if config.executor == "systemd" or (config.executor == "auto" and booted and os.geteuid() == 0):
        # Here, so that jeepney is loaded only where it is used.
        from core.agent.systemd.executor import Systemd

        return Systemd()
    return Supervisor(config.data_dir / UNITS, machine_id)


class Hosting:
    """`run` is a task beside the front end, which `stop` asks to end."""

    def __init__(
        self,
        config: Config,
        store: Store | None,
        machine: Machine,
        executor: Executor | None,
        images: Images,
        voters: Voters = tuple,
    ) -> None:
        """`images` are where those of the cluster come from; `voters` its voting members, if this is one. StartError if
        this host is to be updated and cannot be."""
        self._store = store
        self._executor = executor
        self._agent: Agent | None = None
        self._on_stop = _ON_STOP[config.on_stop]
        if store is not None and executor is not None:
            options = Options(machine=machine, on_stop=self._on_stop, ttl=config.agent_ttl)
            self._agent = Agent(store, executor, options, JournalFile(config.data_dir / JOURNAL))
        self.updating = Updating(config, store, machine, lambda: self._agent, images, voters)
        self._ended = trio.Event()
        self.face = HostFace(machine.id, self._units, (ExecutorError, ExecutorGone))

    @property
    def runs_units(self) -> bool:
        """Whether this host is one of the cluster's machines."""
        return self._agent is not None

    def _units(self) -> Units | None:
        """The executor, once the agent has it at work."""
        return self._executor if self._agent is not None and self._agent.figures.rounds else None

    async def run(self) -> None:
        """Run the agent, and what updates this host, until `stop`. StartError if it cannot go on."""
        if self._store is None:
            return
        failure: StartError | None = None
        async with self._store, trio.open_nursery() as nursery:
            nursery.start_soon(guarded, "updater", self.updating.run)
            try:
                await self._run_agent()
            except StartError as error:
                failure = error  # a nursery would wrap it
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _run_agent(self) -> None:
        if self._agent is None:
            await self._ended.wait()
            return
        try:
            await guarded("agent", self._agent.run)
        except DuplicateMachineError as error:
            raise StartError(f"this node ends: {error}") from error

    @property
    def moves(self) -> bool:
        """Whether units are to end before this process does, which takes as long as they take."""
        return self._agent is not None and self._on_stop == "move"

    def stop(self) -> None:
        """Leave units running, or move them, as configured."""
        self._ended.set()
        if self._agent is not None:
            self._agent.stop()

    def figures(self) -> Iterator[Figure]:
        """What `/metrics` shows of it."""
        if self._agent is None:
            return
        found = self._agent.figures
        rounds = "Times that what is was compared with what is wanted."
        doubts = "1 if units are kept as they are, whatever is placed."
        yield Figure("corenode_agent_units", "Units this host has or is to have.", found.units)
        yield Figure("corenode_agent_rounds", rounds, found.rounds, counter=True)
        yield Figure("corenode_agent_writes", "Transactions that told of units.", found.writes, counter=True)
        yield Figure("corenode_agent_registered", "1 if this host counts as present.", float(found.registered))
        yield Figure("corenode_agent_doubts", doubts, float(bool(found.doubt)))


async def guarded(what: str, run: Callable[[], Awaitable[None]]) -> None:
    """Run a part of this process; if it fails, the process ends with a sentence. StartError."""
    try:
        await run()
    except DuplicateMachineError:
        raise
    except (Exception, BaseExceptionGroup) as error:
        failure: BaseException | None = error
        if isinstance(error, BaseExceptionGroup):
            _, failure = error.split(trio.Cancelled)
        if failure is None:
            raise
        _logger.critical("a part of this node failed", extra={"part": what}, exc_info=failure)
        raise StartError(
            f"this node ends, because its {what} failed: {_told(failure)}. Its units run on; start the node again"
        ) from failure


def _told(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
