"""Three nodes as one: writes through any of them, reads that are not stale, a lost leader, snapshots, membership."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from core.kv.commands import ChangeMember, Set
from core.kv.errors import TreeError
from core.kv.records import Event
from core.node import flushing, retention
from core.node.errors import ChangeRefusedError, NoLeaderError, OutcomeUnknownError
from core.node.peers import Frame
from core.raft.members import Members, Standing
from core.raft.messages import InstallSnapshot, Snapshot, to_bytes
from core.store_lmdb.errors import DiskFullError
from tests.node.together import Host, ask, confirmed, together, until


def value(host: Host, path: bytes) -> bytes:
    return host.running.keyspace.node(path).value


async def test_a_write_through_any_member_is_read_there_and_then_everywhere(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        await cluster.leader()
        for host in cluster.hosts():
            path = b"/%d" % host.member
            assert isinstance(await ask(host, Set(path, b"v")), Event)
            assert value(host, path) == b"v"
        await cluster.agree()
        assert {value(host, b"/%d" % number) for host in cluster.hosts() for number in (1, 2, 3)} == {b"v"}


async def test_refusals_of_the_keyspace_come_back_through_a_follower(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        follower = await cluster.follower()
        assert isinstance(await ask(follower, Set(b"/a")), Event)
        refusal = await ask(follower, Set(b"/a/b"))
        assert isinstance(refusal, TreeError)
        assert refusal.code == TreeError.NOT_A_DIRECTORY


async def test_a_read_at_a_follower_sees_what_was_acknowledged_before(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        leader, follower = await cluster.leader(), await cluster.follower()
        for number in range(20):
            assert isinstance(await ask(leader, Set(b"/n", b"%d" % number)), Event)
            assert await confirmed(follower) is None
            assert value(follower, b"/n") == b"%d" % number


async def test_a_leader_that_is_cut_off_answers_neither_reads_nor_writes(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        old = await cluster.leader()
        assert isinstance(await ask(old, Set(b"/a", b"old")), Event)
        cluster.network.isolate(old.member)
        outcomes: list[object] = []
        async with trio.open_nursery() as nursery:

            async def write() -> None:
                outcomes.append(await ask(old, Set(b"/a", b"lost")))

            async def read() -> None:
                outcomes.append(await confirmed(old))

            nursery.start_soon(write)
            nursery.start_soon(read)
        assert {type(outcome) for outcome in outcomes} == {OutcomeUnknownError, NoLeaderError}
        new = next(host for host in cluster.hosts() if host is not old)
        assert isinstance(await ask(new, Set(b"/a", b"new")), Event)
        cluster.network.heal()
        await cluster.agree()
        assert value(old, b"/a") == b"new"


async def test_writes_wait_for_the_next_leader_instead_of_failing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        follower = await cluster.follower()
        (await cluster.leader()).switch_off()
        assert isinstance(await ask(follower, Set(b"/a", b"1")), Event)


async def test_without_a_quorum_a_write_is_refused_and_nothing_is_written(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        follower = await cluster.follower()
        for host in cluster.hosts():
            if host is not follower:
                host.switch_off()
        first = await ask(follower, Set(b"/a", b"1"))
        assert isinstance(first, NoLeaderError | OutcomeUnknownError)
        await trio.sleep(10)
        assert isinstance(await ask(follower, Set(b"/a", b"1")), NoLeaderError)
        assert isinstance(await confirmed(follower), NoLeaderError)


async def test_a_member_that_was_away_is_fed_from_the_log(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        away = await cluster.follower()
        away.switch_off()
        leader = await cluster.leader()
        for number in range(50):
            assert isinstance(await ask(leader, Set(b"/n", b"%d" % number)), Event)
        await cluster.switch_on(away)
        await cluster.agree()
        assert value(away, b"/n") == b"49"


async def test_a_member_whose_entries_are_gone_gets_a_snapshot_and_its_watchers_go_on(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETAINED_BYTES", 1)
    monkeypatch.setattr(retention, "_MARK_BYTES", 1)
    monkeypatch.setattr(flushing, "FLUSH_ROWS", 1)
    async with together(tmp_path, 1, 2, 3) as cluster:
        away = await cluster.follower()
        assert isinstance(await ask(away, Set(b"/n", b"before")), Event)
        await cluster.agree()
        watch = away.running.hub.watch(b"/n")
        cluster.network.isolate(away.member)
        leader = await cluster.leader()
        for number in range(200):
            assert isinstance(await ask(leader, Set(b"/n", b"%d" % number)), Event)
        generation = away.log.origin.generation
        cluster.network.heal()
        await cluster.agree()
        assert away.log.origin.generation == generation + 1
        seen: list[bytes] = []
        while len(seen) < 200:
            seen += [event.record.value for event in await watch.next()]
        assert seen == [b"%d" % number for number in range(200)]
        assert isinstance(await ask(away, Set(b"/n", b"after")), Event)
        away.switch_off()
        await cluster.switch_on(away)
        await cluster.agree()
        assert value(away, b"/n") == b"after"


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 4, 6, 10])
async def test_a_link_that_breaks_around_an_installation_harms_nobody(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch, steps: int
) -> None:
    monkeypatch.setattr(retention, "RETAINED_BYTES", 1)
    monkeypatch.setattr(retention, "_MARK_BYTES", 1)
    monkeypatch.setattr(flushing, "FLUSH_ROWS", 1)
    async with together(tmp_path, 1, 2, 3) as cluster:
        away = await cluster.follower()
        cluster.network.isolate(away.member)
        leader = await cluster.leader()
        for number in range(30):
            assert isinstance(await ask(leader, Set(b"/n", b"%d" % number)), Event)
        node, broken = away.running, 0
        receive = node.receive_snapshot

        async def break_soon(sender: int, content: object, pieces: AsyncIterator[bytes]) -> None:
            nonlocal broken
            if broken:
                await receive(sender, content, pieces)
                return
            broken += 1
            with trio.CancelScope() as scope:
                order = node._order

                def then_break(work: Callable[[], None]) -> None:
                    monkeypatch.setattr(node, "_order", order)
                    order(work)
                    nursery.start_soon(_cancel_after, steps, scope)

                monkeypatch.setattr(node, "_order", then_break)
                await receive(sender, content, pieces)
            raise OSError("the link broke")

        async with trio.open_nursery() as nursery:
            monkeypatch.setattr(node, "receive_snapshot", break_soon)
            cluster.network.heal()
            await cluster.agree()
        assert broken == 1
        assert isinstance(await ask(away, Set(b"/n", b"after")), Event)
        assert value(away, b"/n") == b"after"


async def _cancel_after(steps: int, scope: trio.CancelScope) -> None:
    for _ in range(steps):
        await trio.lowlevel.checkpoint()
    scope.cancel()


async def test_a_snapshot_without_its_state_is_refused(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        follower = await cluster.follower()
        message = InstallSnapshot(9, Snapshot(100, 9, Members((1, 2, 3))))
        with pytest.raises(ValueError, match="without its state"):
            follower.running.receive(1, Frame.RAFT, to_bytes(message))


async def test_a_cluster_grows_from_one_and_shrinks_again(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1) as cluster:
        first = await cluster.leader()
        assert isinstance(await ask(first, Set(b"/a", b"1")), Event)
        for number in (2, 3):
            host = await cluster.add(number)
            change = ChangeMember(number, Standing.LEARNER, f"n{number}", (f"http://127.0.0.1:{number}",))
            assert not isinstance(await ask(first, change), Exception)
            await until(partial(_has_it, host))
            assert not isinstance(await ask(host, ChangeMember(number, Standing.VOTER)), Exception)
        await cluster.agree()
        for host in cluster.hosts():
            assert host.running.raft.members == Members((1, 2, 3))
            assert [member.name for member in host.running.keyspace.members()] == ["n1", "n2", "n3"]
        assert not isinstance(await ask(first, ChangeMember(1, Standing.NONE)), Exception)
        leader = await cluster.leader()
        assert leader is not first
        assert isinstance(await ask(leader, Set(b"/b", b"2")), Event)
        assert leader.running.keyspace.was_removed(1)


def _has_it(host: Host) -> bool:
    return any(record.key == b"/a" for record in host.running.keyspace.children(b"/").records)


async def test_changes_that_would_be_mistakes_are_refused_with_a_reason(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        leader, follower = await cluster.leader(), await cluster.follower()

        async def refused(host: Host, change: ChangeMember) -> str:
            outcome = await ask(host, change)
            assert isinstance(outcome, ChangeRefusedError)
            return str(outcome)

        assert "does not belong" in await refused(leader, ChangeMember(9, Standing.NONE))
        assert "needs the URLs" in await refused(follower, ChangeMember(9, Standing.LEARNER))
        url = ("http://127.0.0.1:1",)
        assert "is reached at" in await refused(follower, ChangeMember(9, Standing.LEARNER, "n9", url))
        assert "has the name n1" in await refused(leader, ChangeMember(9, Standing.VOTER, "n1", ("http://h:9",)))
        await trio.sleep(1)
        dead = next(host for host in cluster.hosts() if host not in (leader, follower))
        dead.switch_off()
        await trio.sleep(5)
        assert "cannot be reached" in await refused(leader, ChangeMember(follower.member, Standing.NONE))
        assert "cannot be reached" in await refused(leader, ChangeMember(9, Standing.VOTER, "n9", ("http://h:9",)))
        assert not isinstance(await ask(leader, ChangeMember(dead.member, Standing.NONE)), Exception)
        assert "was removed" in await refused(leader, ChangeMember(dead.member, Standing.VOTER, "n", ("http://h:9",)))


async def test_a_member_that_stops_hands_over_the_lead(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        old = await cluster.leader()
        await trio.sleep(1)
        began = trio.current_time()
        old.running.stop()
        await until(lambda: old.node is None)
        new = await cluster.leader()
        assert new is not old
        assert trio.current_time() - began < 1.0
        assert isinstance(await ask(new, Set(b"/a")), Event)


async def test_a_full_disk_silences_a_member_and_costs_nothing(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        full = await cluster.leader()
        log = full.log
        append = log.append

        def refuse(*_: object) -> None:
            raise DiskFullError("no room")

        monkeypatch.setattr(log, "append", refuse)
        assert isinstance(await ask(full, Set(b"/a", b"1")), OutcomeUnknownError)
        new = await cluster.leader()
        assert new is not full
        assert isinstance(await ask(new, Set(b"/a", b"2")), Event)
        monkeypatch.setattr(log, "append", append)
        await until(lambda: full.running.keyspace.applied == new.running.keyspace.applied)
        assert value(full, b"/a") == b"2"
