"""That a member's machine id is its own, also while it is away."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock

from core.api.store import Damage
from core.claiming import LOOK_SECONDS, Claiming
from core.kv.commands import HostBind, HostForget, Publish
from core.kv.errors import HostTakenError
from core.kv.membership import Change, Member
from core.kv.outcomes import HostDone
from core.member import Member as Node
from core.node.errors import NoLeaderError
from tests.auth.support import Records

MACHINE, OTHER = "1" * 32, "2" * 32
THIEF = b"k" * 32
URL = "https://10.0.0.1:2379"


class World:
    """A member, its cluster, and a leader who may be away."""

    def __init__(self) -> None:
        self.records = Records()
        self.records.keyspace.apply_members(1, 1, b"", (), Change((Member(7, "n7", ()), Member(8, "n8", ()))))
        self.records._index = 1
        self.records.do(Publish(7, "n7", (URL,), "0.1.0"))
        self.proposed: list[HostBind] = []
        self.leader = True
        node = SimpleNamespace(propose=self._propose, damage=Damage())
        shown = SimpleNamespace(identity=SimpleNamespace(member=7), keyspace=self.records.keyspace, node=node)
        self.claiming = Claiming(cast(Node, shown), MACHINE)

    def _propose(self, command: HostBind, done: Any) -> None:
        if not self.leader:
            raise NoLeaderError("no leader")
        self.proposed.append(command)
        done(self.records.do(command))

    @property
    def holder(self) -> int | None:
        held = self.records.keyspace.access.holder(MACHINE)
        return None if held is None else held.member


@pytest.fixture
async def world() -> Any:
    found = World()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(found.claiming.run)
        yield found
        nursery.cancel_scope.cancel()


async def test_the_id_is_claimed_once_and_again_when_it_was_let_go_of(autojump_clock: MockClock, world: World) -> None:
    await trio.sleep(5 * LOOK_SECONDS)
    assert (world.holder, len(world.proposed)) == (7, 1)
    assert isinstance(world.records.do(HostBind(MACHINE, THIEF, ("10.0.0.9",))), HostTakenError)
    world.records.do(HostForget(MACHINE))
    await trio.sleep(2 * LOOK_SECONDS)
    assert (world.holder, len(world.proposed)) == (7, 2)


async def test_it_waits_for_a_leader(autojump_clock: MockClock, world: World) -> None:
    world.leader = False
    world.records.do(HostForget(MACHINE))
    before = len(world.proposed)  # it may have looked already
    await trio.sleep(3 * LOOK_SECONDS)
    assert len(world.proposed) == before
    world.leader = True
    await trio.sleep(2 * LOOK_SECONDS)
    assert world.holder == 7


async def test_a_member_takes_its_id_back_from_a_worker_and_leaves_it_to_another_member(
    autojump_clock: MockClock, world: World
) -> None:
    world.records.do(HostForget(MACHINE))
    assert isinstance(world.records.do(HostBind(MACHINE, THIEF, ("10.0.0.9",))), HostDone)
    await trio.sleep(2 * LOOK_SECONDS)
    assert world.holder == 7
    assert isinstance(world.records.do(HostBind(MACHINE, b"", (), 8)), HostDone)
    await trio.sleep(3 * LOOK_SECONDS)
    assert world.holder == 8


async def test_members_are_vouched_for_by_their_urls_and_workers_by_their_addresses(
    autojump_clock: MockClock, world: World
) -> None:
    await trio.sleep(2 * LOOK_SECONDS)
    world.records.do(HostBind(OTHER, THIEF, ("10.0.0.9",)))
    vouchers = world.claiming
    assert (list(vouchers.urls(MACHINE)), list(vouchers.names(MACHINE))) == ([URL], [])
    assert (list(vouchers.urls(OTHER)), list(vouchers.names(OTHER))) == ([], ["10.0.0.9"])
    assert not [*vouchers.urls("3" * 32), *vouchers.names("3" * 32)]
