"""A member of many whose disk is full: whoever asked it is answered, and it acknowledges nothing it does not have."""

from pathlib import Path

import pytest
import trio

from core.kv.commands import Set
from core.kv.records import Event
from core.node.errors import NoLeaderError, OutcomeUnknownError, ProposalError
from core.raft.machine import Ready
from core.store_lmdb.errors import DiskFullError
from tests.node.together import Host, ask, confirmed, together, until


class Disk:
    """Stands before the log of one host."""

    def __init__(self, host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        self.once_more = False
        """Full at the next save, reserve and all, and then no more."""
        self.refused = 0
        self.appended = 0
        self._append = host.log.append
        self._save = host.running._saver.save
        monkeypatch.setattr(host.log, "append", self.append)
        monkeypatch.setattr(host.running._saver, "save", self.save)

    async def save(self, ready: Ready) -> None:
        try:
            await self._save(ready)
        except DiskFullError:
            self.full = not self.once_more
            raise

    def append(self, *what: object) -> None:
        if self.full:
            self.refused += 1
            raise DiskFullError("no room")
        self.appended += 1
        self._append(*what)  # type: ignore[arg-type]


async def test_what_was_forwarded_and_what_wants_to_read_is_answered_in_time(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        follower = await cluster.follower()
        assert isinstance(await ask(follower, Set(b"/a")), Event)
        disk = Disk(follower, monkeypatch)
        disk.full = True
        outcomes: list[object] = []
        follower.running.propose(Set(b"/a", b"1"), outcomes.append)
        reads: list[ProposalError | None] = []
        for _ in range(30):  # reads before, and after, it is silent
            follower.running.confirm(reads.append)
            await trio.sleep(0.01)
        await trio.sleep(10)
        assert disk.refused
        assert [type(outcome) for outcome in outcomes] == [OutcomeUnknownError]
        assert len(reads) == 30
        assert {type(read) for read in reads} <= {NoLeaderError, type(None)}
        disk.full = False
        await cluster.agree()
        assert isinstance(await ask(follower, Set(b"/a", b"2")), Event)
        assert await confirmed(follower) is None


async def test_a_member_that_stops_with_a_full_disk_saves_nothing_behind_what_it_lost(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next save would be taken for the one that failed, and entries acknowledged that are not on the disk."""
    async with together(tmp_path, 1, 2, 3) as cluster:
        follower, leader = await cluster.follower(), await cluster.leader()
        assert isinstance(await ask(follower, Set(b"/a")), Event)
        await cluster.agree()
        disk = Disk(follower, monkeypatch)
        disk.full = True
        outcomes: list[object] = []
        follower.running.propose(Set(b"/a", b"1"), outcomes.append)
        await until(lambda: disk.refused > 0)
        await trio.sleep(0.5)
        disk.once_more = True
        follower.running.stop()
        saved = disk.appended
        for number in range(5):
            assert isinstance(await ask(leader, Set(b"/b", b"%d" % number)), Event)
        await until(lambda: follower.node is None)
        assert disk.appended == saved
        assert len(outcomes) == 1
        await cluster.switch_on(follower)
        await cluster.agree()
        assert follower.running.keyspace.node(b"/b").value == b"4"
