"""`corenode ca` as a program."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from tests.cli.programs import Host

pytestmark = pytest.mark.slow


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    for words in (
        ("init", "--dir", "ca"),
        (
            "issue",
            "--dir",
            "ca",
            "--role",
            "server",
            "--name",
            "node1",
            "--san",
            "127.0.0.1,localhost",
            "--out",
            "certs",
        ),
        ("issue", "--dir", "ca", "--role", "admin", "--name", "alice", "--out", "certs", "--lifetime", "2d"),
    ):
        done = host.run("ca", *words)
        assert done.returncode == 0, done.stderr
    return host


def test_names_of_files_and_what_openssl_says(host: Host) -> None:
    for name in ("ca/ca.crt", "ca/ca.key", "certs/node1.crt", "certs/node1.key", "certs/alice.crt", "certs/alice.key"):
        assert (host.home / name).exists()
    subject = ["openssl", "x509", "-in", "certs/alice.crt", "-noout", "-subject"]
    assert "O = corenode:admin, CN = alice" in subprocess.check_output(subject, cwd=host.home, text=True)


def test_show_as_table_and_as_json(host: Host) -> None:
    lines = host.text("ca", "show", "--dir", "ca").splitlines()
    assert lines[0].split() == ["NAME", "ROLE", "FOR", "EXPIRES", "LEFT", "SERIAL", "FILE"]
    assert len(lines) == 5
    found = msgspec.json.decode(host.text("ca", "show", "certs/node1.crt", "-o", "json"))[0]
    assert (found["name"], found["role"], found["names"]) == ("node1", "server", ["127.0.0.1", "localhost"])
    assert 89 * 86400 < found["seconds_left"] <= 90 * 86400


def test_show_warns_by_its_exit_code(host: Host) -> None:
    files = ("certs/node1.crt", "certs/alice.crt")
    assert host.run("ca", "show", *files, "--expiring-within", "1d").returncode == 0
    done = host.run("ca", "show", *files, "--expiring-within", "30d")
    assert done.returncode == 1
    assert b"alice" in done.stdout
    assert b"node1" not in done.stdout


def test_renew_and_what_it_refuses(host: Host) -> None:
    before = (host.home / "certs/alice.crt").read_bytes()
    assert host.run("ca", "renew", "certs/alice.crt").returncode == 0
    assert (host.home / "certs/alice.crt").read_bytes() != before
    done = host.run("ca", "renew", "ca/ca.crt")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"was not made by" in done.stderr
    assert host.run("ca", "renew").returncode == 2


def test_a_passphrase_from_a_file(host: Host) -> None:
    (host.home / "secret").write_text("correct horse\n")
    assert host.run("ca", "init", "--dir", "ca2", "--passphrase-file", "secret").returncode == 0
    assert host.run("ca", "renew", "--dir", "ca2", "--issuing", "--passphrase-file", "secret").returncode == 0
    (host.home / "secret").write_text("wrong\n")
    done = host.run("ca", "renew", "--dir", "ca2", "--issuing", "--passphrase-file", "secret")
    assert done.returncode == 1
    assert b"passphrase is wrong" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("init", "--dir", "ca"), 1, "not empty"),
        (("issue", "--role", "client", "--name", "alice", "--out", "certs"), 1, "exists already"),
        (("issue", "--role", "client", "--name", "../x"), 2, "--name"),
        (("issue", "--role", "king", "--name", "x"), 2, "king"),
        (("issue", "--role", "client", "--name", "x", "--lifetime", "0d"), 2, "no span of time"),
        (("issue", "--dir", "none", "--role", "client", "--name", "x"), 1, "no authority in none"),
        (("show", "--dir", "none"), 1, "no authority in none"),
        (("show", "nothing.crt"), 1, "No such file"),
    ],
)
def test_what_is_wrong_is_said(host: Host, words: tuple[str, ...], code: int, complaint: str) -> None:
    done = host.run("ca", *words)
    assert (done.returncode, done.stdout) == (code, b"")
    assert complaint in done.stderr.decode()
    assert "Traceback" not in done.stderr.decode()
