"""Snapshots that come in: filled by a process of their own, which ends with them."""

import shutil
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from core.kv.commands import Batch, DeleteRange, Put, Range
from core.kv.keyspace import Keyspace
from core.kv.steps import finish
from core.kv.transaction import Table
from core.node.snapshots import Snapshots
from core.raft.members import Members
from core.raft.messages import Snapshot
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import SnapshotError
from core.store_lmdb.state import StateStore

PLACE = Snapshot(7, 2, Members((1, 2)))
ROWS = [(b"%08d" % number, bytes([number % 256]) * (number % 4000)) for number in range(2000)]
PATIENCE_S = 30.0


@contextmanager
def directory(path: Path, cluster: int = 5) -> Iterator[DataDirectory]:
    found = DataDirectory.open(path, Beginning(Identity(cluster, 1)), reserve=4096, low_water=4096)
    try:
        yield found
    finally:
        found.close()


async def snapshot(path: Path) -> list[bytes]:
    """A snapshot, in pieces."""
    with directory(path) as source:
        for key, value in ROWS:
            source.state.put(Table.REVISION, key, value)
        return [piece async for piece in Snapshots(source).outgoing(PLACE, 1)]


async def coming(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def states(path: Path) -> list[str]:
    return sorted(found.name for found in path.glob("state-*"))


async def test_a_state_is_filled_beside_the_one_in_use(tmp_path: Path) -> None:
    pieces = await snapshot(tmp_path / "a")
    with directory(tmp_path / "b") as target, trio.fail_after(PATIENCE_S):
        snapshots = Snapshots(target)
        reception = await snapshots.receive(PLACE, coming(pieces))
        assert states(tmp_path / "b") == ["state-1", "state-2"]
        snapshots.install(reception, PLACE, target.log.hard_state)
        snapshots.close(reception)
        assert list(target.state.scan(Table.REVISION)) == ROWS
        assert states(tmp_path / "b") == ["state-2"]


@pytest.mark.parametrize(
    ("keep", "instead", "why"),
    [
        (0, b"", "never came"),
        (0, b"not a snapshot at all", "not a snapshot"),
        (3, b"", "cut short"),
        (3, b"\xff" * 100, "damaged"),
    ],
)
async def test_what_is_no_whole_snapshot_leaves_nothing(tmp_path: Path, keep: int, instead: bytes, why: str) -> None:
    pieces = (await snapshot(tmp_path / "a"))[:keep]
    with directory(tmp_path / "b") as target, trio.fail_after(PATIENCE_S):
        snapshots = Snapshots(target)
        for _ in range(2):  # the second shows that the first let go
            with pytest.raises(SnapshotError, match=why):
                await snapshots.receive(PLACE, coming([*pieces, instead]))
            assert states(tmp_path / "b") == ["state-1"]


async def test_a_snapshot_of_another_cluster_is_refused(tmp_path: Path) -> None:
    pieces = await snapshot(tmp_path / "a")
    with directory(tmp_path / "b", cluster=6) as target, trio.fail_after(PATIENCE_S):
        with pytest.raises(SnapshotError, match="another cluster"):
            await Snapshots(target).receive(PLACE, coming(pieces))
        assert states(tmp_path / "b") == ["state-1"]


async def test_a_snapshot_that_is_broken_off_ends_its_process(tmp_path: Path) -> None:
    pieces = await snapshot(tmp_path / "a")
    with directory(tmp_path / "b") as target, trio.fail_after(PATIENCE_S):
        snapshots = Snapshots(target)
        with trio.CancelScope() as scope:

            async def broken_off() -> AsyncIterator[bytes]:
                yield pieces[0]
                while len(states(tmp_path / "b")) == 1:  # noqa: ASYNC110
                    await trio.sleep(0.005)
                scope.cancel()
                await trio.sleep_forever()

            await snapshots.receive(PLACE, broken_off())
        assert scope.cancelled_caught
        assert states(tmp_path / "b") == ["state-1"]
        assert not _filling()
        snapshots.close(await snapshots.receive(PLACE, coming(pieces)))


def _filling() -> list[str]:
    """The processes of this one that fill a state."""
    children = " ".join(each.read_text() for each in Path("/proc/self/task").glob("*/children")).split()
    return [child for child in children if "core.store_lmdb.reception" in _command(child)]


def _command(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


async def test_a_snapshot_in_the_middle_of_a_long_command_shows_nothing_of_it(tmp_path: Path) -> None:
    """Nor of what follows, although none of it was on the disk when the snapshot began; and a member that is killed
    meanwhile has lost nothing of what it had flushed."""
    with directory(tmp_path / "a") as source, trio.fail_after(PATIENCE_S):
        keyspace = Keyspace(source.state)
        keyspace.apply(1, 1, Batch(1, tuple(Put(b"/k/%05d" % number, b"v" * 500) for number in range(2000))))
        before = {table: list(source.state.scan(table)) for table in Table}
        work = keyspace.steps(2, 1, Batch(2, (DeleteRange(b"/k/", b"/k0"),)))
        for _ in range(20):
            next(work)
        pieces = Snapshots(source).outgoing(PLACE, 1)
        first = await anext(pieces)
        finish(work)
        source.state.flush()
        shutil.copytree(tmp_path / "a", tmp_path / "killed")
        keyspace.apply(3, 1, Batch(3, (Put(b"/k/00000", b"later"),)))
        source.state.flush()
        content = [first, *[piece async for piece in pieces]]
        with directory(tmp_path / "b") as target:
            snapshots = Snapshots(target)
            reception = await snapshots.receive(PLACE, coming(content))
            snapshots.install(reception, PLACE, target.log.hard_state)
            snapshots.close(reception)
            assert {table: list(target.state.scan(table)) for table in Table} == before
    state = StateStore(next((tmp_path / "killed").glob("state-*")))
    assert Keyspace(state).applied == (2, 1)
    assert Keyspace(state).range(Range(b"/k/", b"/k0")).count == 0
    state.close()
