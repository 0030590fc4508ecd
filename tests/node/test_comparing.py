"""Members compare their states: who differs is found, accused through the log, and fenced off."""

from pathlib import Path
from random import Random

import pytest
import trio

from core.kv.commands import ChangeMember, Command, Compact, CompareStates, Delete, Put, Set, Txn
from core.kv.errors import DivergedError
from core.kv.outcomes import Marked
from core.kv.records import POSITION
from core.kv.transaction import Table
from core.node import comparing, flushing, retention
from core.node.errors import ChangeRefusedError, FencedError
from core.node.local import LocalStore
from core.raft.members import Standing
from tests.node.together import Host, Together, ask, confirmed, together, until


def alter(host: Host) -> None:
    """Change the last byte of the newest record, behind the member's back."""
    keyspace = host.running.keyspace
    rows = keyspace._ledger.rows
    position = POSITION.pack(keyspace.revision, 0)
    row = rows.get(Table.REVISION, position)
    assert row is not None
    rows.put(Table.REVISION, position, row[:-1] + bytes([row[-1] ^ 1]))


async def compare(cluster: Together) -> None:
    """Compare at a new entry, and wait until all that are on have hashed it."""
    before = {host.member: host.running.comparing.made for host in cluster.hosts()}
    asked = next(host for host in cluster.hosts() if not host.running.fence.why)
    assert isinstance(await ask(asked, CompareStates()), Marked)
    await until(lambda: all(host.running.comparing.made > before[host.member] for host in cluster.hosts()))
    await trio.sleep(3 * comparing.LOOK_SECONDS)


def suspects(host: Host) -> dict[int, bool]:
    return {each.member: each.judged for each in host.running.keyspace.suspicions()}


@pytest.mark.parametrize("leads", [True, False])
async def test_a_member_altered_behind_its_back_is_fenced_off(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, leads: bool
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        odd = await (cluster.leader() if leads else cluster.follower())
        assert not isinstance(await ask(odd, Set(b"/a", b"1")), Exception)
        await cluster.agree()
        store = LocalStore(odd.running)
        watch = odd.running.hub.watch(b"/a")
        woken: list[object] = []
        keys = odd.running.hub.watch_keys(b"/a", None, woken.append)
        alter(odd)
        await compare(cluster)
        await until(lambda: bool(odd.running.fence.why))
        await cluster.agree()
        assert [suspects(host) for host in cluster.hosts()] == [{odd.member: True}] * 3
        assert [host.running.damage.found for host in cluster.hosts()] == [host is odd for host in cluster.hosts()]

        refusal = await ask(odd, Set(b"/a", b"2"))
        assert isinstance(refusal, FencedError)
        assert "Replace this one" in str(refusal)
        assert isinstance(await confirmed(odd), FencedError)
        for read in (
            lambda: store.node(b"/a"),
            lambda: store.children(b"/"),
            lambda: store.watch(b"/a"),
            lambda: store.record(POSITION.pack(2, 0)),
        ):
            with pytest.raises(DivergedError):
                read()
        with pytest.raises(DivergedError), trio.fail_after(1):
            await watch.next()
        assert woken
        with pytest.raises(DivergedError):
            keys.take()

        leader = await cluster.leader()
        assert leader is not odd
        assert not isinstance(await ask(leader, Set(b"/a", b"3")), Exception)


async def test_a_fenced_member_stays_so_and_never_leads_until_it_is_replaced(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        odd = await cluster.follower()
        assert not isinstance(await ask(odd, Set(b"/a", b"1")), Exception)
        await cluster.agree()
        alter(odd)
        await compare(cluster)
        await until(lambda: bool(odd.running.fence.why))
        odd.switch_off()
        await cluster.switch_on(odd)
        assert odd.running.fence.why
        assert LocalStore(odd.running).node != odd.running.keyspace.node
        leader = await cluster.leader()
        leader.switch_off()  # the fenced one still votes, so there is a quorum
        third = await cluster.leader()
        assert third not in (odd, leader)
        assert not isinstance(await ask(third, Set(b"/b", b"1")), Exception)
        await cluster.switch_on(leader)
        await trio.sleep(3)
        assert await cluster.leader() is third
        assert isinstance(await ask(third, ChangeMember(leader.member, Standing.NONE)), object)
        await until(lambda: leader.member not in third.running.raft.members.all)
        refusal = await ask(third, ChangeMember(third.member, Standing.NONE))
        assert isinstance(refusal, ChangeRefusedError)
        assert "wrong" in str(refusal)
        assert not isinstance(await ask(third, ChangeMember(odd.member, Standing.NONE)), Exception)
        assert suspects(third) == {}
        assert not third.running.damage.found


async def test_of_two_that_differ_nobody_can_say_who_is_wrong(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2) as cluster:
        leader, follower = await cluster.leader(), await cluster.follower()
        assert not isinstance(await ask(leader, Set(b"/a", b"1")), Exception)
        await cluster.agree()
        alter(follower)
        await compare(cluster)
        await until(lambda: all(len(suspects(host)) == 2 for host in cluster.hosts()))
        assert suspects(leader) == {1: False, 2: False}
        assert all(host.running.damage.found for host in cluster.hosts())
        assert not isinstance(await ask(follower, Set(b"/a", b"2")), Exception), "service goes on"
        assert await confirmed(follower) is None
        assert not isinstance(await ask(leader, ChangeMember(follower.member, Standing.NONE)), Exception)
        assert suspects(leader) == {}
        assert not leader.running.damage.found


async def test_the_lead_that_changes_in_between_loses_no_comparison(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        leader, odd = await cluster.leader(), await cluster.follower()
        assert not isinstance(await ask(odd, Set(b"/a", b"1")), Exception)
        await cluster.agree()
        alter(odd)
        assert isinstance(await ask(leader, CompareStates()), Marked)
        await cluster.agree()
        leader.switch_off()
        await trio.sleep(5)
        await cluster.switch_on(leader)  # replays the entry, and hashes it anew
        await until(lambda: bool(odd.running.fence.why))
        assert suspects(odd) == {odd.member: True}


def _operation(random: Random) -> Command:
    path = b"/%d" % random.randrange(12)
    draw = random.randrange(10)
    if draw < 5:
        return Set(path + b"/x", random.randbytes(5), ttl=random.choice([None, None, 1, 5]))
    if draw < 6:
        return Delete(path, recursive=True)
    if draw < 9:
        return Put(b"k%d" % random.randrange(3), random.randbytes(9))
    return Txn((), (Put(b"k1", b"t"), Put(b"k2", b"t")))


async def test_nothing_is_reported_while_members_flush_sweep_restart_and_get_snapshots(
    tmp_path: Path, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "RETAINED_BYTES", 1)
    monkeypatch.setattr(retention, "_MARK_BYTES", 1)
    monkeypatch.setattr(flushing, "FLUSH_ROWS", 40)
    random = Random(1)
    compared = installs = 0
    outcomes: list[object] = []
    async with together(tmp_path, 1, 2, 3) as cluster:
        for turn in range(9):
            away = await cluster.follower()
            generation = away.log.origin.generation
            if turn % 3 == 0:
                cluster.network.isolate(away.member)
            elif turn % 3 == 1:
                away.switch_off()
                await cluster.switch_on(away)
                generation = away.log.origin.generation
            leader = await cluster.leader()
            for _ in range(15):
                for _ in range(20):
                    leader.running.propose(_operation(random), outcomes.append)
                await trio.sleep(random.choice([0.001, 0.1]))
                for host in cluster.hosts():
                    for _ in range(random.randrange(3)):
                        host.running.keyspace.sweep(random.randrange(1, 50))
                    if random.randrange(4) == 0:
                        host.running.flush()
            keyspace = leader.running.keyspace
            if turn % 2:
                await ask(leader, Compact(random.randrange(keyspace.floor, keyspace.revision) + 1))
            cluster.network.heal()
            leader = await cluster.leader()
            before = {host.member: host.running.comparing.made for host in cluster.hosts()}
            await ask(leader, CompareStates())
            await cluster.agree()
            await trio.sleep(3 * comparing.LOOK_SECONDS)
            compared += all(host.running.comparing.made > before[host.member] for host in cluster.hosts())
            installs += away.log.origin.generation > generation
            assert [suspects(host) for host in cluster.hosts()] == [{}] * 3
    assert len(outcomes) > 2500
    assert compared >= 4
    assert installs >= 2
