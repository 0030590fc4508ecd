"""What a member does for units: it is a host of them, stands for the engine's election, and opens their doors."""

from collections.abc import Callable, Iterator, Sequence

import trio

from core.addresses import Url
from core.api.access.gate import Gate
from core.api.figures import Figure
from core.api.fleet import Fleet, Forwarding, HostHandler, Index
from core.api.fleetlock import FleetLock
from core.api.http import Handler
from core.api.http.message import Reply, Request
from core.api.router import Route
from core.api.updates import PATH as UPDATES
from core.api.updates import UpdateDoor
from core.claiming import Claiming
from core.client import Store
from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint, parse
from core.client.images import Images
from core.config import Config
from core.engine.engine import Engine
from core.engine.figures import Figures
from core.engine.mirror import Mirror
from core.engine.sight import Sight
from core.hosting import Hosting, executor_of, guarded
from core.kv.access import Office
from core.machine_id import MachineIdError, machine_id
from core.member import Member
from core.service import StartError
from core.this_host import machine
from core.tls.contexts import TlsFilesError
from core.update.voters import Voters


class Managing:
    """Made when the listeners are bound. `run` is a task of the daemon, and so is `hosting.run`."""

    def __init__(
        self,
        config: Config,
        store: Store,
        gate: Gate,
        bound: list[Url],
        member: Member,
        others: Callable[[], Sequence[Endpoint]],
        voters: Voters,
    ) -> None:
        """`others` are the doors of the other members. StartError."""
        try:
            own = machine_id(config.data_dir, config.machine_id)
        except MachineIdError as error:
            raise StartError(str(error)) from error
        self._config = config
        self._gate = gate
        here = machine(config, own, config.advertised(bound))
        itself = parse(f"unix:{config.socket.absolute()}")
        images = Images(lambda: [itself, *others()], self.credentials)
        self.hosting = Hosting(config, store, here, executor_of(config, own), images, voters)
        index = Index(store)
        self._claiming = Claiming(member, own)
        face = self.hosting.face
        forwarding = Forwarding(store, index, face, here.boot_id, self.credentials, self._claiming)
        cluster = f"{member.identity.cluster:x}"
        self._engine = None if config.disable_engine else Engine(store, config.name, cluster)
        self._sight = Sight(store, self._leading)
        self._fleet = Fleet(store, gate, index, forwarding, self._sight)
        self._fleetlock = FleetLock(store, gate, voters)

    def routes(self) -> list[Route]:
        """The paths of units and machines, of their reboot lock, and of the updates of this host."""
        door = UpdateDoor(self.hosting.updating, self._require)
        return [*self._fleet.routes(), *self._fleetlock.routes(), Route(UPDATES, door.__call__, below=True)]

    def in_front_of(self, handler: Handler, also: tuple[bytes, ...]) -> Handler:
        """The handler with the face of this host before it; members may go to the paths that begin with `also`."""
        return HostHandler(self.hosting.face, handler, self._require, self._claiming.knows, also).__call__

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fleet.run)
            nursery.start_soon(self._sight.run)
            if self.hosting.runs_units:
                nursery.start_soon(self._claiming.run)
            if self._engine is not None:
                nursery.start_soon(guarded, "engine", self._engine.run)

    def figures(self) -> Iterator[Figure]:
        """What `/metrics` shows of it."""
        yield from self.hosting.figures()
        if self._engine is not None:
            yield from engine_figures(self._engine.figures)

    def _leading(self) -> Mirror | None:
        return None if self._engine is None else self._engine.mirror

    def _require(self, request: Request, reply: Reply, serve: Callable[[Reply], None]) -> None:
        self._gate.require(Office.OPERATOR, request, reply, serve)

    def credentials(self) -> ClientCredentials | None:
        """What other hosts are shown and trusted by."""
        config = self._config
        try:
            return ClientCredentials(
                config.peer_trusted_ca_file or config.trusted_ca_file, config.peer_cert_file, config.peer_key_file
            )
        except TlsFilesError:
            return None


def engine_figures(found: Figures) -> Iterator[Figure]:
    """Under fleet's names where fleet counted the same."""
    yield Figure("engine_leader_start_time", "Unix time since which this engine leads.", found.engine_leader_start_time)
    for name, help_, value in (
        ("engine_task_count", "Changes of placements.", found.engine_task_count_total),
        ("engine_task_failure_count", "Changes that others were faster with.", found.engine_task_failure_count_total),
        ("engine_reconcile_count", "Plans.", found.engine_reconcile_count_total),
        ("engine_reconcile_failure_count", "Terms ended by an error.", found.engine_reconcile_failure_count_total),
        ("engine_reconcile_duration_second", "Time spent planning.", found.engine_reconcile_duration_second),
        ("corenode_engine_slices", "Slices of plans.", found.slices),
        ("corenode_engine_texts_collected", "Texts removed that no unit has.", found.texts_collected),
    ):
        yield Figure(name, help_, value, counter=True)
    yield Figure("corenode_engine_longest_slice_seconds", "Nothing else ran meanwhile.", found.longest_slice)
    yield Figure("corenode_engine_waiting_units", "Units wanted that stand nowhere.", found.waiting)
    yield Figure("corenode_engine_holding", "1 if it places nothing, for a reason.", float(bool(found.holding)))
