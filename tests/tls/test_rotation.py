"""A new root takes over: judged by OpenSSL's own program, by the disk, and by what must be refused."""

import fcntl
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from core.tls import certificates, rotation
from core.tls.authority import (
    Authority,
    AuthorityError,
    Pair,
    PassphraseError,
    create,
    load_chain,
    pem,
    private_pem,
    renew_issuing,
)
from core.tls.identity import Role, identity_of
from core.tls.rotation import Rotation, begin, finish, outstanding, under_way
from core.tls.shown import describe
from tests.tls.cut_short import verifies

ROOT = Path(__file__).parents[2]


class Shop:
    """An authority in `ca`, copies of its bundle by name, and certificates."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.ca = home / "ca"
        create(self.ca, "test authority")
        self.copy("old")

    def copy(self, name: str) -> Path:
        """Keep what ca.crt holds now as `NAME.crt`."""
        (self.home / f"{name}.crt").write_bytes((self.ca / "ca.crt").read_bytes())
        return self.home / f"{name}.crt"

    def begin(self) -> Rotation:
        """And keep both roots, and the new one alone."""
        assert begin(self.ca)
        self.copy("both")
        found = under_way(self.ca)
        assert found is not None
        (self.home / "new.crt").write_bytes(found.new.public_bytes(Encoding.PEM))
        return found

    def issue(self, name: str, role: Role = Role.CLIENT, life: timedelta = timedelta(days=1)) -> Pair:
        names = ["127.0.0.1"] if role.serves else []
        return Authority.open(self.ca).issue(role, name, names, self.home / "certs", life)

    def good_for(self, pair: Pair) -> str:
        """Whose trust verifies it, in OpenSSL's judgement."""
        trusts = ("old", "both", "new")
        return " ".join(name for name in trusts if verifies(self.home / f"{name}.crt", pair.certificate))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_who_verifies_what_in_each_state(shop: Shop) -> None:
    before = {role: shop.issue(f"before-{role}", role) for role in Role}
    shop.begin()
    for role, pair in before.items():
        assert shop.good_for(pair) == "old both"
        assert shop.good_for(shop.issue(f"between-{role}", role)) == "old both new"
    renew_issuing(shop.ca)
    renewed = before[Role.SERVER]
    Authority.open(shop.ca).renew(renewed.certificate)
    assert shop.good_for(renewed) == "old both new"
    assert shop.good_for(shop.issue("after-renewal", Role.PEER)) == "old both new"
    finish(shop.ca)
    assert shop.good_for(renewed) == "old both new"
    assert shop.good_for(shop.issue("after")) == "both new"
    Authority.open(shop.ca).renew(renewed.certificate)
    assert shop.good_for(renewed) == "both new"
    assert load_chain(shop.ca / "ca.crt") == load_chain(shop.home / "new.crt")


def test_roots_and_issuing_authorities_have_names_and_keys_of_their_own(shop: Shop) -> None:
    old_keys = {(shop.ca / name).read_bytes() for name in ("ca.key", "issuing.key")}
    found = shop.begin()
    names = [identity_of(each).name for each in (found.old, found.former, found.new, found.issuing)]
    assert names == ["test authority", "test authority issuing", "test authority 2", "test authority 2 issuing"]
    assert load_chain(shop.ca / "ca.crt") == [found.new, found.old]
    for name in ("ca.key", "issuing.key"):
        assert (shop.ca / name).read_bytes() not in old_keys
        assert stat.S_IMODE((shop.ca / name).stat().st_mode) == 0o600
    finish(shop.ca)
    assert identity_of(shop.begin().new).name == "test authority 3"


def test_a_second_beginning_changes_nothing_and_a_second_end_is_refused(shop: Shop) -> None:
    with pytest.raises(AuthorityError, match="no rotation is under way"):
        finish(shop.ca)
    shop.begin()
    files = {path: path.read_bytes() for path in shop.ca.iterdir() if path.is_file()}
    assert not begin(shop.ca)
    assert files == {path: path.read_bytes() for path in shop.ca.iterdir() if path.is_file()}
    finish(shop.ca)
    assert under_way(shop.ca) is None
    with pytest.raises(AuthorityError, match="no rotation is under way"):
        finish(shop.ca)


def test_certificates_of_the_old_root_are_renewed_until_the_end_and_not_after(shop: Shop) -> None:
    first, second = shop.issue("first"), shop.issue("second")
    shop.begin()
    Authority.open(shop.ca).renew(first.certificate)
    finish(shop.ca)
    Authority.open(shop.ca).renew(first.certificate)
    with pytest.raises(AuthorityError, match="under a root that is gone"):
        Authority.open(shop.ca).renew(second.certificate)


def test_what_is_still_outstanding(shop: Shop) -> None:
    for name in ("renewed", "lost", "revoked", "renewed-on-its-node"):
        shop.issue(name)
    shop.issue("expired", life=timedelta(0))
    twice = shop.issue("twice")
    Authority.open(shop.ca).renew(twice.certificate)
    serial = load_chain(shop.home / "certs" / "revoked.crt")[0].serial_number
    key = certificates.key_id(load_chain(shop.home / "certs" / "renewed-on-its-node.crt")[0])
    found = shop.begin()
    Authority.open(shop.ca).renew(shop.home / "certs" / "renewed.crt")
    shop.issue("new")
    left = outstanding(shop.ca, found, {key}, {serial})
    assert [identity_of(each).name for each in left] == ["lost", "twice"]
    assert left[1].public_key() == load_chain(twice.certificate)[0].public_key()
    assert len(outstanding(shop.ca, found)) == 4
    assert {found.side(each) for each in left} == {"old"}
    assert found.side(load_chain(shop.home / "certs" / "new.crt")[0]) == "new"


@pytest.mark.parametrize(
    ("trust", "renewed", "cut_off"),
    [
        ("old", False, (True, True)),
        ("old", True, (True, False)),
        ("both", False, (False, True)),
        ("both", True, (False, False)),
        ("new", True, (False, False)),
        ("", False, (False, True)),
    ],
)
def test_which_nodes_would_be_cut_off(shop: Shop, trust: str, renewed: bool, cut_off: tuple[bool, bool]) -> None:
    pair = shop.issue("node", Role.SERVER)
    found = shop.begin()
    if renewed:
        Authority.open(shop.ca).renew(pair.certificate)
    shown = describe(pair.certificate, shop.home / f"{trust}.crt" if trust else None)
    assert shown is not None
    assert (rotation.trusts_only_old(shown, found), rotation.chains_only_to_old(shown, found)) == cut_off


def test_a_node_of_another_authority_is_not_touched(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Shop(tmp_path / "other")
    found = shop.begin()
    shown = describe(other.issue("stranger", Role.SERVER).certificate, other.ca / "ca.crt")
    assert shown is not None
    assert not rotation.trusts_only_old(shown, found)
    assert not rotation.chains_only_to_old(shown, found)


def test_what_openssl_would_not_show_either_is_left_out(shop: Shop) -> None:
    pair = shop.issue("node", Role.SERVER)
    broken = b"-----BEGIN CERTIFICATE-----\nbm90aGluZw==\n-----END CERTIFICATE-----\n"
    bundle = shop.home / "bundle.crt"
    bundle.write_bytes(broken + (shop.ca / "ca.crt").read_bytes())
    shown = describe(pair.certificate, bundle)
    assert shown is not None
    assert [root.name for root in shown.trusted] == ["test authority"]
    assert describe(shop.ca / "ca.key", None) is None


def test_the_passphrase_goes_over_to_the_new_key(tmp_path: Path) -> None:
    create(tmp_path / "ca", "test authority", b"correct horse")
    for wrong in (None, b"wrong"):
        with pytest.raises(PassphraseError):
            begin(tmp_path / "ca", wrong)
    assert under_way(tmp_path / "ca") is None
    assert begin(tmp_path / "ca", b"correct horse")
    assert b"ENCRYPTED" in (tmp_path / "ca" / "ca.key").read_bytes()
    renew_issuing(tmp_path / "ca", b"correct horse")


def test_a_root_that_has_expired_or_is_another_ones_is_refused(shop: Shop, tmp_path: Path) -> None:
    kept = (shop.ca / "ca.key").read_bytes()
    key = certificates.new_key()
    (shop.ca / "ca.key").write_bytes(private_pem(key, None))
    with pytest.raises(AuthorityError, match=r"ca\.key does not belong to"):
        begin(shop.ca)
    expired = certificates.root(key, "test authority", timedelta(0))
    (shop.ca / "ca.crt").write_bytes(expired.public_bytes(Encoding.PEM))
    with pytest.raises(AuthorityError, match=r"expired on .* `ca init`"):
        begin(shop.ca)
    (shop.ca / "ca.key").write_bytes(kept)
    assert sorted(path.name for path in shop.ca.iterdir()) == [
        "ca.crt",
        "ca.key",
        "issued",
        "issuing.crt",
        "issuing.key",
    ]


def test_the_old_root_never_takes_the_place_of_the_new_one(shop: Shop) -> None:
    found = shop.begin()
    (shop.ca / "ca.crt").write_bytes(pem(found.old, found.new))
    finish(shop.ca)
    assert load_chain(shop.ca / "ca.crt") == [found.new]


@pytest.mark.parametrize("damaged", ["ca.crt", "former.crt"])
def test_files_that_do_not_belong_together_are_refused(shop: Shop, damaged: str) -> None:
    found = shop.begin()
    (shop.ca / damaged).write_bytes(pem(found.former if damaged == "former.crt" else found.old))
    with pytest.raises(AuthorityError, match="do not belong together; restore them"):
        finish(shop.ca)


@pytest.mark.parametrize("change", [begin, finish, renew_issuing])
def test_only_one_at_a_time(shop: Shop, change: Callable[[Path], object]) -> None:
    handle = os.open(shop.ca, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        with pytest.raises(AuthorityError, match="another command changes the authority"):
            change(shop.ca)
    finally:
        os.close(handle)


def test_killed_anywhere_it_can_be_run_again(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    (tmp_path / "begin").mkdir()
    Shop(tmp_path / "begin").issue("before")
    command = [sys.executable, "-m", "tests.tls.cut_short", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    beginning, end = map(int, done.stdout.split())
    assert beginning > 20
    assert end > 5
    record_property("checked", f"rotations killed at {beginning} places while they began and {end} while they ended")
