"""Debian's etcdctl, unmodified, must not be able to tell this node from etcd.

One session of commands runs against both servers. What depends on the run (indexes, ids, ports) is written relative
to its start; the rest, exit codes and error texts included, must be the same to the letter.
"""

import difflib
import os
import re
import select
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.whole.requests import Client
from tests.whole.servers import Server, missing

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("etcdctl") is None, reason="needs Debian's package etcd-client"),
]
DEADLINE = 15.0

# A command a line. `{+n}` is the index at the start plus n, as in the conformance table.
SESSION = """
ls
mk /a 1
mk /a 1
mk /t 1 --ttl 500
mk /deep/er/key 1
mk --in-order /queue first
mk --in-order /queue second
get /a
get /none
get /deep
get --quorum /a
-o extended get /a
-o json get /a
-o extended get /t
set /a 2
set /a
set /neg -- -5
set /empty ''
set /a 3 --ttl 500
-o extended get /a
-o json set /a 4
set /a five --swap-with-value 4
set /a 6 --swap-with-value x
set /a 6 --swap-with-index {+11}
set /a 7 --swap-with-index 1
set /none 7 --swap-with-value 1
set /deep 1
set /a/below 1
set / 1
update /a 8
update /a 9 --ttl 500
update /none 1
update /deep 1
-o json get /a
rm /a
rm /a
rm /none
mkdir /d
mkdir /d
mkdir /d/e --ttl 500
mkdir /neg/x
setdir /d
setdir /s
setdir /st --ttl 500
setdir /neg
updatedir /s --ttl 500
updatedir /none --ttl 500
updatedir /neg --ttl 500
ls --sort
ls -p --sort
ls -r -p --sort
ls -r -p --sort /
ls --recursive --sort /deep
ls -p --sort /queue
ls /deep/er/key
ls /none
ls --quorum --sort
-o json ls --sort /
-o json ls -r --sort /deep
-o extended ls /deep
rmdir /s
rmdir /d
rmdir /none
rmdir /deep
rm /d
rm --dir /st
rm --dir /d
rm -r /d
rm --recursive /none
rm --with-value x /neg
rm --with-value -5 /neg
rm --with-index 3 /empty
rm --with-index {+8} /empty
rm /deep/er/key
rmdir /deep/er
-o json rm /deep -r
rm /
ls -r --sort
watch --after-index {+0} /a
watch --after-index {+1} /a
watch --after-index {+0} --recursive /deep
-o extended watch --after-index {+9} /a
-o json watch --after-index {+9} /a
member list
cluster-health
nonsense
get
mk /a
ls --nonsense
"""


class Session:
    """The session as run against one server: `transcript` holds what a person would have seen."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.transcript: list[str] = []
        with Client(server.port) as client:
            self.base = client.get("/").index

    def command(self, words: Sequence[str]) -> list[str]:
        return ["etcdctl", "--endpoints", self.server.url, *words]

    def run(self, line: str) -> None:
        """Run one command to its end and note output and exit code."""
        words = shlex.split(self._fill(line))
        done = subprocess.run(
            self.command(words), capture_output=True, text=True, timeout=DEADLINE, env=environment(), check=False
        )
        self.note(f"$ {line}", f"exit {done.returncode}", done.stdout, done.stderr)

    def note(self, *texts: str) -> None:
        self.transcript += [self._relative(line) for text in texts for line in text.splitlines()]

    def watch(self, line: str, writes: Sequence[str], last: str) -> None:
        """Run a command that watches, then the writes; note what it prints up to a line that begins with `last`."""
        self._until_watchers(0)
        command = self.command(shlex.split(line))
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment())
        try:
            self._until_watchers(1)
            for write in writes:
                self.run(write)
            self.note(f"$ {line}", _read_until(process, last))
        finally:
            process.kill()
            process.communicate()

    def _watchers(self) -> int:
        with Client(self.server.port) as client:
            return int(client.ask("GET", "/v2/stats/store").json["watchers"])

    def _until_watchers(self, count: int) -> None:
        deadline = time.monotonic() + DEADLINE
        while self._watchers() != count:
            assert time.monotonic() < deadline, f"{self.server.kind} counts {self._watchers()} watchers, not {count}"
            time.sleep(0.01)

    def _fill(self, line: str) -> str:
        return re.sub(r"\{\+(\d+)\}", lambda match: str(self.base + int(match[1])), line)

    def _relative(self, line: str) -> str:
        """Write indexes relative to the start, and ids and addresses as names."""
        line = line.replace(self.server.url, "URL")
        line = re.sub(r"peerURLs=\S*", "peerURLs=PEER", line)
        line = re.sub(r"\b[0-9a-f]{9,16}\b(?=: name=| is healthy)", "ID", line)
        line = re.sub(r'"expiration":"[^"]*"', '"expiration":"TIME"', line)
        line = re.sub(r"(?<=TTL: )(500|49\d)$|(?<=\"ttl\":)(500|49\d)\b", "500", line)
        return re.sub(
            r"((?:Index: |Index\":|_INDEX=|\[)|/0{5,}|!= )(\d+)(?=\]|,|}|$)",
            lambda match: match[1] + self._relative_index(int(match[2])),
            line,
        )

    def _relative_index(self, index: int) -> str:
        return str(index) if index < self.base else f"+{index - self.base}"


def _read_until(process: subprocess.Popen[bytes], last: str) -> str:
    """What the process prints, up to and with the whole line that begins with `last`."""
    assert process.stdout is not None
    text = ""
    deadline = time.monotonic() + DEADLINE
    while not re.search(rf"^{re.escape(last)}.*\n", text, re.MULTILINE):
        readable, _, _ = select.select([process.stdout], [], [], max(0.0, deadline - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 65536) if readable else b""
        assert piece, f"no line {last!r} came, only {text!r}"
        text += piece.decode()
    return text


def environment() -> dict[str, str]:
    return {**os.environ, "ETCDCTL_API": "2"}


def play(server: Server) -> list[str]:
    """The whole session against one server."""
    session = Session(server)
    for line in SESSION.strip().splitlines():
        session.run(line)
    session.watch("watch /w/one", ["set /w/one 1"], "1")
    session.watch("watch --recursive /w", ["set /w/two 2"], "2")
    writes = ["set /w/one 3", "update /w/two 4", "mkdir /w/d", "rm /w/one", "rm --recursive /w/d", "set /w/x/y last"]
    session.watch("watch --forever --recursive /w", writes, "last")
    session.watch("watch --forever /w/two", ["set /w/two 5", "rm /w/two", "set /w/two last"], "last")
    session.watch("-o extended watch /w/two", ["set /w/two last"], "last")
    session.watch("-o json watch /w/two", ["set /w/two 6"], "{")
    shell = "exec-watch --recursive /w -- sh -c 'env | grep ^ETCD_WATCH_ | sort'"
    session.watch(shell, ["set /w/one 7"], "ETCD_WATCH_VALUE")
    session.watch(shell, ["rm /w/one"], "ETCD_WATCH_VALUE")
    return session.transcript


def test_the_same_session_reads_the_same_on_both(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    if missing("etcd"):
        pytest.skip(missing("etcd"))
    with Server("etcd", tmp_path / "etcd") as etcd:
        expected = play(etcd)
    assert len(expected) > 200
    with Server("corenode", tmp_path / "corenode") as node:
        found = play(node)
    differences = list(difflib.unified_diff(expected, found, "etcd", "corenode", lineterm=""))
    assert not differences, "\n".join(differences)
    record_property("checked", f"{len(found)} lines of etcdctl's output")
