"""Whole nodes on real disks, linked in memory: links that can be cut, nodes that can be switched off and on."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from io import BytesIO
from pathlib import Path
from random import Random
from typing import Any

import trio
import trio.testing

from core.kv import membership
from core.kv.commands import Command
from core.kv.keyspace import Keyspace
from core.kv.membership import Change, Member
from core.kv.transaction import Table
from core.node.clock import ClusterClock
from core.node.errors import ProposalError
from core.node.headroom import Headroom
from core.node.node import Node
from core.node.snapshots import Snapshots
from core.peer import plain
from core.raft import members
from core.raft.founding import found
from core.raft.machine import Raft
from core.raft.members import Members
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.log import LogStore
from core.store_lmdb.reception import receive
from core.watch.hub import Hub

CLUSTER = 77
PATIENCE = 20.0


async def fill_in_line(path: Path, pieces: AsyncIterator[bytes]) -> bytes:
    """As the process does it, which is outside of this time."""
    return receive(path, BytesIO(b"".join([piece async for piece in pieces])))


class Network:
    """Carries frames at once, but where it is cut."""

    def __init__(self) -> None:
        self.hosts: dict[int, Host] = {}
        self.cut: set[tuple[int, int]] = set()
        """(from, to)."""

    def isolate(self, member: int) -> None:
        """Nothing comes from it, nothing reaches it."""
        self.cut |= {(member, other) for other in self.hosts} | {(other, member) for other in self.hosts}

    def heal(self) -> None:
        self.cut.clear()

    def reach(self, sender: int, receiver: int) -> "Host | None":
        host = self.hosts.get(receiver)
        return host if host is not None and host.node is not None and (sender, receiver) not in self.cut else None


class _Links:
    """`core.node.peers.Peers` of one host."""

    def __init__(self, network: Network, member: int) -> None:
        self._network = network
        self._member = member

    def send(self, member: int, kind: int, content: Any) -> bool:
        host = self._network.reach(self._member, member)
        if host is None or host.node is None:
            return False
        host.node.receive(self._member, kind, plain.decode(plain.encode(content)))
        return True

    async def send_snapshot(self, member: int, content: Any, pieces: Any) -> None:
        host = self._network.reach(self._member, member)
        if host is None or host.node is None:
            raise OSError("it cannot be reached")
        await host.node.receive_snapshot(self._member, plain.decode(plain.encode(content)), pieces)


class Host:
    """One member: what is on its disk, and while it is switched on its node."""

    def __init__(self, network: Network, member: int, path: Path, founders: tuple[int, ...]) -> None:
        self.network = network
        self.member = member
        self.path = path
        self.node: Node | None = None
        self.directory: DataDirectory | None = None
        self._founders = founders
        self._scope = trio.CancelScope()
        network.hosts[member] = self

    def _beginning(self) -> Beginning:
        identity = Identity(CLUSTER, self.member)
        nobody = ((Table.META, membership.COUNTED, b""),)
        if self.member not in self._founders:
            return Beginning(identity, rows=nobody)
        described = tuple(Member(number, f"n{number}", (f"http://127.0.0.1:{number}",)) for number in self._founders)
        entry, hard_state = found(self._founders, membership.encode(Change(described)))
        return Beginning(identity, (entry,), hard_state, nobody)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Switch on; returns when it is stopped, or switched off."""
        directory = self.directory = DataDirectory.open(self.path, self._beginning(), reserve=4096, low_water=4096)
        keyspace = Keyspace(directory.state)
        counted = keyspace.counted_members
        raft = Raft(
            self.member,
            members.decode(counted) if counted else Members(),
            directory.log.hard_state,
            keyspace.applied[0],
            directory.log,
            Random(self.member),
        )
        self.node = Node(
            raft,
            directory.log,
            directory.state,
            keyspace,
            Hub(keyspace),
            ClusterClock(keyspace.time, lambda: int(trio.current_time() * 1e9), trio.current_time),
            Headroom(directory.room, directory.state, 1 << 40),
            peers=_Links(self.network, self.member),
            snapshots=Snapshots(directory, fill_in_line),
            first_token=Random(self.member).randrange(1 << 40) + int(trio.current_time()) * 1000,
        )
        self.node.pace.next_in_line = lambda: True  # type: ignore[method-assign]  # threads are outside of this time
        with trio.CancelScope() as self._scope:
            try:
                await self.node.start()
                task_status.started()
                await self.node.run()
            finally:
                self.node = self.directory = None
                directory.close()

    @property
    def running(self) -> Node:
        if self.node is None:
            raise AssertionError(f"host {self.member} is off")
        return self.node

    @property
    def log(self) -> LogStore:
        if self.directory is None:
            raise AssertionError(f"host {self.member} is off")
        return self.directory.log

    def switch_off(self) -> None:
        """As a crash does it: what is on the disk stays, nothing is finished."""
        self._scope.cancel()
        self.node = None


class Together:
    """Some hosts and the nursery in which they run."""

    def __init__(self, home: Path, nursery: trio.Nursery) -> None:
        self.network = Network()
        self._home = home
        self._nursery = nursery

    async def start(self, *founders: int) -> None:
        for member in founders:
            await self.add(member, founders)

    async def add(self, member: int, founders: tuple[int, ...] = ()) -> Host:
        host = Host(self.network, member, self._home / str(member), founders)
        await self._nursery.start(host.run)
        return host

    async def switch_on(self, host: Host) -> None:
        await until(lambda: host.directory is None)
        await self._nursery.start(host.run)

    def hosts(self) -> list[Host]:
        return [host for host in self.network.hosts.values() if host.node is not None]

    async def leader(self) -> Host:
        """The host that leads and is followed by a majority of those that are on."""
        found: list[Host] = []

        def leads() -> bool:
            found[:] = [
                host
                for host in self.hosts()
                if host.running.leads
                and sum(other.running.raft.leader == host.member for other in self.hosts()) * 2 > len(self.hosts())
            ]
            return bool(found)

        await until(leads)
        return found[0]

    async def follower(self) -> Host:
        leader = await self.leader()
        return next(host for host in self.hosts() if host is not leader and host.running.raft.leader == leader.member)

    async def agree(self) -> None:
        """Wait until all that are on have applied the same."""
        await until(lambda: len({host.running.keyspace.applied for host in self.hosts()}) == 1)


@asynccontextmanager
async def together(home: Path, *founders: int) -> AsyncIterator[Together]:
    """A cluster that is switched off at the end. Under a clock that jumps, time stands still while a thread works."""
    clock = trio.lowlevel.current_clock()
    if isinstance(clock, trio.testing.MockClock):
        clock.autojump_threshold = 0.003
    async with trio.open_nursery() as nursery:
        cluster = Together(home, nursery)
        await cluster.start(*founders)
        yield cluster
        for host in cluster.hosts():
            host.switch_off()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what has no event."""
    with trio.fail_after(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def ask(host: Host, command: Command) -> object:
    """Propose at a host and wait for the outcome; a refusal to queue counts as one."""
    outcomes: list[object] = []
    answered = trio.Event()

    def done(outcome: object) -> None:
        outcomes.append(outcome)
        answered.set()

    try:
        host.running.propose(command, done)
    except ProposalError as error:
        return error
    with trio.fail_after(PATIENCE):
        await answered.wait()
    if len(outcomes) != 1:
        raise AssertionError(f"answered {len(outcomes)} times")
    return outcomes[0]


async def confirmed(host: Host) -> ProposalError | None:
    """Wait until a read at the host is linearizable, or for the reason why it is not."""
    outcomes: list[ProposalError | None] = []
    answered = trio.Event()

    def done(outcome: ProposalError | None) -> None:
        outcomes.append(outcome)
        answered.set()

    host.running.confirm(done)
    with trio.fail_after(PATIENCE):
        await answered.wait()
    return outcomes[0]
