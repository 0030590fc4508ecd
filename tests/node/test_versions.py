"""The version of the cluster: commands that not all members know wait for the last upgrade."""

from pathlib import Path

import msgspec
import pytest
import trio

from core import config
from core.kv import versions
from core.kv.commands import Admitted, ChangeMember, Publish, Put, Revoke, Set, Txn
from core.kv.outcomes import Published, Revoked
from core.kv.transaction import Table
from core.member import Member, OutdatedError
from core.node.errors import GatedError, UnreadableEntryError
from core.node.forwarding import read_refusal, refusal_of
from core.node.gating import outdated
from core.raft.members import Standing
from core.raft.messages import Entry, HardState, Kind
from core.store_lmdb.creation import Beginning, Identity
from tests.node.disk import MEMBER, Disk, Machine
from tests.node.together import Host, Together, ask, together, until

NEXT = Revoke(b"\x01")
"""Plays a command that version 0.2 brings."""


@pytest.fixture(autouse=True)
def brought_by_the_next_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions.SINCE, Revoke, (0, 2))


async def tell(host: Host, version: str) -> None:
    outcome = await ask(host, Publish(host.member, f"n{host.member}", ("http://h:1",), version))
    assert outcome == Published(taken=True)


async def told(cluster: Together) -> None:
    await cluster.leader()
    for host in cluster.hosts():
        await tell(host, "0.1.0")
    await cluster.agree()


async def test_a_new_command_waits_until_the_last_member_is_upgraded(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        await told(cluster)
        for host in cluster.hosts():  # the leader is one of them: the lead moves on
            refusal = await ask(host, NEXT)
            assert isinstance(refusal, GatedError)
            assert f"n{host.member} runs 0.1.0" in str(refusal)
            host.switch_off()
            await cluster.switch_on(host)
            await cluster.leader()
            await tell(host, "0.2.3")
            assert not isinstance(await ask(host, Set(b"/a")), Exception), "the cluster serves all the while"
        await cluster.agree()
        assert [host.running.keyspace.cluster_version for host in cluster.hosts()] == [(0, 2)] * 3
        for host in cluster.hosts():
            assert isinstance(await ask(host, NEXT), Revoked)


async def test_until_the_last_upgrade_members_go_back_and_after_it_none(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        await told(cluster)
        one, two, three = cluster.hosts()
        for version in ("0.2.0", "0.1.0", "0.2.0"):
            await tell(one, version)
            assert outdated(one.running.keyspace, "0.1.7") == ""
        await tell(two, "0.2.0")
        await tell(three, "0.2.0")
        await cluster.agree()
        for host in cluster.hosts():
            assert "upgrade this one" in outdated(host.running.keyspace, "0.1.7")
            assert outdated(host.running.keyspace, "0.2.0") == outdated(host.running.keyspace, "0.3.0") == ""
        await tell(three, "0.1.0")
        assert three.running.keyspace.cluster_version == (0, 2)


async def test_a_member_that_lags_refuses_what_the_others_know_and_says_so(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """A new member that told nothing does not take away what is allowed, but holds back what is not."""
    async with together(tmp_path, 1, 2) as cluster:
        leader = await cluster.leader()
        for host in cluster.hosts():
            await tell(host, "0.2.0")
        assert not isinstance(await ask(leader, ChangeMember(3, Standing.LEARNER, "n3", ("http://h:3",))), Exception)
        assert isinstance(await ask(leader, NEXT), Revoked)
        for host in cluster.hosts():
            await tell(host, "0.3.0")
        assert leader.running.keyspace.cluster_version == (0, 2)
        await cluster.add(3)
        await until(lambda: cluster.network.hosts[3].running.keyspace.cluster_version == (0, 2))
        await tell(cluster.network.hosts[3], "0.3.1")
        await until(lambda: leader.running.keyspace.cluster_version == (0, 3))


async def test_removing_the_last_old_member_lets_the_version_rise(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with together(tmp_path, 1, 2, 3) as cluster:
        await told(cluster)
        leader, follower = await cluster.leader(), await cluster.follower()
        await tell(leader, "0.2.0")
        third = next(host for host in cluster.hosts() if host not in (leader, follower))
        await tell(third, "0.2.0")
        assert isinstance(await ask(third, NEXT), GatedError)
        await trio.sleep(1)
        assert not isinstance(await ask(leader, ChangeMember(follower.member, Standing.NONE)), Exception)
        assert isinstance(await ask(leader, NEXT), Revoked)


def test_the_refusal_travels_from_the_leader_to_whoever_asked() -> None:
    refusal = refusal_of(GatedError("upgrade first"))
    assert refusal is not None
    token, error = read_refusal([7, *refusal, "upgrade first"])
    assert token == 7
    assert isinstance(error, GatedError)


async def test_an_entry_of_a_later_version_ends_an_older_member_with_words() -> None:
    disk = Disk()
    disk.entries = [Entry(1, 1, Kind.COMMANDS, msgspec.msgpack.encode([1, [[99, b"new"]]]))]
    disk.hard_state = HardState(1, MEMBER, 1)
    with pytest.raises(UnreadableEntryError, match="upgrade this"):
        await Machine(disk).node.start()


async def test_a_member_older_than_its_cluster_does_not_start(tmp_path: Path) -> None:
    given = config.load({"data-dir": str(tmp_path / "d")}, environ={})
    member = Member.open(given, Beginning(Identity(1, 2)))
    member.directory.state.put(Table.META, b"cluster version", b"9.1")
    member.directory.state.flush()
    member.close()
    with pytest.raises(OutdatedError, match=r"the cluster has come to 9\.1"):
        Member.open(given, None)


def test_a_command_is_as_new_as_what_it_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(versions.SINCE, Put, (0, 3))
    assert versions.since(Set(b"/a")) == versions.FIRST
    assert versions.since(Admitted(0, Put(b"k"))) == (0, 3)
    assert versions.since(Admitted(0, Txn((), (), (Txn((), (Put(b"k"),)),)))) == (0, 3)


@pytest.mark.parametrize("text", ["", "0", "x.y", "0.x", "-1.2", "²1.0"])
def test_what_is_no_version_counts_as_not_told(text: str) -> None:
    assert versions.parse(text) is None
    assert versions.parse("1.12.3+local") == (1, 12)
