"""Machine ids belong to the key that had them first, until an operator lets go of them."""

from pathlib import Path

from core.kv.commands import HostBind, HostForget
from core.kv.errors import HostTakenError, LimitError
from core.kv.outcomes import HostDone
from core.tls.certificates import new_key
from tests.auth.support import Records, certificate
from tests.auth.test_joining import World as JoiningWorld
from tests.v3.test_reserved import HOST, MACHINE, PRESENCE, World, shown

A, B = b"a" * 32, b"b" * 32


def test_the_first_key_has_it_until_an_operator_says_otherwise() -> None:
    records = Records()
    assert isinstance(records.do(HostBind(MACHINE, A, ("10.0.0.1",))), HostDone)
    assert isinstance(records.do(HostBind(MACHINE, B, ())), HostTakenError)
    assert isinstance(records.do(HostBind(MACHINE, A, ("10.0.0.2",))), HostDone)
    held = records.keyspace.access.holder(MACHINE)
    assert held is not None
    assert (held.key, held.addresses) == (A, ("10.0.0.2",))
    assert isinstance(records.do(HostForget(MACHINE)), HostDone)
    assert isinstance(records.do(HostForget(MACHINE)), HostDone)
    assert isinstance(records.do(HostBind(MACHINE, B, ())), HostDone)


def test_what_is_no_binding_is_refused_and_one_of_a_member_that_is_gone_is_none() -> None:
    records = Records()
    for bad in (HostBind("x", A, ()), HostBind(MACHINE, b"", ()), HostBind(MACHINE, A, ("x",) * 9)):
        assert isinstance(records.do(bad), LimitError)
    assert isinstance(records.do(HostBind(MACHINE, b"", (), 7)), HostDone)
    assert records.keyspace.access.holder(MACHINE) is None
    assert isinstance(records.do(HostBind(MACHINE, A, ())), HostDone)


async def test_a_token_does_not_take_the_id_of_a_host_that_is_away(tmp_path: Path) -> None:
    world = JoiningWorld(tmp_path)
    world.token = world.make(b"w", uses=3, role="worker")
    key, other = new_key(), new_key()
    worker = {"role": "worker", "machine": MACHINE, "peer_urls": []}
    assert (await world.ask(world.asked(key, **worker)))[0] == 200
    assert (await world.ask(world.asked(key, **worker)))[0] == 200
    status, told = await world.ask(world.asked(other, **worker))
    assert status == 409
    assert "machine forget" in str(told)
    world.store.records.do(HostForget(MACHINE))
    assert (await world.ask(world.asked(other, **worker)))[0] == 200


def test_another_certificate_of_the_same_id_opens_nothing() -> None:
    world = World()
    body = {"key": PRESENCE, "value": b"here"}
    assert world.status(HOST, "kv/put", body) == 200
    certificate.cache_clear()
    thief = shown(MACHINE, "corenode:host")
    assert thief.certificate != HOST.certificate
    assert world.status(thief, "kv/put", body) == 403
    assert world.names(thief, PRESENCE) == []
    assert world.status(HOST, "kv/put", body) == 200
    world.do(HostForget(MACHINE))
    assert world.status(thief, "kv/put", body) == 200
