"""Who a request is from, what they may do, and what a guess at a password costs."""

import logging
from base64 import b64encode
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock

from core.api.access import gate as gate_module
from core.api.access import hashing as hashing_module
from core.api.access.gate import Denied, Gate
from core.api.access.hashing import Hashing
from core.api.access.identity import of_certificate
from core.api.access.passwords import hashed, matches
from core.api.access.throttle import ENTRIES, FREE_FOR_ADDRESS, FREE_FOR_USER, Throttle
from core.api.http.message import Caller, Reply, Request
from core.api.store import Damage
from core.api.v2.counters import Counters
from core.api.v2.keys import Keys
from core.kv import commands as c
from core.kv.access import Identity, Office, Permission, Right, User
from core.kv.errors import MissingRecordError, StaleAccessError
from core.kv.records import Event
from tests.auth.support import Records, basic, certificate, cheap
from tests.v2.fakes import ANYONE, LOCAL, FakeReply, FakeStore, record, request


class Asked:
    """Answers of a gate, in order."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.found: list[Identity | Denied] = []

    def ask(self, *headers: tuple[bytes, bytes], caller: Caller = ANYONE) -> None:
        self.gate.identify(asked(*headers, caller=caller), self.found.append)

    async def answer(self, *headers: tuple[bytes, bytes], caller: Caller = ANYONE) -> Identity | Denied:
        """Ask, and wait for the thread."""
        answered = trio.Event()
        found: list[Identity | Denied] = []

        def done(answer: Identity | Denied) -> None:
            self.found.append(answer)
            found.append(answer)
            answered.set()

        self.gate.identify(asked(*headers, caller=caller), done)
        with trio.fail_after(10):
            await answered.wait()
        return found[0]


def asked(*headers: tuple[bytes, bytes], caller: Caller = ANYONE) -> Request:
    return request(b"GET", b"/v2/keys/a", headers=headers, caller=caller)


@pytest.fixture
def records() -> Records:
    records = Records()
    records.do(c.UserCreate("alice", cheap("wonderland"), ("r",)))
    records.restrict()
    return records


@pytest.fixture
async def door(records: Records, nursery: trio.Nursery) -> Asked:
    hashing = Hashing()
    nursery.start_soon(hashing.run)
    return Asked(Gate(records.keyspace.access, hashing, Damage()))


# By the connection


OFFICES = {
    "corenode:admin": Office.ADMIN,
    "corenode:operator": Office.OPERATOR,
    "corenode:reader": Office.READER,
    "corenode:client": Office.NONE,
}


@pytest.mark.parametrize(("organisation", "office"), [*OFFICES.items(), ("corenode:root", Office.NONE)])
def test_the_organisation_of_a_certificate_gives_the_office(organisation: str, office: Office) -> None:
    assert of_certificate(certificate("alice", "Example Ltd", organisation)).office is office


def test_certificates_that_say_too_little_or_too_much() -> None:
    assert of_certificate(certificate("")) == Identity("certificate ", user="")
    assert of_certificate(b"no certificate") == Identity("certificate ", user="")
    assert of_certificate(certificate("x", *OFFICES)) == Identity("certificate x", user="x")


def test_who_the_connection_proves(records: Records) -> None:
    gate = Gate(records.keyspace.access, Hashing(), Damage())
    assert gate.by_connection(LOCAL).office is Office.ADMIN
    assert gate.by_connection(ANYONE) == Identity("anonymous")
    alice = Caller("127.0.0.1:1", certificate=certificate("alice"))
    assert gate.by_connection(alice) == Identity("certificate alice", Office.NONE, "alice")
    stranger = Caller("127.0.0.1:1", certificate=certificate("eve", "corenode:operator"))
    assert gate.by_connection(stranger) == Identity("certificate eve", Office.OPERATOR)
    root = Caller("127.0.0.1:1", certificate=certificate("root"))
    assert gate.by_connection(root) == Identity("certificate root", Office.ADMIN, "root")


def test_a_name_alone_is_nothing_while_access_is_free() -> None:
    records = Records()
    records.do(c.UserCreate("root", "h"))
    gate = Gate(records.keyspace.access, Hashing(), Damage())
    assert gate.by_connection(Caller("a:1", certificate=certificate("root"))) == Identity("certificate root")


# By password


async def test_a_password(door: Asked) -> None:
    assert await door.answer(basic("alice", "wonderland")) == Identity("user alice", Office.NONE, "alice")
    assert await door.answer(basic("root", "secret")) == Identity("user root", Office.ADMIN, "root")
    assert await door.answer(basic("alice", "secret")) == Denied(401, "Insufficient credentials")
    assert await door.answer(basic("nobody", "secret")) == Denied(401, "Insufficient credentials")
    assert await door.answer(basic("alice", "wonderland"), caller=LOCAL) == Identity("user alice", user="alice")


@pytest.mark.parametrize(
    "header",
    [b"", b"Basic", b"Basic !", b"Bearer x", b"Basic " + b64encode(b"alice"), b"Basic " + b64encode(b"\xff:x")],
)
def test_malformed_credentials(records: Records, header: bytes) -> None:
    door = Asked(Gate(records.keyspace.access, Hashing(), Damage()))
    door.ask((b"authorization", header))
    assert door.found == [Denied(401, "Insufficient credentials")]


async def test_verified_credentials_are_remembered_until_the_records_change(
    records: Records, door: Asked, mock_clock: MockClock
) -> None:
    await door.answer(basic("alice", "wonderland"))
    door.ask(basic("alice", "wonderland"))
    assert len(door.found) == 2
    assert all(b"wonderland" not in name for name in door.gate._verified)
    records.admitted(c.RoleCreate("r"))
    door.ask(basic("alice", "wonderland"))
    assert len(door.found) == 2
    await door.answer(basic("alice", "wonderland"))
    door.ask(basic("alice", "wonderland"))
    assert len(door.found) == 5
    mock_clock.jump(gate_module.REMEMBERED_SECONDS)
    door.ask(basic("alice", "wonderland"))
    assert len(door.found) == 5


async def test_a_password_that_changes_while_it_is_checked_is_not_believed(records: Records, door: Asked) -> None:
    door.ask(basic("alice", "wonderland"))
    records.admitted(c.UserChange("alice", cheap("other")))
    assert await door.answer(basic("alice", "other")) == Identity("user alice", user="alice")
    assert door.found[0] == Denied(401, "Insufficient credentials")


async def test_damaged_records_let_nobody_in_and_end_nothing(
    records: Records, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashing, damage = Hashing(), Damage()
    nursery.start_soon(hashing.run)
    gate = Gate(records.keyspace.access, hashing, damage)
    reads = 0

    def user(name: str) -> User | None:
        nonlocal reads
        reads += 1
        if reads == 2:  # when the password has been checked
            raise MissingRecordError("the row of alice")
        return User(name, cheap("wonderland"), ())

    monkeypatch.setattr(gate.accounts, "user", user)
    assert await Asked(gate).answer(basic("alice", "wonderland")) == Denied(401, "Insufficient credentials")
    assert damage.found

    def damaged(_: Reply) -> None:
        raise MissingRecordError("the row of bob")

    for headers in ((), (basic("root", "secret"),)):
        reply = FakeReply()
        monkeypatch.undo()
        asked_for = asked(*headers, caller=ANYONE if headers else LOCAL)
        gate.require(Office.ADMIN, asked_for, reply, damaged)
        with trio.fail_after(10):
            while not reply.answers:  # noqa: ASYNC110
                await trio.sleep(0.001)
        assert reply.sent.status == 500


async def test_only_so_many_wait(records: Records) -> None:
    door = Asked(Gate(records.keyspace.access, Hashing(), Damage()))
    for number in range(hashing_module.WAITING + 1):
        door.ask(basic("alice", f"x{number}"), caller=Caller(f"10.0.0.{number}:1"))
    assert [answer.status for answer in door.found if isinstance(answer, Denied)] == [503]


# Guessing


async def test_a_client_with_many_connections_is_one_guess(door: Asked) -> None:
    for _ in range(99):
        door.ask(basic("alice", "wonderland"))
    await door.answer(basic("alice", "wonderland"))
    assert door.found == [Identity("user alice", user="alice")] * 100
    for _ in range(99):
        door.ask(basic("alice", "rabbit"))
    await door.answer(basic("alice", "rabbit"))
    assert door.found[100:] == [Denied(401, "Insufficient credentials")] * 100
    assert await door.answer(basic("alice", "hare")) == Denied(401, "Insufficient credentials")


def test_guesses_at_once_are_counted_before_they_fail() -> None:
    throttle = Throttle()
    waits = [throttle.begin("alice", "10.0.0.1", 100.0) for _ in range(10)]
    assert waits[:FREE_FOR_USER] == [0.0] * FREE_FOR_USER
    assert all(waits[FREE_FOR_USER:])


def test_each_failure_doubles_the_wait_and_a_success_ends_it() -> None:
    throttle = Throttle()
    now, tried = 0.0, 0
    while now < 3600:
        wait = throttle.begin("alice", "10.0.0.1", now)
        tried += not wait
        now += wait or 0.001
    assert 55 < tried < 75  # an hour of guessing
    assert throttle.begin("bob", "10.0.0.2", now) == 0
    assert throttle.begin("alice", "10.0.0.2", now) == 0
    throttle.succeeded("alice", "10.0.0.1")
    assert throttle.begin("alice", "10.0.0.1", now + 10) == 0


def test_many_names_from_one_address() -> None:
    throttle = Throttle()
    waits = [throttle.begin(f"user{number}", "10.0.0.1", 0.0) for number in range(FREE_FOR_ADDRESS + 5)]
    assert [bool(wait) for wait in waits] == [False] * FREE_FOR_ADDRESS + [True] * 5


def test_the_table_is_bounded() -> None:
    throttle = Throttle()
    for number in range(ENTRIES):
        throttle.begin("x" * 10, f"address {number}", 0.0)
    assert len(throttle._failures) == ENTRIES


async def test_guesses_are_slowed_and_logged_and_the_password_is_nowhere(
    door: Asked, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for number in range(FREE_FOR_USER):
        assert await door.answer(basic("alice", f"guess-{number}")) == Denied(401, "Insufficient credentials")
    slowed = await door.answer(basic("alice", "wonderland"))
    assert isinstance(slowed, Denied)
    assert (slowed.status, slowed.headers()) == (429, b"Retry-After: 1\r\n")
    assert "try again in 1 s" in slowed.why
    lines = [vars(line) for line in caplog.records if line.name == "corenode.audit"]
    assert [line["why"] for line in lines] == ["wrong name or password"] * FREE_FOR_USER + [
        "too many failed attempts before; not looked at"
    ]
    assert all(line["who"] == "user alice" and line["address"] == "127.0.0.1:4711" for line in lines)
    assert "guess" not in str(lines)
    assert "wonderland" not in str(lines)


def test_hashes() -> None:
    text = cheap("päss")
    assert matches("päss".encode(), text)
    assert not matches(b"pass", text)
    assert text != cheap("päss")
    for broken in ("", "päss", text[:-1], text.replace("ln=4", "ln=0"), text.replace("r=8", "r=99"), "$scrypt$"):
        assert not matches("päss".encode(), broken)


async def test_a_hash_of_full_cost_does_not_hold_the_loop() -> None:
    latest, worst = trio.current_time(), 0.0

    async def tick() -> None:
        nonlocal latest, worst
        while True:
            await trio.sleep(0.001)
            worst = max(worst, trio.current_time() - latest)
            latest = trio.current_time()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        started = trio.current_time()
        text = await trio.to_thread.run_sync(hashed, b"secret")
        cost = trio.current_time() - started
        nursery.cancel_scope.cancel()
    assert text.startswith("$scrypt$ln=15,r=8,p=3$")
    assert cost > 0.05
    assert worst < cost / 2


# Decisions that come too late


def test_a_write_that_became_stale_is_judged_again(records: Records) -> None:
    gate = Gate(records.keyspace.access, Hashing(), Damage())
    store = FakeStore()
    outcomes = [StaleAccessError(), Event(record(b"/a", b"1"), None)]
    propose = store.propose

    def once_stale(command: c.Command, done: Callable[[object], None]) -> None:
        store.outcome = outcomes.pop(0)
        propose(command, done)

    store.propose = once_stale  # type: ignore[method-assign]
    reply = FakeReply()
    Keys(store, gate, "1", Counters())(request(b"PUT", b"/v2/keys/a", b"value=1"), reply)
    assert reply.sent.status == 201
    assert [type(command) for command in store.commands] == [c.Admitted, c.Admitted]


def test_a_write_that_became_forbidden_meanwhile_is_refused(records: Records) -> None:
    gate = Gate(records.keyspace.access, Hashing(), Damage())
    store = FakeStore()

    def propose(command: c.Command, done: Callable[[object], None]) -> None:
        records.admitted(c.RoleChange("guest", revoke=(Permission(Right.WRITE, b"/", b"0"),)))
        done(records.do(command))

    store.propose = propose  # type: ignore[method-assign]
    reply = FakeReply()
    Keys(store, gate, "1", Counters())(request(b"PUT", b"/v2/keys/a", b"value=1"), reply)
    assert reply.sent.status == 401
    assert b'"errorCode":110' in reply.sent.body
