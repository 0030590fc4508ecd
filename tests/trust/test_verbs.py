"""`corenode image trust`, `sign`, `publish` and `verify`, on real files."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.cli.programs import Host
from tests.trust.makers import manifest

Done = subprocess.CompletedProcess[bytes]


class Desk:
    """Where people sign."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._host = Host(home)

    def run(self, *words: str) -> Done:
        return self._host.run("image", *words)

    def good(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 0, done.stderr
        return done.stderr.decode()

    def bad(self, *words: str) -> str:
        done = self.run(*words)
        assert done.returncode == 1, (done.stdout, done.stderr)
        assert b"Traceback" not in done.stderr
        return done.stderr.decode()

    def image(self, version: str) -> None:
        chunks = self.home / "image" / "chunks" / "ab"
        chunks.mkdir(parents=True, exist_ok=True)
        (chunks / f"ab{'0' * 62}.zst").write_bytes(b"chunk")
        (self.home / "image" / "manifest.json").write_bytes(manifest(version))

    def keyid(self, role: str) -> str:
        shown = msgspec.json.decode(self.run("trust", "status", "repo", "-o", "json").stdout)
        keyid: str = next(each["keys"][0] for each in shown["roles"] if each["role"] == role)
        return keyid


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.good("trust", "init", "repo", "--keys", "keys", "--online", "online", "--no-passphrase",
              "--targets-threshold", "2")  # fmt: skip
    desk.image("1.0.0")
    return desk


def test_a_release_from_two_signers(desk: Desk) -> None:
    other = desk.home / "other"
    other.mkdir()
    first = next((desk.home / "keys").glob("targets-*.key"))
    first.rename(other / first.name)
    assert "not signed" in desk.bad("publish", "image", "repo", "--online", "online")
    assert "1 of 2 signatures by version 1 of the root, 1 missing" in desk.good(
        "sign", "image", "--repo", "repo", "--keys", "keys"
    )
    assert "1 missing" in desk.bad("publish", "image", "repo", "--online", "online")
    assert not (desk.home / "repo" / "chunks").exists()
    assert "2 of 2" in desk.good("sign", "image", "--repo", "repo", "--keys", "other")
    assert "with 1 chunks" in desk.good("publish", "image", "repo", "--online", "online")
    desk.good("trust", "root", "repo", "--out", "root.json")
    assert "os/1.0.0/x86_64/manifest.json is signed" in desk.good(
        "verify", "repo", "os", "1.0.0", "--root", "root.json"
    )
    assert "no signed release 2" in desk.bad("verify", "repo", "os", "2", "--root", "root.json")
    desk.image("1.1.0")
    assert "another content" in desk.bad("publish", "image", "repo", "--online", "online")


def test_all_keys_change(desk: Desk) -> None:
    (desk.home / "root.json").write_bytes((desk.home / "repo" / "metadata" / "1.root.json").read_bytes())
    for role, keys in (("root", "keys"), ("targets", "keys"), ("snapshot", "online"), ("timestamp", "online")):
        desk.good("trust", "rotate", "repo", role, "--keys", keys, "--add", "1", "--retire", desk.keyid(role)[:12],
                  "--no-passphrase")  # fmt: skip
    assert "missing" in desk.bad("trust", "publish", "repo", "--online", "online")
    said = desk.good("trust", "sign", "repo", "--keys", "keys")
    assert "root: 3 of 2 signatures by version 2" in said
    assert "version 2 of the root" in desk.good("trust", "publish", "repo", "--online", "online")
    desk.good("sign", "image", "--repo", "repo", "--keys", "keys")
    desk.good("publish", "image", "repo", "--online", "online")
    desk.good("verify", "repo", "os", "1.0.0", "--root", "root.json")
    assert "good until" in desk.good("trust", "refresh", "repo", "--online", "online")
    desk.good("trust", "renew", "repo")
    assert "targets: 2 of 2" in desk.good("trust", "sign", "repo", "--keys", "keys")
    desk.good("trust", "publish", "repo", "--online", "online")


def test_words_for_what_goes_wrong(desk: Desk) -> None:
    assert "is a repository already" in desk.bad(
        "trust", "init", "repo", "--keys", "k", "--online", "o", "--no-passphrase"
    )
    assert "can never be reached" in desk.bad(
        "trust", "init", "new", "--keys", "k", "--online", "o", "--no-passphrase", "--root-threshold", "9"
    )
    assert "No key in online may sign" in desk.bad("sign", "image", "--repo", "repo", "--keys", "online")
    assert "Nothing waits" in desk.bad("trust", "sign", "repo", "--keys", "keys")
    assert "0 keys of this role begin" in desk.bad(
        "trust", "rotate", "repo", "root", "--keys", "keys", "--retire", "zz"
    )
    assert "no repository" in desk.bad("trust", "status", "keys")
    (desk.home / "repo" / "metadata" / "timestamp.json").write_bytes(b"{}")
    (desk.home / "root.json").write_bytes((desk.home / "repo" / "metadata" / "1.root.json").read_bytes())
    assert "cannot be read as metadata" in desk.bad("verify", "repo", "os", "1.0.0", "--root", "root.json")


def test_keys_are_sealed_unless_declined(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "secret").write_text("correct horse\n")
    (tmp_path / "wrong").write_text("wrong\n")
    desk.good("trust", "init", "repo", "--keys", "keys", "--online", "online", "--passphrase-file", "secret",
              "--root-keys", "1", "--root-threshold", "1", "--targets-keys", "1")  # fmt: skip
    assert all(b"sealed" in path.read_bytes() for path in (tmp_path / "keys").iterdir())
    desk.image("1.0.0")
    words = ("sign", "image", "--repo", "repo", "--keys", "keys", "--passphrase-file")
    assert "passphrase" in desk.bad(*words, "wrong")
    assert "1 of 1" in desk.good(*words, "secret")
