"""Certificates renewed by a member that has the issuing key: for whom, when, and never for more than before."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate, load_pem_x509_certificate

from core.api.access.reserve import RELAYED
from core.api.http.message import Caller
from core.api.ops.renewing import MOST_BYTES, PATH, RenewHandler
from core.kv.commands import HostBind, Revoke
from core.kv.revocations import command_for
from core.tls.authority import Authority, create
from core.tls.certificates import Key, new_key, shown_names
from core.tls.enrolment import check_issued, key_digest
from core.tls.enrolment import request as certificate_request
from core.tls.identity import Role, identity_of
from tests.auth.test_joining import Awaited, Place, Store
from tests.auth.test_joining import World as JoiningWorld
from tests.v2.fakes import request

MACHINE = "0123456789abcdef" * 2
LATER = timedelta(days=70)


class RenewingPlace(Place):
    """With what was revoked."""

    def revoked(self) -> list[int]:
        return self._store.records.keyspace.revoked()


class World:
    """A member with the authority, and keys of hosts."""

    def __init__(self, home: Path) -> None:
        joining = JoiningWorld(home)
        self.store: Store = joining.store
        self.signing = joining.signing
        self.place = RenewingPlace(self.store, home / "ca")
        self.authority = Authority.open(home / "ca")
        self.now = datetime.now(UTC) + LATER
        self.handler = RenewHandler(self.store, self.place, self.signing, self._seconds)
        self.key, self.server_key = new_key(), new_key()
        self.host = self.issued(Role.HOST, MACHINE, self.key)
        self.server = self.issued(Role.SERVER, "two", self.server_key, "10.0.0.2", "localhost")

    def _seconds(self) -> float:
        return self.now.timestamp()

    def issued(self, role: Role, name: str, key: Key, *names: str) -> Certificate:
        return load_pem_x509_certificate(self.authority.sign(key.public_key(), role, name, names))

    async def ask(
        self,
        certificate: Certificate | str,
        key: Key,
        shown: Certificate | None = None,
        **other: Any,
    ) -> tuple[int, Any]:
        reply = Awaited()
        text = certificate if isinstance(certificate, str) else certificate.public_bytes(Encoding.PEM).decode()
        body = other.pop("body", msgspec.json.encode({"certificate": text, "request": certificate_request(key)}))
        caller = Caller("10.0.0.2:4711", certificate=(shown or self.host).public_bytes(Encoding.DER))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.signing.run)
            self.handler(request(b"POST", PATH, body=body, **{"caller": caller, **other}), reply)
            with trio.fail_after(5):
                await reply.answered.wait()
            nursery.cancel_scope.cancel()
        return reply.sent.status, msgspec.json.decode(reply.sent.body)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_host_gets_the_same_certificates_anew(world: World) -> None:
    for old, key in ((world.host, world.key), (world.server, world.server_key)):
        status, told = await world.ask(old, key)
        assert status == 200, told
        check_issued(told["certificate"], key)
        new = load_pem_x509_certificate(told["certificate"].encode())
        assert new.serial_number != old.serial_number
        assert new.public_key() == old.public_key()
        assert (identity_of(new).role, identity_of(new).name) == (identity_of(old).role, identity_of(old).name)
        assert shown_names(new) == shown_names(old)
        assert new.not_valid_after_utc - new.not_valid_before_utc == old.not_valid_after_utc - old.not_valid_before_utc
        assert new.not_valid_after_utc >= old.not_valid_after_utc


async def test_asking_again_makes_no_other_certificate(world: World, tmp_path: Path) -> None:
    first = await world.ask(world.host, world.key)
    made = list((tmp_path / "ca" / "issued").iterdir())
    assert [await world.ask(world.host, world.key) for _ in range(3)] == [first] * 3
    assert list((tmp_path / "ca" / "issued").iterdir()) == made


async def test_a_member_gets_its_own_until_it_is_removed(world: World) -> None:
    own = world.issued(Role.PEER, "one", world.key, "10.0.0.1")
    assert (await world.ask(own, world.key, own))[0] == 200
    world.store.members.clear()
    assert (await world.ask(own, world.key, own))[0] == 403


async def test_not_before_its_time_and_not_after_its_end(world: World) -> None:
    world.now = datetime.now(UTC) + timedelta(days=50)
    status, told = await world.ask(world.host, world.key)
    assert (status, "not before" in told["message"]) == (409, True)
    world.now = datetime.now(UTC) + timedelta(days=91)
    status, told = await world.ask(world.host, world.key)
    assert (status, "has expired" in told["message"]) == (403, True)


async def test_a_key_that_was_revoked_once_gets_nothing_more(world: World) -> None:
    newer = world.issued(Role.HOST, MACHINE, world.key)
    command = command_for(world.host.serial_number)
    assert isinstance(command, Revoke)
    world.store.records.do(command)
    for certificate in (world.host, newer):
        status, told = await world.ask(certificate, world.key, newer)
        assert (status, "revoked" in told["message"]) == (403, True)


async def test_what_is_another_hosts_is_not_renewed(world: World) -> None:
    other = new_key()
    theirs = world.issued(Role.HOST, "f" * 32, other)
    assert (await world.ask(theirs, other))[0] == 403  # even with its key: each renews its own
    assert (await world.ask(world.host, other))[0] == 400  # without the key
    assert (await world.ask(world.server, world.key))[0] == 400
    for role in (Role.ADMIN, Role.OPERATOR, Role.READER, Role.CLIENT):
        assert (await world.ask(world.issued(role, MACHINE, world.key), world.key))[0] == 403
    world.store.records.do(HostBind(MACHINE, key_digest(other.public_key()), ()))
    assert (await world.ask(world.host, world.key))[0] == 403


async def test_whoever_is_no_node_asks_in_vain(world: World, tmp_path: Path) -> None:
    for role in (Role.ADMIN, Role.READER, Role.CLIENT, Role.SERVER):
        assert (await world.ask(world.host, world.key, world.issued(role, "two", world.key)))[0] == 403
    assert (await world.ask(world.host, world.key, headers=((RELAYED, b"1"),)))[0] == 403
    assert (await world.ask(world.host, world.key, caller=Caller("unix", local=True)))[0] == 403
    create(tmp_path / "foreign", "another")
    foreign = Authority.open(tmp_path / "foreign").sign(world.key.public_key(), Role.HOST, MACHINE, ())
    status, told = await world.ask(load_pem_x509_certificate(foreign), world.key)
    assert (status, "not made by this cluster" in told["message"]) == (403, True)


async def test_bad_requests_and_members_without_the_key(world: World) -> None:
    for body in (b"", b"[]", b"\xff", b"{}", b"[" * 9999, b'{"certificate":"x","request":"y"}'):
        assert (await world.ask(world.host, world.key, body=body))[0] == 400
    assert (await world.ask(world.host, world.key, body=b"x" * (MOST_BYTES + 1)))[0] == 413
    world.place.authority = None
    status, told = await world.ask(world.host, world.key)
    assert (status, told["ask"]) == (421, ["https://10.0.0.1:2379"])
    world.store.leaderless = True
    assert (await world.ask(world.host, world.key))[0] == 503
