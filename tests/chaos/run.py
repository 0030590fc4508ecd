"""Rounds of work under faults, each followed by a judgement."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import trio

from tests.chaos import checker, watches
from tests.chaos.cluster import Cluster, ClusterError
from tests.chaos.faults import Dealt, Faults, ended_by_themselves
from tests.chaos.models import ABSENT, EMPTY, cell, log
from tests.chaos.requests import LostError, NotSentError
from tests.chaos.workload import Client, Record, Watcher, silence_counted

CLIENTS = 16
PROGRESS_SECONDS = 30.0
"""How long after everything is healed each node may take to serve again."""


@dataclass
class Totals:
    """What a run came to."""

    rounds: int = 0
    operations: int = 0
    unknown: int = 0
    refused: int = 0
    events: int = 0
    """That watchers saw, each of them."""
    resumed: int = 0
    """Watches that went on at another node."""
    elections: int = 0
    unavailable: float = 0.0
    """The longest time in which no client got a write acknowledged, in seconds."""
    dealt: Dealt = field(default_factory=Dealt)

    def add(self, record: Record) -> None:
        self.rounds += 1
        self.operations += len(record.operations)
        self.unknown += record.unknown
        self.refused += record.refused
        self.events += sum(map(len, record.watched))
        self.resumed += record.resumed
        self.unavailable = max(self.unavailable, record.silence)

    def __str__(self) -> str:
        figures = {name: value for name, value in asdict(self).items() if name not in ("dealt", "unavailable")}
        parts = [f"{value:,} {name.replace('_', ' ')}" for name, value in (figures | asdict(self.dealt)).items()]
        return ", ".join([*parts, f"longest unavailability {self.unavailable:.1f} s"])


LEAST = {
    "operations": 600.0, "unknown": 10.0, "events": 800.0, "resumed": 5.0, "elections": 2.0, "kills": 1.0,
    "kills_of_all": 0.5, "pauses": 1.0, "partitions": 2.0, "one_way": 1.0, "leaders_isolated": 0.5, "full_disks": 1.0,
    "replacements": 0.5,    "leaders_struck": 3.0,
}  # fmt: skip
"""Each a minute of faults, on average."""


def shortfalls(totals: Totals, minutes: float) -> list[str]:
    """What was exercised less than it must be for the silence of the checks to mean anything."""
    counted = asdict(totals) | asdict(totals.dealt)
    return [
        f"{counted[name]} {name.replace('_', ' ')} in {minutes:.1f} min, at least {least:g} a minute wanted"
        for name, least in LEAST.items()
        if counted[name] < least * minutes
    ]


class ViolationError(Exception):
    """Something that must not happen did. The history is in `record`."""

    def __init__(self, found: Sequence[str], record: Record | None) -> None:
        super().__init__("\n".join(found[:20]))
        self.record = record


class Run:
    """A cluster, its clients and its faults, round after round."""

    def __init__(self, cluster: Cluster, seed: int, say: Callable[[str], None], faults: Sequence[str] = ()) -> None:
        self.cluster = cluster
        self.totals = Totals()
        self._random = Random(seed)
        self._say = say
        self._terms: set[int] = set()
        self._faults = Faults(cluster, self._random, say, faults)
        self.totals.dealt = self._faults.dealt

    async def rounds(self, seconds: float, each: float) -> None:
        """Rounds of `each` seconds of faults until `seconds` are over and each kind was dealt. ViolationError."""
        ends = time.monotonic() + seconds
        number = 0
        while time.monotonic() < ends or not self._faults.all_dealt:
            number += 1
            await self.round(number, lambda: self._faults.run(each))
            self._say(f"round {number} holds; so far {self.totals}")

    async def round(self, number: int, trouble: Callable[[], Any]) -> None:
        """Let clients and watchers work during `trouble`, heal, wait until all is quiet, judge."""
        record = Record(f"/chaos/{number:04d}")
        first = await self._write_marker(f"/chaos/begin-{number}") + 1
        last = 0
        try:
            async with trio.open_nursery() as watching:
                for place in range(4):
                    random = Random(self._random.random())
                    watcher = Watcher(self.cluster.nodes, record, first, random, streams=place % 2 == 0)
                    watching.start_soon(watcher.run, lambda: last)
                with silence_counted(record):
                    await self._work(record, trouble)
                await self._heal()
                await self._read_all(record)
                last = await self._write_marker(f"{record.directory}/end")
                with trio.move_on_after(PROGRESS_SECONDS):
                    await _all_done(watching)
                watching.cancel_scope.cancel()
        except ExceptionGroup as group:
            expected, rest = group.split((ClusterError, NotSentError, LostError))
            if expected is None or rest is not None:
                raise
            found = [str(error) for error in leaves(expected)] + record.violations
            raise ViolationError(found + await trio.to_thread.run_sync(judge_clients, record), record) from group
        self._terms |= record.terms
        self.totals.elections = len(self._terms)
        self.totals.add(record)
        try:
            found = record.violations + await trio.to_thread.run_sync(judge, record, last)
        except checker.UndecidedError as error:
            raise ViolationError([f"not decided: {error}"], record) from error
        found += await self._disagreements(record)
        if found:
            raise ViolationError(found, record)

    async def _work(self, record: Record, trouble: Callable[[], Any]) -> None:
        stop = trio.Event()
        async with trio.open_nursery() as nursery:
            for number in range(CLIENTS):
                client = Client(number, self.cluster.nodes, record, Random(self._random.random()))
                nursery.start_soon(client.run, stop)
            await trouble()
            stop.set()

    async def _heal(self) -> None:
        gone = list(ended_by_themselves(self.cluster))
        if gone:
            raise ClusterError("\n".join(gone))
        for node in self.cluster.nodes:
            await self.cluster.until_healthy(node, PROGRESS_SECONDS)

    async def _read_all(self, record: Record) -> None:
        """A last linearizable read of every key at every node: what was acknowledged must be there."""
        keys = {each.key for each in record.operations}
        for number, node in enumerate(self.cluster.nodes):
            client = Client(1000 + number, [node], record, self._random)
            for key in sorted(keys):
                name = key.rsplit("/", 1)[1]
                ends = time.monotonic() + PROGRESS_SECONDS
                while not await (client.list if name.startswith("list") else client.read)(name):
                    if time.monotonic() > ends:
                        raise ClusterError(f"{node.name} does not answer a read after all was healed. {node.output()}")
                    await trio.sleep(0.1)

    async def _write_marker(self, key: str) -> int:
        """Write until it is acknowledged; the index it was given."""
        ends = time.monotonic() + PROGRESS_SECONDS
        while time.monotonic() < ends:
            for node in self.cluster.nodes:
                try:
                    answer = await node.ask("PUT", f"/v2/keys{key}", {"value": "marker"})
                except (NotSentError, LostError):
                    continue
                if answer.status in (200, 201):
                    return int(answer.json["node"]["modifiedIndex"])
            await trio.sleep(0.1)
        raise ClusterError("nothing can be written although all is healed")

    async def _disagreements(self, record: Record) -> list[str]:
        """Every node must hold the same, read without asking the others, once it has applied all."""
        target = f"/v2/keys{record.directory}?recursive=true&sorted=true"
        ends = time.monotonic() + PROGRESS_SECONDS
        while True:
            try:
                listings = {node.name: (await node.ask("GET", target)).body for node in self.cluster.nodes}
                if len(set(listings.values())) == 1:
                    return []
                if time.monotonic() > ends:
                    return [f"{name} holds {body[:2000].decode()}" for name, body in listings.items()]
            except (NotSentError, LostError) as error:
                if time.monotonic() > ends:
                    return [f"a node does not answer although all is healed: {error}"]
            await trio.sleep(0.1)


def judge(record: Record, last: int) -> list[str]:
    """Every violation in what clients and watchers saw; `last` is the index behind the last write."""
    watched = [[event for event in seen if event.index < last] for seen in record.watched]
    return judge_clients(record) + watches.check(watched, record.written, frozenset(record.possible))


def judge_clients(record: Record) -> list[str]:
    """Every key whose history is not linearizable."""
    lists = [each for each in record.operations if "/list-" in each.key]
    cells = [each for each in record.operations if "/cell-" in each.key]
    found = [str(violation) for violation in checker.check(cells, cell, ABSENT)]
    return found + [str(violation) for violation in checker.check(lists, log, EMPTY)]


async def _all_done(nursery: trio.Nursery) -> None:
    while nursery.child_tasks:  # noqa: ASYNC110
        await trio.sleep(0.02)


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The exceptions that are no groups."""
    found = []
    for error in group.exceptions:
        found += leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found


def write_history(record: Record, path: Path) -> None:
    """Everything clients and watchers did and saw, a JSON line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        for operation in sorted(record.operations, key=lambda each: each.called):
            file.write(json.dumps(asdict(operation)) + "\n")
        for number, seen in enumerate(record.watched):
            for event in seen:
                file.write(json.dumps({"watcher": number, **asdict(event)}) + "\n")
