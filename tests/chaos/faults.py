"""What is done to the nodes, when, and how often it was done."""

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random

import trio

from tests.chaos.cluster import Cluster, ClusterError, Node

LEADER_SECONDS = 5.0
"""How long to look for a leader to strike before any node will do."""
KINDS = (
    "kill", "kill_leader", "kill_all", "pause", "pause_leader", "isolate", "isolate_leader", "mute_leader",
    "deafen_leader", "split", "fill_disk", "fill_leader", "replace", "replace_leader",
)  # fmt: skip
"""The methods of `Faults` that do something to nodes."""
DIRECTED = ("crash_voter",)
"""Those that chance does not deal, since they need a program that plays along."""
VOTE_SECONDS = 15.0
"""How long until one of the rest must have voted for the other."""
SECOND_TERM_SECONDS = 5.0
"""How long the others have to elect a leader of their own."""


@dataclass
class Dealt:
    """How often each was done."""

    kills: int = 0
    kills_of_all: int = 0
    """All nodes killed at once."""
    pauses: int = 0
    partitions: int = 0
    one_way: int = 0
    """Partitions in which one direction still works."""
    leaders_isolated: int = 0
    full_disks: int = 0
    replacements: int = 0
    leaders_struck: int = 0
    """Of all of these, those that hit the leader."""


class Faults:
    """Deals faults from a shuffled deck, so that each kind comes up before any comes up again."""

    def __init__(self, cluster: Cluster, random: Random, say: Callable[[str], None], kinds: Sequence[str] = ()) -> None:
        """`kinds` are names from KINDS; empty: all."""
        self.dealt = Dealt()
        self._cluster = cluster
        self._random = random
        self._say = say
        self._struck: set[int] = set()
        """Nodes something is being done to."""
        self._kinds = kinds or KINDS
        self._replacing = trio.Lock()
        """Whoever is replaced has lost its data for good: two at once could be too many."""
        self._deck: list[str] = []
        self.all_dealt = False
        """Whether each kind has come up."""

    async def run(self, seconds: float) -> None:
        """Deal for so long; returns when everything is undone. Sometimes one begins before the last is over."""
        ends = time.monotonic() + seconds
        async with trio.open_nursery() as nursery:
            while time.monotonic() < ends:
                if not self._deck:
                    self._deck = self._random.sample(self._kinds, len(self._kinds))
                over = trio.Event()
                kind = self._deck.pop()
                nursery.start_soon(self._deal, getattr(self, kind), over)
                self.all_dealt = self.all_dealt or not self._deck
                if self._random.random() < 0.25 and kind not in DIRECTED:
                    await trio.sleep(self._random.uniform(0.2, 1.0))
                else:
                    await over.wait()
                    await trio.sleep(self._random.uniform(0.2, 1.5))

    async def _deal(self, kind: Callable[[], Awaitable[None]], over: trio.Event) -> None:
        try:
            await kind()
        finally:
            over.set()

    # Processes

    async def kill(self) -> None:
        async with self._strike(await self._any(), "SIGKILL") as node:
            await self._kill(node)

    async def kill_leader(self) -> None:
        async with self._strike(await self._leader(), "SIGKILL to the leader,") as node:
            await self._kill(node)

    async def _kill(self, node: Node) -> None:
        self.dealt.kills += 1
        node.kill()
        await trio.sleep(self._random.choice([0.0, self._random.uniform(0.5, 3.0)]))
        await self._restart(node)

    async def kill_all(self) -> None:
        """All at once: what was in memory is gone everywhere. The page cache survives; `tests/whole/test_power_cut.py`
        takes it away."""
        while self._struck:  # noqa: ASYNC110
            await trio.sleep(0.1)
        async with contextlib.AsyncExitStack() as stack:
            for node in self._cluster.nodes:
                await stack.enter_async_context(self._strike(node, "SIGKILL to all:"))
            self.dealt.kills_of_all += 1
            for node in self._cluster.nodes:
                node.kill()
            order = self._random.sample(self._cluster.nodes, len(self._cluster.nodes))
            for node in order:
                node.start(self._cluster.names, "new")
                await trio.sleep(self._random.choice([0.0, 0.0, 1.0]))
            for node in order:
                await self._cluster.until_alive(node)

    async def crash_voter(self) -> None:
        """Who votes for the next leader dies of it, the new leader is stopped before it can say a word, and the old one
        stands again. Needs `broken/crashes_after_voting.py`. Would the voter forget its vote, one term had two leaders.
        """
        old = await self._leader()
        rest = list(self._cluster.others(old))
        self._say(f"whoever votes will die; isolated: {old.name}")
        for node in rest:
            (node.home / "crash").touch()
        around_old = self._around(old)
        self._cluster.network.sever(around_old)
        ends = time.monotonic() + VOTE_SECONDS
        while all(node.alive for node in rest):
            if time.monotonic() > ends:
                raise ClusterError(f"nobody voted after {old.name} was cut off, or the program does not die of it")
            await trio.sleep(0.002)
        voter = next(node for node in rest if not node.alive)
        new = next(node for node in rest if node.alive)
        self._say(f"{voter.name} died after its vote for {new.name}")
        self.dealt.kills += 1
        around_new = self._around(new)
        self._cluster.network.sever(around_new)  # what it said already is on its way
        new.pause()
        self._cluster.network.mend(around_old - around_new)
        for node in rest:
            (node.home / "crash").unlink()
        try:
            await self._restart(voter)
            await trio.sleep(SECOND_TERM_SECONDS)
        finally:
            new.resume()
            self._cluster.network.mend(around_new)
        await trio.sleep(1.0)

    async def pause(self) -> None:
        async with self._strike(await self._any(), "SIGSTOP") as node:
            await self._pause(node)

    async def pause_leader(self) -> None:
        async with self._strike(await self._leader(), "SIGSTOP to the leader,") as node:
            await self._pause(node)

    async def _pause(self, node: Node) -> None:
        self.dealt.pauses += 1
        node.pause()
        try:
            await trio.sleep(self._random.uniform(0.3, 4.0))
        finally:
            node.resume()

    # The network

    async def isolate(self) -> None:
        async with self._strike(await self._any(), "isolated:") as node:
            await self._partition(self._around(node))

    async def isolate_leader(self) -> None:
        async with self._strike(await self._leader(), "leader isolated:") as node:
            self.dealt.leaders_isolated += 1
            await self._partition(self._around(node))

    async def mute_leader(self) -> None:
        """It hears the others; they do not hear it."""
        async with self._strike(await self._leader(), "leader is not heard:") as node:
            self.dealt.one_way += 1
            await self._partition({(node.number, other) for other in self._numbers()})

    async def deafen_leader(self) -> None:
        """The others hear it; it hears nobody."""
        async with self._strike(await self._leader(), "leader hears nobody:") as node:
            self.dealt.one_way += 1
            await self._partition(self._into(node))

    async def split(self) -> None:
        """A majority and a minority, or a chain in which only one node reaches both ends."""
        numbers = self._random.sample(self._numbers(), len(self._numbers()))
        half = len(numbers) // 2
        left, right = numbers[:half], numbers[half:]
        if self._random.random() < 0.5:
            right = right[1:]
        self._say(f"split: {left} and {right} do not reach each other")
        await self._partition({(one, other) for one in left for other in right} | {(o, n) for n in left for o in right})

    async def _partition(self, pairs: set[tuple[int, int]]) -> None:
        self.dealt.partitions += 1
        self._cluster.network.sever(pairs)
        try:
            await trio.sleep(self._random.uniform(1.0, 5.0))
        finally:
            self._cluster.network.mend(pairs)

    def _numbers(self) -> list[int]:
        return [node.number for node in self._cluster.nodes]

    def _into(self, node: Node) -> set[tuple[int, int]]:
        return {(other, node.number) for other in self._numbers()}

    def _around(self, node: Node) -> set[tuple[int, int]]:
        return {(node.number, other) for other in self._numbers()} | self._into(node)

    # The disk

    async def fill_disk(self) -> None:
        async with self._strike(await self._any(), "disk full:") as node:
            await self._fill(node)

    async def fill_leader(self) -> None:
        async with self._strike(await self._leader(), "disk of the leader full:") as node:
            await self._fill(node)

    async def _fill(self, node: Node) -> None:
        self.dealt.full_disks += 1
        ends = time.monotonic() + self._random.uniform(1.5, 4.0)
        try:
            while time.monotonic() < ends:
                node.fill()  # again and again: the node gives up its reserve
                await trio.sleep(0.1)
        finally:
            node.make_room()

    # Members

    async def replace(self) -> None:
        async with self._replacing, self._strike(await self._any(), "replaced:") as node:
            await self._replace(node)

    async def replace_leader(self) -> None:
        async with self._replacing, self._strike(await self._leader(), "leader replaced:") as node:
            await self._replace(node)

    async def _replace(self, node: Node) -> None:
        self.dealt.replacements += 1
        node.kill()
        await self._cluster.replace(node, learner=self._random.random() < 0.5)
        await self._cluster.until_healthy(node)

    # Whom

    async def _any(self) -> Node:
        while True:
            free = [node for node in self._cluster.nodes if node.number not in self._struck]
            if free:
                return self._random.choice(free)
            await trio.sleep(0.05)

    async def _leader(self) -> Node:
        ends = time.monotonic() + LEADER_SECONDS
        while time.monotonic() < ends:
            leader = await self._cluster.leader()
            if leader is not None and leader.number not in self._struck:
                self.dealt.leaders_struck += 1
                return leader
            await trio.sleep(0.1)
        return await self._any()

    @asynccontextmanager
    async def _strike(self, node: Node, what: str) -> AsyncIterator[Node]:
        self._say(f"{what} {node.name}")
        self._struck.add(node.number)
        try:
            yield node
        finally:
            self._struck.discard(node.number)

    async def _restart(self, node: Node) -> None:
        node.start(self._cluster.names, "new")
        await self._cluster.until_alive(node)


def ended_by_themselves(cluster: Cluster) -> Iterator[str]:
    """Nodes whose process is gone although nobody killed it."""
    for node in cluster.nodes:
        if node.died is not None:
            yield f"{node.name} ended by itself with {node.died}. {node.output()}"
