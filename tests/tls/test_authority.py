"""The authority, judged by OpenSSL's own program and by what is on the disk."""

import os
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from core.tls import TlsFilesError, files
from core.tls.authority import Authority, AuthorityError, Pair, PassphraseError, create, load_chain, renew_issuing
from core.tls.certificates import CLOCK_SKEW
from core.tls.identity import Role, identity_of

HOUR = timedelta(hours=1)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    create(tmp_path / "ca", "test authority")
    return tmp_path / "ca"


def issue(directory: Path, role: Role, name: str = "one", life: timedelta = HOUR) -> Pair:
    """A certificate in `certs` beside the authority."""
    names = ["127.0.0.1", "::1", "node.example.org"] if role.serves else []
    return Authority.open(directory).issue(role, name, names, directory.parent / "certs", life)


def verify(directory: Path, certificate: Path, *options: str) -> tuple[bool, str]:
    """What `openssl verify` says of a chain."""
    command = ["openssl", "verify", "-x509_strict", "-CAfile", str(directory / "ca.crt"), *options]
    done = subprocess.run([*command, "-untrusted", str(certificate), str(certificate)], capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("role", list(Role))
def test_openssl_takes_each_role_for_its_own_use_only(directory: Path, role: Role) -> None:
    pair = issue(directory, role)
    assert verify(directory, pair.certificate)[0]
    assert verify(directory, pair.certificate, "-purpose", "sslserver")[0] is role.serves
    assert verify(directory, pair.certificate, "-purpose", "sslclient")[0] is (role is not Role.SERVER)
    identity = identity_of(load_chain(pair.certificate)[0])
    assert (identity.name, identity.role) == ("one", role)


def test_openssl_finds_the_names_and_no_other(directory: Path) -> None:
    certificate = issue(directory, Role.SERVER).certificate
    assert verify(directory, certificate, "-verify_ip", "127.0.0.1")[0]
    assert verify(directory, certificate, "-verify_hostname", "node.example.org")[0]
    assert "mismatch" in verify(directory, certificate, "-verify_ip", "127.0.0.2")[1]
    assert "mismatch" in verify(directory, certificate, "-verify_hostname", "example.org")[1]


def test_clocks_may_be_an_hour_apart(directory: Path) -> None:
    certificate = issue(directory, Role.SERVER, life=2 * HOUR).certificate
    now = datetime.now(UTC)
    for hours, good in ((-1, True), (1, True), (3, False)):
        moment = str(int((now + hours * HOUR).timestamp()))
        assert verify(directory, certificate, "-attime", moment)[0] is good


def test_keys_are_private_from_the_first_byte_and_certificates_are_public(directory: Path) -> None:
    before = os.umask(0)
    try:
        pair = issue(directory, Role.CLIENT)
    finally:
        os.umask(before)
    for path, mode in (
        (directory / "ca.key", 0o600),
        (directory / "issuing.key", 0o600),
        (directory / "ca.crt", 0o644),
        (pair.key, 0o600),
        (pair.certificate, 0o644),
    ):
        assert stat.S_IMODE(path.stat().st_mode) == mode


def test_serials_are_long_and_differ(directory: Path) -> None:
    serials = {load_chain(issue(directory, Role.CLIENT, f"c{n}").certificate)[0].serial_number for n in range(50)}
    assert len(serials) == 50
    assert max(serials) < 1 << 159
    assert max(serials) >= 1 << 150


def test_nothing_is_overwritten(directory: Path) -> None:
    with pytest.raises(AuthorityError, match="not empty"):
        create(directory, "another")
    pair = issue(directory, Role.CLIENT)
    kept = pair.certificate.read_bytes()
    with pytest.raises(AuthorityError, match=r"one\.crt exists already"):
        issue(directory, Role.CLIENT)
    pair.certificate.unlink()
    with pytest.raises(AuthorityError, match=r"one\.key exists already"):
        issue(directory, Role.CLIENT)
    pair.certificate.write_bytes(kept)
    assert verify(directory, pair.certificate)[0]


@pytest.mark.parametrize("step", range(4))
def test_an_authority_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    written: list[Path] = []
    real = files.write_new

    def failing(path: Path, data: bytes, mode: int) -> None:
        if len(written) == step:
            raise OSError(28, "No space left on device", str(path))
        written.append(path)
        real(path, data, mode)

    monkeypatch.setattr(files, "write_new", failing)
    with pytest.raises(OSError, match="No space"):
        create(tmp_path / "ca", "cut short")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_could_not_be_written_leaves_the_old_one(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = issue(directory, Role.CLIENT)
    before = pair.certificate.read_bytes()

    def refuse(_: int) -> None:
        raise OSError(5, "Input/output error")

    authority = Authority.open(directory)
    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Input/output"):
        authority.renew(pair.certificate)
    assert pair.certificate.read_bytes() == before
    assert sorted(path.name for path in pair.certificate.parent.iterdir()) == ["one.crt", "one.key"]


@pytest.mark.parametrize("life", [timedelta(days=90), 3 * HOUR, HOUR, timedelta(seconds=30)])
def test_renewing_keeps_key_names_role_and_life(directory: Path, life: timedelta) -> None:
    pair = issue(directory, Role.PEER, life=life)
    old = load_chain(pair.certificate)[0]
    Authority.open(directory).renew(pair.certificate)
    Authority.open(directory).renew(pair.certificate)
    new, issuer = load_chain(pair.certificate)
    assert new.serial_number != old.serial_number
    assert new.public_key() == old.public_key()
    assert new.subject == old.subject
    names = x509.SubjectAlternativeName
    assert new.extensions.get_extension_for_class(names) == old.extensions.get_extension_for_class(names)
    length = new.not_valid_after_utc - new.not_valid_before_utc
    assert length == old.not_valid_after_utc - old.not_valid_before_utc == life + min(life, CLOCK_SKEW)
    assert issuer == Authority.open(directory).certificate
    assert verify(directory, pair.certificate)[0]


def test_a_strangers_certificate_is_not_renewed(directory: Path, tmp_path: Path) -> None:
    create(tmp_path / "other" / "ca", "test authority")
    pair = issue(tmp_path / "other" / "ca", Role.CLIENT)
    with pytest.raises(AuthorityError, match="was not made by the authority"):
        Authority.open(directory).renew(pair.certificate)
    with pytest.raises(AuthorityError, match="was not made by the authority"):
        Authority.open(directory).renew(directory / "issuing.crt")


def test_a_passphrase_protects_the_root_alone(tmp_path: Path) -> None:
    create(tmp_path / "ca", "test authority", b"correct horse")
    pair = issue(tmp_path / "ca", Role.CLIENT)
    assert b"ENCRYPTED" in (tmp_path / "ca" / "ca.key").read_bytes()
    for wrong in (None, b"wrong"):
        with pytest.raises(PassphraseError):
            renew_issuing(tmp_path / "ca", wrong)
    old = load_chain(tmp_path / "ca" / "issuing.crt")[0]
    new = renew_issuing(tmp_path / "ca", b"correct horse")
    assert new.serial_number != old.serial_number
    assert verify(tmp_path / "ca", pair.certificate)[0]  # what was issued before stays good
    Authority.open(tmp_path / "ca").renew(pair.certificate)
    assert verify(tmp_path / "ca", pair.certificate)[0]


def test_no_certificate_outlives_its_issuer(directory: Path) -> None:
    pair = issue(directory, Role.CLIENT, life=timedelta(days=5000))
    chain = load_chain(pair.certificate)
    assert chain[0].not_valid_after_utc == chain[1].not_valid_after_utc


@pytest.mark.parametrize("names", [["a b"], ["256.1.1.1/8"], ["-x"], ["x..y"], ["é.example"], ["a" * 254], [""]])
def test_a_bad_name_is_refused(directory: Path, names: list[str]) -> None:
    with pytest.raises(AuthorityError, match="neither an address nor a host name"):
        Authority.open(directory).issue(Role.SERVER, "one", names, directory.parent / "certs")
    assert not (directory.parent / "certs").exists()


def test_a_server_without_a_name_is_refused(directory: Path) -> None:
    with pytest.raises(AuthorityError, match="--san"):
        Authority.open(directory).issue(Role.SERVER, "one", [], directory.parent / "certs")


def test_a_key_others_can_read_is_refused_by_name(directory: Path) -> None:
    (directory / "issuing.key").chmod(0o644)
    with pytest.raises(TlsFilesError, match=r"issuing\.key: other users"):
        Authority.open(directory)


def test_damaged_files_are_named(directory: Path) -> None:
    for name, why in (("issuing.key", "no PEM private key"), ("issuing.crt", "no PEM certificate")):
        (directory / name).write_text("nothing")
        with pytest.raises((AuthorityError, TlsFilesError), match=f"{name}: {why}"):
            Authority.open(directory)
