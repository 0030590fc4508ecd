"""`corenode kv lease`, `txn`, `lock` and `election`, on this program and on etcd."""

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import cli
from core.client import Compare, Delete, Keys, Put, Range, Txn, prefix
from core.commands.kv_txn_text import NotATransactionError, parse
from tests.cli.programs import Host
from tests.whole.servers import Server


class Shell:
    """Verbs on some host, for which a server is set."""

    def __init__(self, home: Path, url: str) -> None:
        self.host = Host(home)
        self.host.environment["CORENODE_ENDPOINTS"] = url

    def run(self, *words: str, stdin: str = "") -> tuple[int, str, str]:
        """Exit code, output and messages of a verb, in this process."""
        done = CliRunner().invoke(cli, ["kv", *words], input=stdin, env=self.host.environment)
        return done.exit_code, done.stdout, done.stderr

    def text(self, *words: str, stdin: str = "") -> str:
        code, text, messages = self.run(*words, stdin=stdin)
        assert code == 0, messages
        return text


@pytest.fixture
def shell(server: Server, tmp_path: Path) -> Shell:
    return Shell(tmp_path, server.url)


@pytest.fixture
def name(base: bytes) -> str:
    return base.decode()


def line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


@pytest.fixture
def started(shell: Shell) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """Processes to be gone at the end."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def test_the_life_of_a_lease(shell: Shell, name: str) -> None:
    lease = shell.text("lease", "grant", "60").strip()
    assert int(lease, 16) > 0
    shell.text("txn", stdin=f'\nput --lease {lease} {name}a "1 2"\nput {name}b 2 --lease={lease}\n')
    assert json.loads(shell.text("lease", "timetolive", "--keys", "-o", "json", lease))["keys"] == [
        f"{name}a",
        f"{name}b",
    ]
    rows = shell.text("lease", "timetolive", lease).splitlines()
    assert rows[0].split() == ["ID", "LEFT", "GRANTED"]
    assert rows[1].split()[::2] == [lease, "60"]
    assert lease in json.loads(shell.text("lease", "list", "-o", "json"))
    assert shell.text("lease", "keep-alive", "--once", lease) == "60\n"
    assert json.loads(shell.text("lease", "keep-alive", "--once", "-o", "json", lease)) == {"id": lease, "ttl": 60}
    assert shell.run("lease", "revoke", lease) == (0, "", f"Lease {lease} is revoked.\n")
    for words in (("revoke", lease), ("timetolive", lease), ("keep-alive", lease)):
        code, text, messages = shell.run("lease", *words)
        assert (code, text) == (1, "")
        assert "Requested lease not found" in messages
    assert json.loads(shell.text("lease", "grant", "-o", "json", "--id", "1234abcd", "30")) == {
        "id": "1234abcd",
        "ttl": 30,
    }
    shell.text("lease", "revoke", "1234abcd")


def test_a_transaction(shell: Shell, name: str) -> None:
    text = f"""version("{name}a") = "0"

put {name}a "one two"
get --prefix {name}

del {name}a --prev-kv
get {name}a
"""
    assert shell.text("txn", stdin=text) == f"SUCCESS\n\nOK\n\n{name}a\none two\n"
    assert shell.text("txn", stdin=text) == f"FAILURE\n\n1\n{name}a\none two\n\n"
    done = json.loads(shell.text("txn", "-o", "json", stdin=text))
    assert (done["succeeded"], len(done["responses"])) == (True, 2)
    code, _, messages = shell.run("txn", stdin="nonsense\n")
    assert code == 2
    assert "line 1 (nonsense): it is no condition" in messages


def test_what_a_transaction_says() -> None:
    text = 'val("a b") != "x"\nc(k) > 3\nm(k) = 0\nlease(k) = "ff"\n\n\nget a b --limit 3 --rev 9\ndel --prefix p\n'
    assert parse(text) == Txn(
        (
            Compare(b"a b", "value", "!=", b"x"),
            Compare(b"k", "create", ">", 3),
            Compare(b"k", "mod", "=", 0),
            Compare(b"k", "lease", "=", 255),
        ),
        (),
        (Range(Keys(b"a", b"b"), 3, 9), Delete(prefix(b"p"))),
    )
    assert parse("\nput k v --lease a0 --prev-kv\nget --from-key k") == Txn(
        then=(Put(b"k", b"v", 160, True), Range(Keys(b"k", b"\0")))
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('weight("a") = 1', "'weight' cannot be compared"),
        ("mod(a) = b", "invalid literal"),
        ("mod(a b) = 1", "goes in quotes"),
        ("\nput a", "required: value"),
        ("\nput a b --color red", "unrecognized arguments"),
        ("\ncopy a b", "'copy' is no operation"),
        ('\nput "a', "No closing quotation"),
        ("\nput a b --lease xyz", "invalid _id value"),
    ],
)
def test_what_is_no_transaction(text: str, why: str) -> None:
    with pytest.raises(NotATransactionError, match=why):
        parse(text)


def test_a_lock_is_held_while_a_command_runs(shell: Shell, name: str) -> None:
    script = 'test -n "$ETCD_LOCK_REV" && echo "$ETCD_LOCK_KEY" && exit 7'
    done = shell.host.run("kv", "lock", name, "--", "sh", "-c", script)
    assert (done.returncode, done.stdout.startswith(f"{name}/".encode())) == (7, True)
    assert shell.text("txn", stdin=f"\nget --prefix --count-only {name}/\n").split() == ["SUCCESS"]
    code, _, messages = shell.run("lock", name, "--", "no-such-program")
    assert code == 1
    assert "There is no program 'no-such-program' to run." in messages


def test_who_holds_a_lock_keeps_others_out(shell: Shell, name: str, started: list["subprocess.Popen[bytes]"]) -> None:
    holder = shell.host.start("kv", "lock", name)
    started.append(holder)
    key = line(holder)
    code, text, messages = shell.run("lock", name, "--wait", "0", "--", "echo", "in")
    assert (code, text) == (1, "")
    assert f"is held by {key}" in messages
    waiting = shell.host.start("kv", "lock", name, "--", "echo", "in")
    started.append(waiting)
    holder.send_signal(signal.SIGTERM)
    assert line(waiting) == "in"
    assert (holder.wait(10), waiting.wait(10)) == (-signal.SIGTERM, 0)


def test_a_command_whose_lock_is_lost_is_ended(
    shell: Shell, name: str, started: list["subprocess.Popen[bytes]"]
) -> None:
    holder = shell.host.start("kv", "lock", name, "--ttl", "2", "--", "sh", "-c", "echo in; exec sleep 60")
    started.append(holder)
    assert line(holder) == "in"
    for lease in json.loads(shell.text("lease", "list", "-o", "json")):
        keys = json.loads(shell.text("lease", "timetolive", "--keys", "-o", "json", lease))["keys"]
        if any(key.startswith(name) for key in keys):
            shell.text("lease", "revoke", lease)
    began = time.monotonic()
    _, messages = holder.communicate(timeout=10)
    assert holder.returncode == 1
    assert time.monotonic() - began < 5
    assert b"is lost: the server knows it no more" in messages


def test_an_election(shell: Shell, name: str, started: list["subprocess.Popen[bytes]"]) -> None:
    code, _, messages = shell.run("election", "leader", name)
    assert code == 1
    assert f"Nobody leads {name}." in messages
    watcher = shell.host.start("kv", "election", "observe", name)
    first = shell.host.start("kv", "election", "campaign", name, "10.0.0.1")
    started += [watcher, first]
    key = line(first)
    assert key.startswith(f"{name}/")
    assert shell.text("election", "leader", name) == "10.0.0.1\n"
    found = json.loads(shell.text("election", "leader", "-o", "json", name))
    assert (found["key"], found["value"]) == (key, "10.0.0.1")
    assert "10.0.0.1" in shell.text("election", "leader", "-o", "table", name)
    assert line(watcher) == "10.0.0.1"
    second = shell.host.start("kv", "election", "campaign", name, "10.0.0.2", "--", "sh", "-c", "echo leads; exit 3")
    started.append(second)
    first.send_signal(signal.SIGINT)
    assert line(second) == "leads"
    assert second.wait(10) == 3
    assert first.wait(10) == -signal.SIGINT
