"""Each answered write was on the disk before its answer, this node's as well as etcd's: counted in the calls they made.

The servers run under strace, which tells every write to a file, every sync and every answer, in order. Each value is
like no other, so it is found where it was written first; that file must have been synced since when the answer leaves.
"""

import http.client
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.store.power_cut import Mark, Sync, Trace, Write, recording
from tests.whole.servers import HOST, ROOT, Kind, command_line, free_port, is_healthy

LONE = 100
WRITERS, EACH = 32, 20
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
TOKEN = re.compile(rb"_\d+-\d+_")
CORENODE = [str(ROOT / "cli.py")]
TOO_EARLY = ["-m", "tests.whole.acknowledges_early"]


@dataclass(frozen=True)
class Count:
    """What a trace holds."""

    answered: int
    syncs: int
    """Of files that had been written to since their last one."""
    early: list[bytes]
    """Values that were answered before they were synced."""


def count(trace: Trace) -> Count:
    """Follow every value from its first write to its answer."""
    written: dict[bytes, str] = {}
    durable: set[bytes] = set()
    unsynced: dict[str, set[bytes]] = {}
    answered: list[bytes] = []
    early, syncs = [], 0
    for operation in trace.operations:
        if isinstance(operation, Write):
            fresh = {token for token in TOKEN.findall(operation.data) if token not in written}
            written |= dict.fromkeys(fresh, operation.path)
            if operation.synced:
                durable |= fresh
            else:
                unsynced.setdefault(operation.path, set()).update(fresh)
        elif isinstance(operation, Sync) and operation.path in unsynced:
            durable |= unsynced.pop(operation.path)
            syncs += 1
        elif isinstance(operation, Mark) and operation.data.startswith(b"HTTP/1.1 20"):
            for token in TOKEN.findall(operation.data)[:1]:  # a second one is that of prevNode
                answered.append(token)
                if token not in durable:
                    early.append(token)
    return Count(len(answered), syncs, early)


def put(port: int, writer: int, times: int) -> None:
    """Writes over one connection, each after the answer to the one before."""
    connection = http.client.HTTPConnection(HOST, port, timeout=60)
    for number in range(times):
        connection.request("PUT", f"/v2/keys/w/{writer}", f"value=_{writer}-{number}_", FORM)
        answer = connection.getresponse()
        answer.read()
        assert answer.status in (200, 201)
    # The server is killed next. It reads this only when it has returned from its last answer, so that is in the trace.
    connection.request("GET", "/health")
    connection.getresponse().read()
    connection.close()


def run(command: Sequence[str], home: Path, port: int, writers: int, times: int) -> Trace:
    """Writers beside each other against a server under strace, which is killed at the end."""
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(home)}
    waiting = threading.Event()
    with recording(command, home / "data", env=environment, stderr=None) as server:
        while not is_healthy(port) and server.process.poll() is None:
            waiting.wait(0.05)
        threads = [threading.Thread(target=put, args=(port, writer, times)) for writer in range(writers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return server.trace()


def corenode(program: Sequence[str], home: Path, port: int) -> list[str]:
    """The command, as `servers` has it, with another program in the place of cli.py."""
    command = command_line("corenode", home / "data", port)
    return [sys.executable, *program, *command[2:]]


def server(kind: Kind, home: Path, port: int) -> list[str]:
    return corenode(CORENODE, home, port) if kind == "corenode" else command_line(kind, home / "data", port)


@pytest.mark.parametrize("kind", ["corenode", "etcd"])
def test_every_lone_write_is_synced_before_its_answer(kind: Kind, tmp_path: Path) -> None:
    port = free_port()
    found = count(run(server(kind, tmp_path, port), tmp_path, port, 1, LONE))
    assert found.answered == LONE
    assert not found.early
    assert found.syncs >= LONE


@pytest.mark.parametrize("kind", ["corenode", "etcd"])
def test_no_answer_under_load_leaves_before_the_sync_of_its_batch(
    kind: Kind, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    port = free_port()
    found = count(run(server(kind, tmp_path, port), tmp_path, port, WRITERS, EACH))
    assert found.answered == WRITERS * EACH
    assert not found.early
    record_property("checked", f"{found.answered} answers behind {found.syncs} syncs")


def test_an_answer_before_the_sync_is_caught(tmp_path: Path) -> None:
    port = free_port()
    assert count(run(corenode(TOO_EARLY, tmp_path, port), tmp_path, port, 1, 10)).early
