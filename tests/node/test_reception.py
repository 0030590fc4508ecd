"""Snapshots that come in: filled by a process of their own, which ends with them."""

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from core.kv.transaction import Table
from core.node.snapshots import Snapshots
from core.raft.members import Members
from core.raft.messages import Snapshot
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import SnapshotError

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
