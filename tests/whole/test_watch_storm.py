"""Watches lose nothing and repeat nothing: a thousand at once, and one that reaches 50,000 revisions back."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from tests.whole.servers import Kind, Server, missing
from tests.whole.storm import NAMES, ROOT, Note, Watcher, current_index, fill, pipeline, write, write_ttls
from tests.whole.wire import Wire

pytestmark = pytest.mark.slow
TTLS = 100


@dataclass(frozen=True)
class Size:
    """How much of a storm. etcd gets a breeze: it drops streams that lag 100 events and polls that lag 1,000."""

    watchers: int
    whole_streams: int
    """How many of the watchers are streams on the whole tree."""
    whole_polls: int
    writers: int
    writes: int


SIZES: dict[Kind, Size] = {"corenode": Size(1000, 8, 8, 20, 10_000), "etcd": Size(60, 3, 2, 2, 400)}


def crowd(size: Size) -> list[Watcher]:
    """Half long polls, half streams; on the whole tree, on one directory, on one key."""
    chance = random.Random(7)
    watchers = [Watcher(ROOT, True, True) for _ in range(size.whole_streams)]
    watchers += [Watcher(ROOT, True, False) for _ in range(size.whole_polls)]
    for number in range(len(watchers), size.watchers):
        directory = f"{ROOT}/{chance.randrange(TTLS)}"
        alone = chance.random() < 0.3
        path = f"{directory}/{chance.choice(NAMES)}" if alone else directory
        watchers.append(Watcher(path, not alone, number % 2 == 0))
    return watchers


async def storm(port: int, size: Size, watchers: list[Watcher]) -> list[Note]:
    """Open all watches, write, let the TTLs run out, remove the tree; gives the acknowledged writes in order."""
    await fill(port, TTLS, [])
    written: list[Note] = []
    start = await current_index(port) + 1
    opened, stands = trio.open_memory_channel[None](len(watchers))
    async with trio.open_nursery() as watching:
        for watcher in watchers:
            watching.start_soon(watcher.run, port, start, opened)
        for _ in watchers:
            await stands.receive()
        async with trio.open_nursery() as writing:
            for number in range(size.writers):
                writing.start_soon(write, port, size.writes // size.writers, TTLS, number, written)
            writing.start_soon(write_ttls, port, TTLS, 2, written)
        with trio.fail_after(60):
            await watchers[0].saw_expiries(TTLS)
        # etcd tells of a removal only those below it whose key is there.
        await fill(port, TTLS, written)
        async with Wire(port) as wire:
            _, event = await wire.ask("DELETE", f"/v2/keys{ROOT}?recursive=true")
            written.append((event["node"]["modifiedIndex"], "delete", ROOT))
    return sorted(written)


@pytest.mark.parametrize("kind", SIZES)
async def test_a_thousand_watches_lose_and_repeat_nothing(
    kind: Kind, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if missing(kind):
        pytest.skip(missing(kind))
    size = SIZES[kind]
    watchers = crowd(size)
    with Server(kind, tmp_path) as server, trio.fail_after(300):
        written = await storm(server.port, size, watchers)
    history = watchers[0].notes
    indexes = [index for index, _, _ in history]
    writes = size.writes + TTLS + len(NAMES) * TTLS
    assert indexes == list(range(indexes[0], indexes[0] + writes + TTLS + 1))
    assert [note for note in history if note[1] != "expire"] == written
    assert sorted(key for _, action, key in history if action == "expire") == sorted(
        f"{ROOT}/{number}/due" for number in range(TTLS)
    )
    if kind == "etcd":  # tells a stream on the very key that is removed twice
        for watcher in watchers:
            watcher.notes = list(dict.fromkeys(watcher.notes))
    problems = [problem for watcher in watchers if (problem := watcher.problem(history))]
    assert not problems, f"{len(problems)} watches: " + "\n".join(problems[:10])
    told = sum(len(watcher.notes) for watcher in watchers)
    record_property("checked", f"{len(watchers)} watches, {size.writes} writes, {told} events delivered")


def test_the_check_finds_what_is_lost_repeated_or_out_of_order() -> None:
    history: list[Note] = [(5, "set", "/storm/1/0"), (6, "set", "/storm/2/0"), (7, "expire", "/storm/1/0")]
    history.append((8, "delete", ROOT))
    due = [history[0], history[2], history[3]]
    assert Watcher("/storm/1", True, True, due).problem(history) == ""
    for wrong in (due[:-1], due[1:], [*due, due[-1]], [due[1], due[0], due[2]], history):
        assert Watcher("/storm/1", True, True, list(wrong)).problem(history)


async def test_a_wait_of_fifty_thousand_revisions_ago_is_served(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    connections, each = 10, 5_100
    written: dict[int, str] = {}

    async def write_many(port: int, number: int) -> None:
        key = f"/past/{number}"
        written.update((index, key) for index in await pipeline(port, each, 100, key))

    with Server("corenode", tmp_path) as server, trio.fail_after(80):
        async with trio.open_nursery() as writing:
            for number in range(connections):
                writing.start_soon(write_many, server.port, number)
        first, last = min(written), max(written)
        assert last - first == connections * each - 1 > 50_000
        async with Wire(server.port) as wire:
            status, event = await wire.ask("GET", f"/v2/keys/past?wait=true&recursive=true&waitIndex={last - 50_000}")
            assert (status, event["node"]["modifiedIndex"]) == (200, last - 50_000)
            await wire.send("GET", f"/v2/keys/past?wait=true&recursive=true&stream=true&waitIndex={first}")
            status, _ = await wire.head()
            assert status == 200
            index = first
            while index <= last:
                for line in (await wire.chunk()).splitlines():
                    node = json.loads(line)["node"]
                    assert (node["modifiedIndex"], node["key"]) == (index, written[index])
                    index += 1
    record_property("checked", f"{len(written)} revisions written and all served from history")
