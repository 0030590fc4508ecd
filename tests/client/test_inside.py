"""The way to the member in this process, where it can go wrong."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import trio

from core.client import Keys, Put, Range, Store, connect, inside_watch, prefix
from core.client.errors import (
    ClientError,
    NoSpaceError,
    OutcomeUnknownError,
    OverloadedError,
    PermissionDeniedError,
    UnavailableError,
)
from core.kv import commands
from core.kv.access import Span
from core.kv.errors import MissingRecordError
from core.kv.reading import SCANNED, RangePage
from core.node import errors as node
from core.node.local import LocalStore
from tests.node.disk import Disk, Machine

Write = Callable[[Store], Awaitable[object]]


@asynccontextmanager
async def running(machine: Machine) -> AsyncIterator[None]:
    await machine.node.start()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(machine.node.run)
        yield
        machine.node.stop()


async def test_a_node_that_never_answers() -> None:
    machine = Machine(Disk())
    await machine.node.start()
    async with connect("local:", node=LocalStore(machine.node), seconds=0.05) as store:
        with pytest.raises(OutcomeUnknownError, match=r"no outcome within 0\.05 s"):
            await store.put(b"a")


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (node.OverloadedError("full"), OverloadedError),
        (node.NoSpaceError("full"), NoSpaceError),
        (node.NoLeaderError("none"), UnavailableError),
        (node.OutcomeUnknownError("lost"), OutcomeUnknownError),
    ],
)
@pytest.mark.parametrize("queued", [True, False])
async def test_what_the_node_refuses(
    refusal: node.ProposalError, kind: type[ClientError], queued: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalStore(Machine(Disk()).node)
    asked: list[object] = []

    def propose(command: commands.Command, done: Callable[[object], None]) -> None:
        asked.append(command)
        if not queued:
            raise refusal
        done(refusal)

    monkeypatch.setattr(local, "propose", propose)
    async with connect("local:", node=local, seconds=0.25) as store:
        with pytest.raises(kind):
            await store.put(b"a")
    assert len(asked) == (3 if kind is UnavailableError else 1)


async def test_reads_without_a_leader() -> None:
    local = LocalStore(Machine(Disk()).node)
    async with connect("local:", node=local, seconds=0.05) as store:
        assert (await store.range(b"a", local=True)).count == 0
        for call in (store.get(b"a"), store.time_to_live(1), store.leases()):
            with pytest.raises(UnavailableError):
                await call


async def test_users_and_roles_do_not_bind_the_program_itself() -> None:
    machine = Machine(Disk())
    local = LocalStore(machine.node)
    async with running(machine), connect("local:", node=local) as store:
        local.propose(commands.UserCreate("root", "hash", ("root",)), lambda _: None)
        local.propose(commands.AuthSwitch(enabled=True), lambda _: None)
        await store.put(b"a", b"1")
        async with trio.open_nursery() as nursery:
            for number in range(20):
                nursery.start_soon(store.put, b"b%d" % number)
                role = commands.RoleCreate(f"r{number}")
                local.propose(commands.Admitted(local.switch.revision, role), lambda _: None)
        assert local.switch.enabled
        assert (await store.range(prefix(b"b"))).count == 20
        assert (await store.txn([], [Put(b"c")])).succeeded
        async with store.lease(10) as lease:
            await store.put(b"d", lease=lease.id)


async def test_records_of_the_system_are_not_written() -> None:
    machine = Machine(Disk())
    async with running(machine), connect("local:", node=LocalStore(machine.node)) as store:
        with pytest.raises(PermissionDeniedError):
            await store.put(b"\0corenode/x")
        assert (await store.range(prefix(b""))).count == 0


async def test_a_cancelled_write_leaves_the_store_usable() -> None:
    machine = Machine(Disk())
    async with running(machine), connect("local:", node=LocalStore(machine.node)) as store:
        with trio.CancelScope() as scope:
            scope.cancel()
            await store.put(b"a")
        await store.put(b"b")
        assert await store.get(b"b") == b""


async def test_how_far_an_idle_watch_is(member: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside_watch, "PROGRESS_SECONDS", 0.01)
    async with connect("local:", node=member) as store, store.watch(b"a", progress=True) as watch:
        other = await store.put(b"b")
        with trio.fail_after(5):
            batch = await anext(watch)
        assert (batch.revision, batch.events, watch.revision) == (other.revision, (), other.revision)


async def test_a_watch_that_is_closed_costs_nothing(member: LocalStore) -> None:
    async with connect("local:", node=member) as store:
        before = member._node.hub.open
        async with store.watch(b"a"):
            assert member._node.hub.open == before + 1
        assert member._node.hub.open == before


async def test_a_range_of_many_pages_is_of_one_revision(member: LocalStore) -> None:
    async with connect("local:", node=member) as store:
        for first in range(0, 2600, 100):
            await store.txn([], [Put(b"/%05d" % number, b"x" * 300) for number in range(first, first + 100)])
        async with trio.open_nursery() as nursery:

            async def disturb() -> None:
                for number in range(2600, 2700):
                    await store.put(b"/%05d" % number)

            nursery.start_soon(disturb)
            for _ in range(10):
                found = await store.range(prefix(b"/"))
                newest = max(kv.mod_revision for kv in found.kvs)
                assert newest <= found.revision
                assert found.count == len(found.kvs) >= 2600
                few = await store.range(prefix(b"/"), limit=3)
                assert (len(few.kvs), few.more) == (3, True)
                assert few.count >= 2600


async def test_damage_to_the_disk_ends_nobody_who_uses_the_store(
    member: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(*_: object, **__: object) -> None:
        raise MissingRecordError("record 7.0 is gone")

    async with connect("local:", node=member) as store:
        lease = (await store.grant(60)).id
        for name in ("key", "page", "lease", "leases", "evaluation", "watch_keys"):
            monkeypatch.setattr(member, name, damaged)
        reads: list[Callable[[], Awaitable[object]]] = [
            lambda: store.get(b"a"),
            lambda: store.range(prefix(b"a")),
            lambda: store.time_to_live(lease),
            store.leases,
            lambda: store.txn([], [Range(b"a")]),
        ]
        for read in reads:
            with pytest.raises(UnavailableError, match=r"record 7\.0 is gone"):
                await read()
        with pytest.raises(UnavailableError):
            async with store.watch(b"a"):
                pass
        assert member.damage.found


async def test_pages_look_at_each_key_once(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(Disk())
    local = LocalStore(machine.node)
    looked: list[int] = []
    page = local.page

    def counted(part: Span, at: int = 0, wanted: int = 1000) -> RangePage:
        found = page(part, at, wanted)
        looked.append(found.count)
        return found

    monkeypatch.setattr(local, "page", counted)
    async with running(machine), connect("local:", node=local) as store:
        for start in range(0, 6000, 100):
            await store.txn(then=[Put(b"p/%05d" % number) for number in range(start, start + 100)])
        for size in (1, 100, 500, 6000, 7000):
            looked.clear()
            keys = prefix(b"p/") if size > 1 else Keys(b"p/", b"p/00010")
            pages = [page.kvs async for page in store.pages(keys, size=size)]
            found = [kv.key for kvs in pages for kv in kvs]
            assert found == [b"p/%05d" % number for number in range(10 if size == 1 else 6000)]
            assert [len(kvs) for kvs in pages[:-1]] == [size] * (len(pages) - 1)
            # Beside what it shows, a page counts no more than the keeper of the keys does in one call.
            assert sum(looked) <= len(found) + len(pages) * SCANNED
        assert [page.kvs async for page in store.pages(prefix(b"none"))] == [()]
