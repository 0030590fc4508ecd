"""Power cuts between any two commits: what was acknowledged is there, indexes never go back."""

from random import Random

import pytest
import trio

from core.kv.commands import Set
from core.kv.errors import TreeError
from core.kv.records import Event
from core.node import flushing
from core.node.node import Node
from tests.node.disk import Disk, Machine
from tests.node.test_node import ask

LIVES = 5


class PowerCutError(Exception):
    """The disk takes nothing any more."""


async def live_and_die(seed: int) -> int:
    """Some lives of a node, each ended at a random commit and followed by a look at what the disk kept; the number of
    writes that were acknowledged and looked for."""
    random = Random(seed)
    disk = Disk()
    acknowledged: dict[bytes, bytes] = {}
    last_index = 1
    checked = 0
    for life in range(LIVES):
        disk.before_commit = lambda: None
        machine = Machine(disk)
        await machine.node.start()
        for path, value in acknowledged.items():
            assert machine.keyspace.node(path).value == value
        assert machine.node.revision >= last_index
        checked += len(acknowledged)
        left = random.randrange(1, 30)

        def cut() -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise PowerCutError

        disk.before_commit = cut
        with pytest.RaisesGroup(PowerCutError, flatten_subgroups=True):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(machine.node.run)
                while True:
                    path, value = b"/%d" % random.randrange(20), b"%d.%d" % (life, random.randrange(1000))
                    outcome = await ask(machine, Set(path, value))
                    assert isinstance(outcome, Event)
                    acknowledged[path] = value
                    last_index = outcome.record.index
    return checked


@pytest.mark.parametrize("flush_rows", [1, 10, 1000])
async def test_nothing_acknowledged_is_lost(flush_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flushing, "FLUSH_ROWS", flush_rows)
    checked = sum([await live_and_die(seed) for seed in range(20)])
    assert checked > 500


async def test_the_check_notices_an_answer_before_the_save(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer_first(node: Node) -> bool:
        ready = node.raft.ready()
        node.raft.saved(ready)
        for entry in node.raft.committed():
            node._applier.apply(entry)
        for _ in range(5):
            await trio.lowlevel.checkpoint()  # the client hears the answer
        await node._save(ready)
        return True

    monkeypatch.setattr(Node, "_carry_out", answer_first)

    async def many_lives() -> None:
        for seed in range(10):
            await live_and_die(seed)

    with pytest.raises((AssertionError, TreeError)):
        await many_lives()
