"""etcdctl's user, role and auth commands, unmodified, against etcd and against this node: the same to the letter.

While access is not restricted etcd lets anybody change users and this node only its admins, so the user root is made
and access restricted by each server's own means first; the session then logs in as root, and ends by lifting it.
"""

import difflib
import os
import pty
import select
import shutil
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.whole.servers import ROOT, Server, missing
from tests.whole.test_etcdctl_session import DEADLINE, Session, environment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="needs Debian's package etcd-client"),
    pytest.mark.skipif(bool(missing("etcd")), reason="needs Debian's package etcd-server"),
]

# `alice!` logs in as alice; `< word` answers the question for a password.
SESSION = """
auth enable
user list
user get root
user get alice
user add alice < wonderland
user add alice < wonderland
user add alice:wonderland
user list
role list
role add dev
role add dev
role add root
role get dev
role get none
role get root
role grant dev --path /app/* --read
role grant dev --path /app/* --read
role grant dev --path /app/* --readwrite
role grant dev --path /app/* --write
role grant dev --path /config --readwrite
role grant dev
role grant dev --path /x
role get dev
role revoke dev --path /config --write
role revoke dev --path /none --write
role get dev
user grant alice --roles dev
user grant alice --roles dev
user grant alice --roles dev,guest
user grant none --roles dev
user get alice
set /app/a 1
set /other 1
alice! get /app/a
alice! set /app/a 2
alice! get /config
alice! set /config 2
alice! get /other
alice! ls
alice! user list
alice! role add mine
alice! role list
alice! auth disable
user revoke alice --roles dev
user revoke alice --roles dev
alice! get /app/a
user passwd alice < rabbit
user passwd none < rabbit
alice! get /app/a
user remove alice
user remove alice
role remove dev
role remove dev
role remove root
user remove root
user list
role list
member list
auth disable
"""


def answered(command: list[str], answer: str) -> tuple[int, str]:
    """Run a command on a terminal and type an answer. What is typed is not shown: it would come before or after the
    question by chance."""
    main, other = pty.openpty()
    settings = termios.tcgetattr(other)
    settings[3] &= ~(termios.ECHO | termios.ECHONL)
    termios.tcsetattr(other, termios.TCSANOW, settings)
    process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, env=environment(), close_fds=True)
    os.close(other)
    os.write(main, answer.encode() + b"\n")
    text = b""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if select.select([main], [], [], 0.1)[0]:
            try:
                text += os.read(main, 4096)
            except OSError:
                break
        elif process.poll() is not None:
            break
    os.close(main)
    return process.wait(DEADLINE), text.decode().replace("\r\n", "\n")


class As(Session):
    """A session that logs in, as root unless the line says otherwise."""

    def run(self, line: str) -> None:
        words, _, answer = line.partition(" < ")
        user = "root:secret"
        if words.startswith("alice! "):
            user, words = "alice:wonderland", words.removeprefix("alice! ")
        command = self.command(["-u", user, *words.split()])
        if answer:
            code, text = answered(command, answer)
        else:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=DEADLINE, env=environment(), check=False
            )
            code, text = done.returncode, done.stdout + done.stderr
        self.note(f"$ {line}", f"exit {code}", text)


def prepare(server: Server) -> None:
    """Make root and restrict access."""
    if server.kind == "etcd":
        answered(["etcdctl", "--endpoints", server.url, "user", "add", "root"], "secret")
        subprocess.run(
            ["etcdctl", "--endpoints", server.url, "auth", "enable"],
            env=environment(),
            timeout=DEADLINE,
            check=True,
            capture_output=True,
        )
        return
    for words, text in (("user", "add", "root"), b"secret\n"), (("auth", "enable"), b""):
        subprocess.run(
            [sys.executable, str(ROOT / "cli.py"), *words, "--endpoints", f"unix://{server.data}/corenode.sock"],
            input=text,
            timeout=DEADLINE,
            check=True,
            capture_output=True,
        )


def play(server: Server) -> list[str]:
    prepare(server)
    session = As(server)
    for line in SESSION.strip().splitlines():
        session.run(line)
    return session.transcript


def test_the_same_session_reads_the_same_on_both(tmp_path: Path) -> None:
    with Server("etcd", tmp_path / "etcd") as etcd:
        expected = play(etcd)
    assert len(expected) > 150
    with Server("corenode", tmp_path / "corenode") as node:
        found = play(node)
    differences = list(difflib.unified_diff(expected, found, "etcd", "corenode", lineterm=""))
    assert not differences, "\n".join(differences)
