"""The handlers by which hosts join, one request at a time: who may, and what a refusal leaves behind."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from cryptography.x509 import load_pem_x509_certificate

from core.api.access.hashing import Hashing
from core.api.http.message import Caller, Response
from core.api.ops.joining import MOST_BYTES, MOST_SIGNED, JoinHandler, RootHandler, routes
from core.api.ops.tokens import TokensHandler
from core.api.store import NoLeaderError, ProposalError
from core.join_token import JoinToken, make
from core.kv.commands import ChangeMember, Command, TokenCreate
from core.kv.hosts import Holder
from core.kv.membership import Change, Member
from core.kv.tokens import Token
from core.tls.authority import create, load_chain
from core.tls.certificates import Key, fingerprint, new_key
from core.tls.enrolment import check_issued
from core.tls.enrolment import request as certificate_request
from core.tls.identity import Role, identity_of
from tests.auth.support import Records, open_gate
from tests.v2.fakes import FakeReply, FakeStore, request

STRANGER = Caller("10.0.0.9:4711")
SOCKET = Caller("unix", local=True)
FIRST = Member(1, "one", ("https://10.0.0.1:2380",), ("https://10.0.0.1:2379",))


class Store(FakeStore):
    """A store over a state machine; what changes members is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.records = Records()
        self.members: list[Member] = [FIRST]
        self.added: list[ChangeMember] = []
        self.leaderless = False

    def propose(self, command: Command, done: Any) -> None:
        if self.leaderless:
            raise NoLeaderError("no leader is known; try again")
        if isinstance(command, ChangeMember):
            self.added.append(command)
            self.members.append(Member(command.id, command.name, command.peer_urls))
            done(Change())
        else:
            done(self.records.do(command))

    def confirm(self, done: Any) -> None:
        error: ProposalError | None = NoLeaderError("no leader is known; try again") if self.leaderless else None
        done(error)


class Place:
    """A node's view of a cluster; fulfils `Place`."""

    cluster = "c1"
    client_cert_auth = True
    links_by_tls = True

    def __init__(self, store: Store, authority: Path) -> None:
        self.authority: Path | None = authority
        self._root = (authority / "ca.crt").read_text()
        self._store = store
        self.removed: set[int] = set()
        self.running: set[str] = set()

    def token(self, name: str) -> Token | None:
        return self._store.records.keyspace.token(name)

    def tokens(self) -> list[Token]:
        return self._store.records.keyspace.tokens()

    def root(self) -> str | None:
        return self._root

    def known(self) -> list[Member]:
        return self._store.members

    def was_removed(self, member: int) -> bool:
        return member in self.removed

    def runs(self, machine: str) -> bool:
        return machine in self.running

    def holder(self, machine: str) -> Holder | None:
        return self._store.records.keyspace.access.holder(machine)


class Awaited(FakeReply):
    """A reply that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.answered = trio.Event()

    def send(self, response: Response) -> None:
        super().send(response)
        self.answered.set()


class World:
    def __init__(self, home: Path) -> None:
        create(home / "ca", "authority")
        self.store = Store()
        self.place = Place(self.store, home / "ca")
        self.signing = Hashing()
        self.handler = JoinHandler(self.store, self.place, self.signing, lambda: 0.0)
        self.mark = fingerprint(load_chain(home / "ca" / "ca.crt")[0])
        self.token = self.make(b"t")

    def make(self, letter: bytes, uses: int = 1, role: str = "member") -> JoinToken:
        token = make(letter * 25, self.mark)
        ttl = 1_000_000  # the state machine of the test begins its time at 0, the clock of the store does not
        self.store.records.do(TokenCreate(token.id, token.digest, role, ttl, uses, "somebody"))
        return token

    def asked(self, key: Key, **other: Any) -> dict[str, Any]:
        return {
            "token": str(self.token),
            "role": "member",
            "name": "two",
            "identity": certificate_request(key),
            "server": certificate_request(new_key()),
            "peer_urls": ["https://10.0.0.2:2380"],
            "client_urls": ["https://10.0.0.2:2379"],
            **other,
        }

    async def ask(self, body: Any, method: bytes = b"POST") -> tuple[int, Any]:
        reply = Awaited()
        data = body if isinstance(body, bytes) else msgspec.json.encode(body)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.signing.run)
            self.handler(request(method, b"/corenode/join", body=data, caller=STRANGER), reply)
            with trio.fail_after(5):
                await reply.answered.wait()
            nursery.cancel_scope.cancel()
        sent = reply.sent
        return sent.status, msgspec.json.decode(sent.body) if sent.body.startswith(b"{") else sent.body


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_host_is_let_in_as_a_learner_and_gets_certificates(world: World) -> None:
    key = new_key()
    status, granted = await world.ask(world.asked(key))
    assert status == 200
    check_issued(granted["identity"], key)
    (added,) = world.store.added
    assert (added.standing, added.name, f"{added.id:x}") == (1, "two", granted["member"])
    assert [each["name"] for each in granted["members"]] == ["one", "two"]
    again = await world.ask(world.asked(key))
    assert again[1]["member"] == granted["member"]
    assert len(world.store.added) == 1


async def test_a_host_does_not_get_certificates_without_end(world: World, tmp_path: Path) -> None:
    key = new_key()
    found = [(await world.ask(world.asked(key)))[0] for _ in range(MOST_SIGNED + 2)]
    assert found == [200] * MOST_SIGNED + [429] * 2
    assert len(list((tmp_path / "ca" / "issued").iterdir())) == 2 * MOST_SIGNED


@pytest.mark.parametrize(
    ("other", "status", "why"),
    [
        ({"name": "one"}, 400, "name one already"),
        ({"name": "a=b"}, 400, "cannot be the name"),
        ({"name": "x" * 65}, 400, "cannot be the name"),
        ({"peer_urls": []}, 400, "needs URLs"),
        ({"peer_urls": ["http://10.0.0.2:2380"]}, 400, "begin with https://"),
        ({"peer_urls": ["https://10.0.0.1:2380"]}, 400, "address of another member"),
        ({"client_urls": ["https://0.0.0.0:2379"]}, 400, "nobody can connect"),
        ({"client_urls": ["https://*.example.org:2379"]}, 400, "nobody can connect"),
        ({"client_urls": ["ftp://a"]}, 400, "does not begin with"),
        ({"identity": "nothing"}, 400, "cannot be read"),
        ({"role": "worker"}, 403, "another role"),
        ({"surprise": 1}, 400, "unknown field"),
        ({"token": "a.b.c"}, 400, "token"),
    ],
)
async def test_what_is_asked_wrongly_uses_nothing_up(
    world: World, other: dict[str, Any], status: int, why: str
) -> None:
    found, told = await world.ask(world.asked(new_key(), **other))
    assert found == status
    assert why in told["message"]
    assert world.store.added == []
    assert world.place.tokens()[0].holders == ()


async def test_a_request_that_is_not_signed_with_its_key(world: World) -> None:
    pem = certificate_request(new_key())
    middle = len(pem) - 60
    altered = pem[:middle] + ("A" if pem[middle] != "A" else "B") + pem[middle + 1 :]
    status, _ = await world.ask(world.asked(new_key(), identity=altered))
    assert status == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b"[" * 20_000, b"x" * (MOST_BYTES + 1)])
async def test_garbage(world: World, body: bytes) -> None:
    status, _ = await world.ask(body)
    assert status in (400, 413)


async def test_a_member_without_the_issuing_key_says_whom_to_ask(world: World) -> None:
    world.place.authority = None
    status, told = await world.ask(world.asked(new_key()))
    assert (status, told["ask"]) == (421, ["https://10.0.0.1:2379"])
    assert world.place.tokens()[0].holders == ()


async def test_a_host_that_was_removed_does_not_come_back_with_its_key(world: World) -> None:
    key = new_key()
    _, granted = await world.ask(world.asked(key))
    world.place.removed.add(int(granted["member"], 16))
    world.store.members.pop()
    status, told = await world.ask(world.asked(key))
    assert status == 410
    assert "empty data directory" in told["message"]


async def test_without_a_leader_it_is_worth_another_try(world: World) -> None:
    world.store.leaderless = True
    assert (await world.ask(world.asked(new_key())))[0] == 503


async def test_unknown_tokens_and_wrong_secrets_are_told_the_same_and_slowed_down(world: World) -> None:
    unknown = make(b"u" * 25, world.mark)
    wrong = JoinToken(world.token.id, hashlib.sha256(b"guess").digest()[:20], world.mark)
    told = [await world.ask(world.asked(new_key(), token=str(each))) for each in (unknown, wrong)]
    assert told[0] == told[1]
    assert told[0][0] == 403
    statuses = [(await world.ask(world.asked(new_key(), token=str(wrong))))[0] for _ in range(3)]
    assert statuses == [403, 403, 429]


@pytest.mark.parametrize("method", [b"GET", b"POST", b"DELETE", b"PUT"])
@pytest.mark.parametrize("below", [b"", b"/abc"])
async def test_tokens_are_for_admins(world: World, method: bytes, below: bytes) -> None:
    handler = TokensHandler(world.store, open_gate(), world.place, lambda count: b"x" * count)
    reply = FakeReply()
    handler(request(method, b"/corenode/tokens" + below, body=b'{"ttl": 60}', caller=STRANGER), reply)
    assert reply.sent.status in (403, 405)
    assert len(world.place.tokens()) == 1


async def test_the_text_of_a_token_is_told_once(world: World) -> None:
    handler = TokensHandler(world.store, open_gate(), world.place, lambda count: b"x" * count)
    made, listed = FakeReply(), FakeReply()
    handler(request(b"POST", b"/corenode/tokens", body=b'{"ttl": 60, "uses": 2}', caller=SOCKET), made)
    token = msgspec.json.decode(made.sent.body)
    assert token["token"] == str(make(b"x" * 25, world.mark))
    assert token["creator"] == "unix socket"
    handler(request(b"GET", b"/corenode/tokens", caller=SOCKET), listed)
    assert token["token"].split(".")[1].encode() not in listed.sent.body
    assert b'"state":"' in listed.sent.body


@pytest.mark.parametrize("body", [b"", b'{"ttl": 0}', b'{"ttl": 60, "uses": 0}', b'{"ttl": 60, "role": "root"}', b"{}"])
async def test_a_token_that_cannot_be(world: World, body: bytes) -> None:
    handler = TokensHandler(world.store, open_gate(), world.place, lambda count: b"y" * count)
    reply = FakeReply()
    handler(request(b"POST", b"/corenode/tokens", body=body, caller=SOCKET), reply)
    assert reply.sent.status == 400
    assert len(world.place.tokens()) == 1


def test_the_root_is_for_everybody(world: World) -> None:
    reply = FakeReply()
    RootHandler(world.place)(request(b"GET", b"/corenode/root", caller=STRANGER), reply)
    assert reply.sent.body.startswith(b"-----BEGIN CERTIFICATE")
    assert {route.path for route in routes(world.store, open_gate(), world.place, world.signing)} == {
        *(b"/corenode/root", b"/corenode/join", b"/corenode/tokens", b"/corenode/hosts")
    }


MACHINE = "0123456789abcdef" * 2


async def test_a_worker_is_certified_as_the_host_of_its_machine_id(world: World) -> None:
    world.token = world.make(b"w", role="worker")
    status, granted = await world.ask(world.asked(new_key(), role="worker", machine=MACHINE))
    assert status == 200, granted
    identity = identity_of(load_pem_x509_certificate(granted["identity"].encode()))
    assert (identity.role, identity.name) == (Role.HOST, MACHINE)


@pytest.mark.parametrize("machine", ["", "worker", MACHINE.upper(), f"{MACHINE[:-2]}/x", f"{MACHINE}0"])
async def test_what_is_no_machine_id_is_not_certified(world: World, machine: str) -> None:
    world.token = world.make(b"w", role="worker")
    status, told = await world.ask(world.asked(new_key(), role="worker", machine=machine))
    assert (status, "machine id" in told["message"]) == (400, True)


async def test_the_machine_id_of_a_running_host_is_not_given_away(world: World) -> None:
    world.token = world.make(b"w", role="worker")
    world.place.running.add(MACHINE)
    status, told = await world.ask(world.asked(new_key(), role="worker", machine=MACHINE))
    assert (status, "is running" in told["message"]) == (400, True)
