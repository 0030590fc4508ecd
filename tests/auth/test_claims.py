"""A stream lasts as long as whoever asked for it is known and allowed it, and no longer."""

from collections.abc import Callable
from functools import partial

import pytest
import trio
import trio.testing

from core.api.access.gate import Gate
from core.api.access.hashing import Hashing
from core.api.http.message import Caller, Outlet, Reply
from core.api.store import Damage
from core.api.v2.counters import Counters
from core.api.v2.keys import Keys
from core.kv import commands as c
from core.kv.access import Identity, Office, Permission, Right
from tests.auth.support import Records, basic, certificate, cheap
from tests.v2.fakes import ANYONE, LOCAL, FakeOutlet, FakeReply, FakeStore, request

READ_A = Permission(Right.READ, b"/a")
SHOWN = Caller("127.0.0.1:4712", certificate=certificate("bob"))
WHO = {
    "alice": (ANYONE, basic("alice", "wonderland")),
    "bob": (SHOWN, None),
    "guest": (ANYONE, None),
    "socket": (LOCAL, None),
}
CHANGES: dict[str, tuple[c.Admissible, set[str]]] = {
    "another password": (c.UserChange("alice", password=cheap("rabbit")), {"alice"}),
    "somebody else's password": (c.UserChange("root", password=cheap("rabbit")), set()),
    "a user removed": (c.UserDelete("alice"), {"alice"}),
    "a user known by certificate removed, who is a guest then": (c.UserDelete("bob"), set()),
    "a role taken away": (c.UserChange("alice", revoke=("reader",)), {"alice"}),
    "a role removed": (c.RoleDelete("reader"), {"alice", "bob"}),
    "a right taken away": (c.RoleChange("reader", revoke=(READ_A,)), {"alice", "bob"}),
    "guests shut out": (c.RoleDelete("guest"), {"guest"}),
    "no restriction any more": (c.AuthSwitch(False), set()),
}


@pytest.fixture
def records() -> Records:
    records = Records()
    records.do(c.RoleCreate("reader", (READ_A,)))
    for name in ("alice", "bob"):
        records.do(c.UserCreate(name, cheap("wonderland"), ("reader",)))
    records.restrict()
    return records


async def endless(_: Outlet) -> None:
    await trio.sleep_forever()


async def opened(gate: Gate, name: str, office: Office | None = None) -> FakeReply:
    """A watch of `/a`, or an endless answer for holders of an office."""
    caller, header = WHO[name]
    asked = request(
        b"GET", b"/v2/keys/a?wait=true&stream=true", headers=() if header is None else (header,), caller=caller
    )
    reply = FakeReply()
    if office is None:
        Keys(FakeStore(), gate, "1", Counters())(asked, reply)
    else:

        def serve(admitted: Reply) -> None:
            admitted.stream(endless)

        gate.require(office, asked, reply, serve)
    with trio.fail_after(10):
        while not reply.answers:  # noqa: ASYNC110
            await trio.sleep(0.001)
    assert reply.produce is not None, reply.response
    return reply


async def ended_by(gate: Gate, replies: dict[str, FakeReply], change: Callable[[], None]) -> set[str]:
    """Whose streams a change cuts off."""
    ended = set()
    outlets = {name: FakeOutlet() for name in replies}

    async def produce(name: str) -> None:
        produced = replies[name].produce
        assert produced is not None
        await produced(outlets[name])
        assert outlets[name].aborted, "a stream that is not finished must not look so"
        ended.add(name)

    async with trio.open_nursery() as nursery:
        for name in replies:
            nursery.start_soon(produce, name)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(gate.claims.run)
        await trio.testing.wait_all_tasks_blocked()
        change()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    return ended


@pytest.mark.parametrize("change", CHANGES)
async def test_a_change_of_records_ends_the_watches_it_forbids(
    records: Records, change: str, autojump_clock: trio.testing.MockClock
) -> None:
    hashing = Hashing()
    gate = Gate(records.keyspace.access, hashing, Damage())
    command, expected = CHANGES[change]
    autojump_clock.autojump_threshold = 0.05  # a password is checked by a thread, in real time
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hashing.run)
        replies = {name: await opened(gate, name) for name in WHO}
        assert await ended_by(gate, replies, partial(records.admitted, command)) == expected
        nursery.cancel_scope.cancel()


async def test_restricting_access_ends_what_guests_may_not_read(autojump_clock: trio.testing.MockClock) -> None:
    records = Records()
    gate = Gate(records.keyspace.access, Hashing(), Damage())
    replies = {name: await opened(gate, name) for name in ("guest", "socket")}

    def restrict() -> None:
        records.do(c.RoleCreate("guest", ()))
        records.restrict()

    assert await ended_by(gate, replies, restrict) == {"guest"}


async def test_an_office_lost_ends_what_it_gave(records: Records, autojump_clock: trio.testing.MockClock) -> None:
    gate = Gate(records.keyspace.access, Hashing(), Damage())
    records.admitted(c.UserChange("bob", grant=("root",)))
    replies = {name: await opened(gate, name, Office.OPERATOR) for name in ("bob", "socket")}
    assert await ended_by(gate, replies, lambda: records.admitted(c.UserChange("bob", revoke=("root",)))) == {"bob"}


def test_what_is_lost_stays_lost(records: Records) -> None:
    gate = Gate(records.keyspace.access, Hashing(), Damage())
    claim = gate.claim(request(b"GET", b"/", caller=SHOWN), Identity("bob", user="bob"), lambda now: now.user == "bob")
    assert claim.holds()
    records.admitted(c.UserDelete("bob"))
    assert not claim.holds()
    records.admitted(c.UserCreate("bob", cheap("wonderland")))
    assert not claim.holds()
