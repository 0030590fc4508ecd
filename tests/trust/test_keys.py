"""Key files: private, sealed, and refused when they are not."""

import stat
from pathlib import Path

import msgspec
import pytest

from core.trust import keys
from core.trust.errors import PassphraseError, TrustError


def test_there_and_back(tmp_path: Path) -> None:
    signer = keys.generate()
    for name, secret in (("open", None), ("sealed", b"correct horse")):
        path = tmp_path / f"{name}.key"
        keys.write(path, signer, secret)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        again = keys.open_key(path, secret)
        signer.public_key.verify_signature(again.sign(b"text"), b"text")
    found = keys.find(tmp_path)
    assert [(key.path.name, key.sealed) for key in found] == [("open.key", False), ("sealed.key", True)]
    assert {key.public.keyid for key in found} == {signer.public_key.keyid}


def test_a_sealed_key_stays_closed(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    signer = keys.generate()
    keys.write(path, signer, b"right")
    for wrong in (None, b"wrong"):
        with pytest.raises(PassphraseError, match="passphrase"):
            keys.open_key(path, wrong)
    with pytest.raises(FileExistsError):
        keys.write(path, signer, b"right")
    assert b"private" not in path.read_bytes()
    keys.write(tmp_path / "b.key", signer, b"right")
    assert path.read_bytes() != (tmp_path / "b.key").read_bytes()


def test_a_key_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    keys.write(path, keys.generate(), None)
    path.chmod(0o640)
    with pytest.raises(TrustError, match=r"other users can read .*chmod 600"):
        keys.find(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": 2}, "format 2"),
        ({"private": b"short"}, "no Ed25519 key"),
        ({"public": "00" * 32}, "do not belong together"),
        ({"more": 1}, "no key file"),
    ],
)
def test_damaged(tmp_path: Path, change: dict[str, object], words: str) -> None:
    path = tmp_path / "a.key"
    keys.write(path, keys.generate(), None)
    held = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode(held | change))
    with pytest.raises(TrustError, match=words):
        keys.open_key(path, None)


def test_a_file_may_not_cost_more_than_ours(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    keys.write(path, keys.generate(), b"secret")
    held = msgspec.json.decode(path.read_bytes())
    held["sealed"]["n"] = 1 << 30
    path.write_bytes(msgspec.json.encode(held))
    with pytest.raises(TrustError, match="another strength"):
        keys.open_key(path, b"secret")
