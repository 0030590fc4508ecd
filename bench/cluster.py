"""Three members beside Debian's etcd with three: fail-over, PUT a second, and a new member that catches up.

Both clusters live on loopback, plain HTTP between members, each with its defaults. README.md describes the method.

    python bench/cluster.py [--rounds 3] [--seconds 3] [--failovers 5] [--mib 256] [--dir build/bench] [--record]
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import trio
from rich.console import Console
from rich.table import Table

from bench.throughput import SCRIPT
from tests.chaos.requests import Answer, Connection, LostError, NotSentError
from tests.whole.servers import DIES_WITH_PARENT, HOST, KINDS, NO_UNITS, ROOT, Kind, free_port

HISTORY = ROOT / "bench" / "cluster.jsonl"
SIZE = 3
KEYS = 10_000
START_SECONDS = 60.0
ATTEMPT_EVERY_SECONDS = 0.02
MEMORY_EVERY_SECONDS = 0.05
FILL_BYTES = 64 << 10
"""A value while a state is filled for a new member."""
MIB = 1 << 20


class BenchError(Exception):
    """A member did not do what is measured."""


class Member:
    """One process of a cluster."""

    def __init__(self, kind: Kind, home: Path, number: int) -> None:
        self.kind: Kind = kind
        self.home = home
        self.name = f"n{number}"
        self.port, self.peer_port = free_port(), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def peer_url(self) -> str:
        return f"http://{HOST}:{self.peer_port}"

    @property
    def pid(self) -> int:
        if self.process is None:
            raise BenchError(f"{self.name} does not run")
        return self.process.pid

    def start(self, cluster: str, state: str = "new") -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        program = [sys.executable, str(ROOT / "cli.py"), "up", "--socket", str(self.socket)]
        command = [*(program if self.kind == "corenode" else ["etcd", "--enable-v2"])]
        command += ["--name", self.name, "--data-dir", str(self.home / "data"), "--initial-cluster", cluster]
        command += ["--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        command += ["--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url]
        command += ["--initial-cluster-state", state]
        with (self.home / "output").open("ab") as output:
            self.process = subprocess.Popen(
                [*DIES_WITH_PARENT, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **NO_UNITS, "XDG_RUNTIME_DIR": str(self.home)},
            )

    @property
    def socket(self) -> Path:
        return self.home / "s"

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def memory(self) -> tuple[int, int]:
        """Resident bytes: all, and those that are no pages of files."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        found = {
            name: int(rest.split()[0]) * 1024
            for name, _, rest in (line.partition(":") for line in lines)
            if rest and "kB" in rest
        }
        return found["VmRSS"], found["RssAnon"]

    async def ask(self, method: str, target: str, form: dict[str, str] | None = None, seconds: float = 2.0) -> Answer:
        """One request on a connection of its own. NotSentError, LostError."""
        async with Connection(HOST, self.port) as connection:
            return await connection.ask(method, target, form, seconds=seconds)

    async def operate(self, method: str, target: str, content: Any = None) -> Answer:
        """One request about the members."""
        body = b"" if content is None else json.dumps(content).encode()
        host = str(self.socket) if self.kind == "corenode" else HOST
        async with Connection(host, self.port) as connection:
            return await connection.send(method, target, body, "application/json", 10.0)


class Cluster:
    """Three members. Use it in a `with`: leaving it kills what still runs."""

    def __init__(self, kind: Kind, home: Path) -> None:
        self.kind: Kind = kind
        self.members = [Member(kind, home / f"n{number}", number) for number in range(1, SIZE + 1)]
        self.names = ",".join(f"{member.name}={member.peer_url}" for member in self.members)

    def __enter__(self) -> Self:
        for member in self.members:
            member.start(self.names)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for member in self.members:
            member.kill()

    async def until_healthy(self) -> None:
        """Wait until each member has a leader."""
        deadline = time.monotonic() + START_SECONDS
        for member in self.members:
            while True:
                try:
                    if (await member.ask("GET", "/health")).status == 200:
                        break
                except (NotSentError, LostError):
                    pass
                if time.monotonic() > deadline:
                    raise BenchError(f"{self.kind} {member.name} is not healthy; see {member.home}/output")
                await trio.sleep(0.05)

    async def leader(self) -> Member:
        """The member that leads; it comes first in `members` from now on."""
        await self.until_healthy()
        for member in self.members:
            if (await member.ask("GET", "/v2/stats/self")).json["state"] == "StateLeader":
                self.members.sort(key=lambda each: each is not member)
                return member
        raise BenchError(f"{self.kind} has no leader")


async def failover(cluster: Cluster) -> float:
    """Seconds from SIGKILL of the leader until a PUT that was sent after it succeeds.

    A client that is impatient: a new attempt each 20 ms, at one survivor after the other, none given up.
    """
    leader = await cluster.leader()
    await trio.sleep(1.0)
    survivors = cluster.members[1:]
    first, won = 0.0, trio.Event()

    async def attempt(member: Member) -> None:
        nonlocal first
        try:
            answer = await member.ask("PUT", "/v2/keys/failover", {"value": "x"}, seconds=30.0)
        except (NotSentError, LostError):
            return
        if answer.status in (200, 201) and not first:
            first = time.monotonic()
            won.set()

    async with trio.open_nursery() as nursery:
        leader.kill()
        killed = time.monotonic()
        while not won.is_set():
            for member in survivors:
                nursery.start_soon(attempt, member)
                await trio.sleep(ATTEMPT_EVERY_SECONDS / len(survivors))
            if time.monotonic() - killed > START_SECONDS:
                raise BenchError(f"{cluster.kind} takes no write after its leader was killed")
        nursery.cancel_scope.cancel()
    leader.start(cluster.names)
    await cluster.until_healthy()
    return first - killed


@dataclass(frozen=True)
class Load:
    """PUT over some connections, to the leader, to one follower, or spread over all."""

    through: str
    connections: int

    def targets(self, members: Sequence[Member]) -> list[tuple[Member, int]]:
        """Members, the leader first, and how many connections each gets."""
        if self.through == "leader":
            return [(members[0], self.connections)]
        if self.through == "follower":
            return [(members[1], self.connections)]
        return [
            (each, self.connections // SIZE + (place < self.connections % SIZE)) for place, each in enumerate(members)
        ]


LOADS = [
    Load("leader", 1),
    Load("follower", 1),
    *(Load(to, n) for n in (64, 256) for to in ("leader", "follower", "all")),
]


@dataclass
class Figures:
    """Everything that was measured of one kind."""

    failovers: list[float] = field(default_factory=list)
    rates: dict[Load, list[tuple[float, float]]] = field(default_factory=dict)
    """PUT a second, and p99 in ms (the worst of the targets), of each round."""
    failed: int = 0
    caught_up: dict[str, float] = field(default_factory=dict)


def drive(cluster: Cluster, load: Load, seconds: int) -> tuple[float, float, int]:
    """One run of wrk a target, all at once: PUT a second, p99 in ms, answers that were no success."""
    values = {"method": "PUT", "keys": KEYS, "query": "", "first": 0, "seed": time.time_ns() % 2**31}
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(SCRIPT % values)
        script.flush()
        running = [
            subprocess.Popen(
                ["wrk", "-t1", f"-c{count}", f"-d{seconds}s", "-s", script.name, member.url],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for member, count in load.targets(cluster.members)
        ]
        found = [json.loads(process.communicate(timeout=seconds + 30)[1]) for process in running]
    rate = sum(each["requests"] / each["microseconds"] * 1e6 for each in found)
    return rate, max(each["p99_us"] for each in found) / 1e3, sum(each["failed"] for each in found)


async def fill(cluster: Cluster, mib: int) -> None:
    """Write so many MiB through the leader, in values that do not compress."""
    leader = await cluster.leader()
    left = mib * MIB // FILL_BYTES

    async def write(number: int) -> None:
        nonlocal left
        async with Connection(HOST, leader.port) as connection:
            while left > 0:
                left -= 1
                value = os.urandom(FILL_BYTES // 2).hex()
                answer = await connection.ask("PUT", f"/v2/keys/fill/{left}", {"value": value}, seconds=30.0)
                if answer.status not in (200, 201):
                    raise BenchError(f"{cluster.kind} refused to be filled: {answer.status} {answer.body[:200]!r}")

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(write, number)


async def catch_up(cluster: Cluster, mib: int) -> dict[str, float]:
    """Replace a follower by a new member with no data; how long until it has applied all, and the memory of both."""
    began = time.monotonic()
    await fill(cluster, mib)
    filled = time.monotonic() - began
    leader = await cluster.leader()
    victim = cluster.members[-1]
    listed = (await leader.ask("GET", "/v2/members")).json["members"]
    old = next(each["id"] for each in listed if each["name"] == victim.name)
    victim.kill()
    await _changed(leader, "DELETE", f"/v2/members/{old}", None)
    shutil.rmtree(victim.home / "data")
    await _changed(leader, "POST", "/v2/members", {"peerURLs": [victim.peer_url]})
    wanted = int((await leader.ask("GET", "/v2/keys/fill/0")).headers["x-etcd-index"])
    peak: dict[str, int] = {}
    members = {"new": victim, "leader": leader}
    began = time.monotonic()
    victim.start(cluster.names, "existing")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch_memory, members, peak)
        with trio.fail_after(300):
            while not await _has_applied(victim, wanted):  # noqa: ASYNC110
                await trio.sleep(0.02)
        seconds = time.monotonic() - began
        await trio.sleep(2 * MEMORY_EVERY_SECONDS)
        nursery.cancel_scope.cancel()
    return {"mib": mib, "fill_seconds": filled, "seconds": seconds, **peak}


async def _has_applied(member: Member, index: int) -> bool:
    try:
        answer = await member.ask("GET", "/v2/keys/fill/0", seconds=1.0)
    except (NotSentError, LostError):
        return False
    return answer.status == 200 and int(answer.headers["x-etcd-index"]) >= index


async def _watch_memory(members: dict[str, Member], peak: dict[str, int]) -> None:
    """Keep the highest that each took, in MiB."""
    while True:
        for name, member in members.items():
            for part, size in zip(("rss", "anonymous"), member.memory(), strict=True):
                peak[f"{name}_{part}_mib"] = max(peak.get(f"{name}_{part}_mib", 0), size // MIB)
        await trio.sleep(MEMORY_EVERY_SECONDS)


async def _changed(member: Member, method: str, target: str, content: Any) -> None:
    deadline = time.monotonic() + 30
    while True:
        answer = await member.operate(method, target, content)
        if answer.status in (200, 201, 204):
            return
        if time.monotonic() > deadline:
            raise BenchError(f"{member.kind} refused {method} {target}: {answer.status} {answer.body[:200]!r}")
        await trio.sleep(0.2)


async def measure(given: argparse.Namespace, home: Path, say: Any) -> dict[Kind, Figures]:
    """Everything, the two kinds in turn."""
    figures: dict[Kind, Figures] = {kind: Figures() for kind in KINDS}
    with ExitStack() as stack:
        clusters = [stack.enter_context(Cluster(kind, home / kind)) for kind in KINDS]
        for cluster in clusters:
            await cluster.leader()
        for number in range(given.failovers):
            for cluster in clusters:
                say(f"fail-over {number + 1}, {cluster.kind}")
                figures[cluster.kind].failovers.append(await failover(cluster))
        for load in LOADS:
            for cluster in clusters:
                await cluster.leader()
                drive(cluster, load, 1)
            for _ in range(given.rounds):
                for cluster in clusters:
                    say(f"{load.connections} connections, {load.through}, {cluster.kind}")
                    rate, p99, failed = drive(cluster, load, given.seconds)
                    figures[cluster.kind].rates.setdefault(load, []).append((rate, p99))
                    figures[cluster.kind].failed += failed
    if given.mib:
        for kind in KINDS:
            say(f"a new member, {given.mib} MiB, {kind}")
            with Cluster(kind, home / f"{kind}-full") as cluster:
                figures[kind].caught_up = await catch_up(cluster, given.mib)
            shutil.rmtree(home / f"{kind}-full")
    return figures


def table(figures: dict[Kind, Figures]) -> Table:
    """Medians, and of the rates the ratio of the pairs."""
    shown = Table(title="three members beside etcd's three: medians")
    for heading in ("", "conn.", "corenode", "etcd", "ratio", "p99 ms", "etcd"):
        shown.add_column(heading, justify="right" if heading else "left")
    ours, theirs = (figures[kind] for kind in KINDS)
    if ours.failovers:
        pair = [statistics.median(each.failovers) for each in (ours, theirs)]
        shown.add_row("fail-over, s", "", *(f"{each:.2f}" for each in pair), f"{pair[0] / pair[1]:.2f}", "", "")
    for load, runs in ours.rates.items():
        others = theirs.rates[load]
        ratio = statistics.median(one[0] / other[0] for one, other in zip(runs, others, strict=True))
        cells = [f"{statistics.median(run[0] for run in each):,.0f}" for each in (runs, others)]
        late = [f"{statistics.median(run[1] for run in each):.1f}" for each in (runs, others)]
        shown.add_row(f"PUT/s, {load.through}", str(load.connections), *cells, f"{ratio:.2f}", *late)
    for name in ours.caught_up:
        if name != "mib":
            words = f"new member: {name.replace('_', ' ')}"
            shown.add_row(words, "", f"{ours.caught_up[name]:,.1f}", f"{theirs.caught_up[name]:,.1f}", "", "", "")
    return shown


def raw(figures: dict[Kind, Figures]) -> Iterator[dict[str, Any]]:
    """Every single figure, a line each."""
    for kind, each in figures.items():
        for number, seconds in enumerate(each.failovers):
            yield {"server": kind, "measured": "failover", "round": number, "seconds": round(seconds, 4)}
        for load, runs in each.rates.items():
            for number, (rate, p99) in enumerate(runs):
                line = {"server": kind, "measured": "put", "through": load.through, "connections": load.connections}
                yield {**line, "round": number, "rate": round(rate, 1), "p99_ms": p99}
        if each.caught_up:
            yield {"server": kind, "measured": "new member", **{k: round(v, 3) for k, v in each.caught_up.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description="Three members beside Debian's etcd.")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs a load (default 3)")
    parser.add_argument("--seconds", type=int, default=3, help="length of a run (default 3)")
    parser.add_argument("--failovers", type=int, default=5, help="how often each leader is killed (default 5)")
    parser.add_argument("--mib", type=int, default=256, help="state of which a new member catches up (default 256)")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    parser.add_argument("--record", action="store_true", help="append every figure to bench/cluster.jsonl")
    given = parser.parse_args()
    for program, package in (("wrk", "wrk"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            print(f"cluster: needs {program}: apt-get install {package}", file=sys.stderr)
            return 1
    begun = time.monotonic()
    given.dir.mkdir(parents=True, exist_ok=True)
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(dir=given.dir) as home, console.status("starting") as status:
        figures = trio.run(measure, given, Path(home), status.update)
    console = Console()
    Console(width=None if console.is_terminal else 110).print(table(figures))
    if given.record:
        common = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "cpus": os.cpu_count(),
            "load": os.getloadavg()[0],
        }
        with HISTORY.open("a") as history:
            history.writelines(json.dumps({**common, **line}) + "\n" for line in raw(figures))
    failed = sum(each.failed for each in figures.values())
    print(f"bench: {sum(1 for _ in raw(figures))} figures, {failed} requests failed, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
