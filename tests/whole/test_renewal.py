"""Hosts that joined by a token renew their certificates without the issuing key, while they serve."""

from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509

from core.tls import certificates
from core.tls.authority import Authority, load_chain, signed_by
from core.tls.certificates import shown_names
from core.tls.identity import identity_of
from tests.whole.test_join import Machine, World

pytestmark = pytest.mark.slow
AGE = timedelta(days=80)
PATIENCE = 90.0


class Earlier(datetime):
    """The clock of somebody who issues certificates, some time ago."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Earlier":
        return super().now(tz) - AGE


def aged(authority: Authority, files: list[Path], monkeypatch: pytest.MonkeyPatch) -> dict[Path, x509.Certificate]:
    """Put certificates in place that are as these, but of AGE."""
    monkeypatch.setattr(certificates, "datetime", Earlier)
    return {file: authority.renew(file, certificates.LEAF_LIFE) for file in files}


def test_token_joined_hosts_renew_by_a_member_with_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with World(tmp_path) as world:
        world.found("--client-cert-auth")
        member, worker = world.machine("two"), world.machine("three")
        for machine, role in ((member, "member"), (worker, "worker")):
            joined = world.join(machine, world.token("--role", role), "--role", role)
            assert joined.returncode == 0, joined.stderr
        authority = Authority.open(world.first.data / "authority")
        files = [file for machine in (member, worker) for file in sorted((machine.data / "tls").glob("*.crt"))]
        old = aged(authority, [file for file in files if file.name != "ca.crt"], monkeypatch)
        assert len(old) == 4
        member.up("--data-dir", "data")
        worker.up("--data-dir", "data")
        world.until(lambda: all(new(file, certificate) for file, certificate in old.items()), PATIENCE)
        for file, before in old.items():
            found = load_chain(file)[0]
            assert found.public_key() == before.public_key()
            assert (identity_of(found).role, identity_of(found).name) == (
                identity_of(before).role,
                identity_of(before).name,
            )
            assert shown_names(found) == shown_names(before)
            assert found.not_valid_after_utc - before.not_valid_after_utc > timedelta(days=70)
        # Without a restart they are what is shown, to clients and to members.
        for machine in (member, worker):
            serial = load_chain(machine.data / "tls" / "server.crt")[0].serial_number
            world.until(partial(shows, machine, serial), PATIENCE)
        world.until(lambda: member.roles() == {"one": "leader", "two": "voter"}, PATIENCE)
        assert all(machine.log().count("own certificate renewed") == 2 for machine in (member, worker))


def test_a_host_without_the_key_follows_when_a_new_root_takes_over(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.found("--client-cert-auth")
        worker = world.machine("two")
        joined = world.join(worker, world.token("--role", "worker"), "--role", "worker")
        assert joined.returncode == 0, joined.stderr
        worker.up("--data-dir", "data")
        tls = worker.data / "tls"
        old = {file: load_chain(file)[0] for file in (tls / "host.crt", tls / "server.crt")}
        world.first.do("ca", "rotate", "--dir", "data/authority")
        (tls / "ca.crt").write_bytes((world.first.data / "authority" / "ca.crt").read_bytes())
        world.until(lambda: all(new(file, certificate) for file, certificate in old.items()), PATIENCE)
        issuing = load_chain(world.first.data / "authority" / "issuing.crt")[0]
        assert all(signed_by(load_chain(file)[0], issuing) for file in old)


def new(file: Path, before: x509.Certificate) -> bool:
    return load_chain(file)[0].serial_number != before.serial_number


def shows(machine: Machine, serial: int) -> bool:
    """Whether a node shows that certificate to clients now, as its status tells."""
    return f'"{serial:x}"' in machine.run("status", "-o", "json").stdout
