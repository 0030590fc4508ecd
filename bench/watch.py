"""How fast events reach those who watch, and what a watch costs that waits, beside etcd's JSON gateway.

One process drives this node and Debian's etcd in alternation, a pair a round: it writes, reads every watch, and takes
the time until the last one has its event. The method is described in README.md.

    python bench/watch.py [--quick] [--rounds 3] [--seconds 2] [--dir build/bench] [--record]
"""

import argparse
import contextlib
import json
import os
import platform
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from rich.console import Console
from rich.table import Table

from tests.whole.servers import HOST, KINDS, ROOT, Kind, Server

HISTORY = ROOT / "bench" / "history.jsonl"
WIDTH = 110
WATCHERS = 1000
IDLE = 10_000
WRITERS = 64
CREATED = b'"created":true'
EVENT = b'"mod_revision"'
PATIENCE_SECONDS = 20.0


def message(path: str, body: object) -> bytes:
    """A whole POST."""
    data = json.dumps(body).encode() if not isinstance(body, bytes) else body
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(data), data)


def text(raw: str) -> str:
    return b64encode(raw.encode()).decode()


def watch_of(key: str) -> dict[str, object]:
    return {"create_request": {"key": text(key)}}


class MissingError(Exception):
    """What was waited for did not come."""


class Crowd:
    """Connections that watch, read in one loop. It counts marks in what they get."""

    def __init__(self, server: Server, requests: Sequence[bytes], watches: int) -> None:
        self._kind = server.kind
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}
        for request in requests:
            sock = socket.create_connection((HOST, server.port))
            sock.sendall(request)
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._tails[sock.fileno()] = b""
            self._poll.register(sock.fileno(), select.EPOLLIN)
        self.wait(CREATED, watches)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._poll.close()

    def wait(self, mark: bytes, count: int, writers: "Writers | None" = None) -> None:
        """Read until so many marks came, and let writers go on meanwhile."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        keep = len(mark) - 1
        while count > 0 or (writers is not None and writers.busy):
            if time.monotonic() > deadline:
                raise MissingError(f"{count} of {mark!r} of {self._kind} did not come in {PATIENCE_SECONDS:g} s")
            for fd, _ in self._poll.poll(0.05):
                if writers is not None and fd in writers.sockets:
                    writers.go_on(fd)
                    continue
                data = self._tails[fd] + self._sockets[fd].recv(1 << 20)
                count -= data.count(mark)
                self._tails[fd] = data[-keep:]

    def join(self, writers: "Writers") -> None:
        """Read the answers of writers in the same loop."""
        for fd in writers.sockets:
            self._poll.register(fd, select.EPOLLIN)


class Writers:
    """Connections that put one key after the other, each its next one when the last was answered."""

    def __init__(self, server: Server, connections: int) -> None:
        self.sockets = {}
        for _ in range(connections):
            sock = socket.create_connection((HOST, server.port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[sock.fileno()] = sock
        self.busy = 0
        self._next: Iterator[bytes] = iter(())

    def put(self, keys: Sequence[str]) -> None:
        """Begin to put these."""
        self._next = (message("/v3/kv/put", {"key": text(key), "value": text("v" * 64)}) for key in keys)
        for sock in self.sockets.values():
            self._send(sock)

    def go_on(self, fd: int) -> None:
        """An answer came: it is small, and all of it is there."""
        answer = self.sockets[fd].recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise SystemExit(f"watch: a put was answered {answer[:300]!r}")
        self.busy -= 1
        self._send(self.sockets[fd])

    def _send(self, sock: socket.socket) -> None:
        request = next(self._next, None)
        if request is not None:
            self.busy += 1
            sock.sendall(request)

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


@dataclass(frozen=True)
class Run:
    """One run against one server: events delivered, and the time of each round of it."""

    events: int
    seconds: float
    rounds: Sequence[float]
    cpu_us: float
    """Microseconds of processor time that the server took for an event, the puts included."""

    @property
    def rate(self) -> float:
        return self.events / self.seconds

    def quantile_ms(self, part: float) -> float:
        return sorted(self.rounds)[min(len(self.rounds) - 1, int(part * len(self.rounds)))] * 1e3


def one_key(server: Server, seconds: float) -> Run:
    """One writer, and so many watchers of the key it writes: a round is a put, until all have its event."""
    with Crowd(server, [message("/v3/watch", watch_of("one"))] * WATCHERS, WATCHERS) as crowd:
        return rounds(server, crowd, 1, lambda: ["one"], WATCHERS, seconds)


def many_keys(server: Server, seconds: float) -> Run:
    """So many keys, each watched: a round puts each of them once over a few connections, until all have their event."""
    keys = [f"key/{number:04}" for number in range(WATCHERS)]
    with Crowd(server, [message("/v3/watch", watch_of(key)) for key in keys], WATCHERS) as crowd:
        return rounds(server, crowd, WRITERS, lambda: keys, WATCHERS, seconds)


def one_connection(server: Server, seconds: float) -> Run:
    """The watchers of one key, all on one connection."""
    body = b"".join(json.dumps(watch_of("one")).encode() for _ in range(WATCHERS))
    with Crowd(server, [message("/v3/watch", body)], WATCHERS) as crowd:
        return rounds(server, crowd, 1, lambda: ["one"], WATCHERS, seconds)


def rounds(
    server: Server, crowd: Crowd, connections: int, keys: Callable[[], Sequence[str]], events: int, seconds: float
) -> Run:
    """Rounds for so long, after some that do not count."""
    writers = Writers(server, connections)
    crowd.join(writers)
    taken: list[float] = []
    for last in (seconds / 4, seconds):  # the first part warms up and does not count
        taken.clear()
        used = cpu_seconds(server.pid)
        end = time.monotonic() + last
        while not taken or time.monotonic() < end:
            start = time.monotonic()
            writers.put(keys())
            crowd.wait(EVENT, events, writers)
            taken.append(time.monotonic() - start)
    used = cpu_seconds(server.pid) - used
    writers.close()
    delivered = events * len(taken)
    return Run(delivered, sum(taken), taken, used * 1e6 / delivered)


def cpu_seconds(pid: int) -> float:
    """What a process used so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


WORKLOADS = {
    f"{WATCHERS:,} watch one key": one_key,
    f"{WATCHERS:,} keys, each watched": many_keys,
    f"{WATCHERS:,} watches, one connection": one_connection,
}
Results = dict[str, dict[Kind, list[Run]]]


def measure(home: Path, count: int, seconds: float, tell: Callable[[str], None]) -> Results:
    """Every workload in pairs."""
    results: Results = {name: {kind: [] for kind in KINDS} for name in WORKLOADS}
    with ExitStack() as stack:
        servers: dict[Kind, Server] = {kind: stack.enter_context(Server(kind, home / kind)) for kind in KINDS}
        for name, workload in WORKLOADS.items():
            tell(name)
            for _ in range(count):
                for kind, server in servers.items():
                    with contextlib.suppress(MissingError):
                        results[name][kind].append(workload(server, seconds))
    return results


@contextmanager
def idle(server: Server, *, alone: bool) -> Iterator[None]:
    """Watches that wait: each on a connection of its own, or all on one."""
    creates = [json.dumps(watch_of(f"idle/{number}")).encode() for number in range(IDLE)]
    bodies = creates if alone else [b"".join(creates)]
    with Crowd(server, [message("/v3/watch", body) for body in bodies], IDLE):
        yield


def memory(home: Path, kind: Kind, *, alone: bool) -> float | None:
    """Bytes of resident memory that a waiting watch takes in a server that just started; None if they do not open."""
    with Server(kind, home / f"{kind}-{'alone' if alone else 'together'}") as server:
        Crowd(server, [message("/v3/watch", watch_of("first"))], 1).close()
        time.sleep(0.5)
        before = resident(server.pid)
        try:
            with idle(server, alone=alone):
                time.sleep(1)
                return (resident(server.pid) - before) / IDLE
        except MissingError:
            return None


def resident(pid: int) -> int:
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


def table(results: Results) -> Table:
    """Medians of the rounds, and the ratio of each pair: its median, least and greatest."""
    shown = Table(
        title="events delivered: medians, the ratio of each pair, time until the last has its event, processor"
    )
    for heading in ("", "node/s", "etcd/s", "ratio", "least", "most", "p50 ms", "etcd", "p99 ms", "etcd", "µs", "etcd"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, runs in results.items():
        cells = [name, *(median(runs[kind], lambda run: run.rate, ",.0f") for kind in KINDS)]
        ratios = [mine.rate / other.rate for mine, other in zip(runs["corenode"], runs["etcd"], strict=False)]
        cells += (
            [f"{ratio:.2f}" for ratio in (statistics.median(ratios), min(ratios), max(ratios))] if ratios else [""] * 3
        )
        for part in (0.5, 0.99):
            cells += [median(runs[kind], partial(Run.quantile_ms, part=part), ".1f") for kind in KINDS]
        cells += [median(runs[kind], lambda run: run.cpu_us, ".0f") for kind in KINDS]
        shown.add_row(*cells)
    return shown


def median(runs: Sequence[Run], figure: Callable[[Run], float], form: str) -> str:
    """The median of a figure; a dash if there was no run in which every event came."""
    return format(statistics.median(map(figure, runs)), form) if runs else "-"


Memory = dict[str, dict[Kind, float | None]]


def memory_table(taken: Memory) -> Table:
    shown = Table(title=f"memory of a watch that waits, of {IDLE:,}")
    for heading in ("", "node, bytes", "etcd, bytes"):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, each in taken.items():
        found = (each[kind] for kind in KINDS)
        shown.add_row(name, *("-" if size is None else f"{size:,.0f}" for size in found))
    return shown


def record(results: Results, taken: Memory) -> None:
    """Append every run to the history, a JSON line each."""
    git = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    common = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": git.stdout.strip(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
    }
    lines = []
    for name, runs in results.items():
        for kind in KINDS:
            for number, run in enumerate(runs[kind]):
                figures = {"rate": round(run.rate, 1), "events": run.events, "seconds": round(run.seconds, 3)}
                times = {"p50_ms": round(run.quantile_ms(0.5), 3), "p99_ms": round(run.quantile_ms(0.99), 3)}
                figures["cpu_us"] = round(run.cpu_us, 1)
                lines.append({"workload": name, "server": kind, "round": number, **figures, **times})
    for name, each in taken.items():
        lines += [{"workload": f"idle watches {name}", "server": kind, "bytes": each[kind]} for kind in KINDS]
    with HISTORY.open("a") as history:
        history.writelines(json.dumps({**common, **line}) + "\n" for line in lines)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Events delivered to watches, and memory of idle ones, beside etcd.")
    parser.add_argument("--quick", action="store_true", help="about 40 seconds: fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs a workload (default 3)")
    parser.add_argument("--seconds", type=float, default=2, help="length of a run (default 2)")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    parser.add_argument("--record", action="store_true", help="append every run to bench/history.jsonl")
    given = parser.parse_args()
    if given.quick:
        given.rounds, given.seconds = 1, 1.5
    return given


def main() -> int:
    given = arguments()
    if shutil.which("etcd") is None:
        print("watch: needs etcd: apt-get install etcd-server", file=sys.stderr)
        return 1
    begun = time.monotonic()
    given.dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=given.dir) as directory, Console(stderr=True).status("starting") as status:
        home = Path(directory)
        results = measure(home, given.rounds, given.seconds, status.update)
        taken: Memory = {}
        for name, alone in (("on one connection", False), ("each on its own connection", True)):
            status.update(f"idle watches {name}")
            taken[name] = {kind: memory(home, kind, alone=alone) for kind in KINDS}
    console = Console()
    console = Console(width=None if console.is_terminal else WIDTH)
    console.print(table(results))
    console.print(memory_table(taken))
    if given.record:
        record(results, taken)
    events = sum(run.events for runs in results.values() for each in runs.values() for run in each)
    print(f"bench: {events:,} events in {len(results)} workloads, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
