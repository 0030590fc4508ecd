"""Three members beside Debian's etcd with three: fail-over, and a new member that catches up.

    python -m bench.cluster [--failovers 5] [--mib 256] [--dir build/bench] [--record]

Both clusters live on loopback, plain HTTP between members, each with its defaults; README.md describes the method. What
three members take a second is among the rows of `python -m bench`.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from rich.console import Console
from rich.table import Table

from bench import history
from bench.programs import SIDES, Program, Side, corenode, etcd
from bench.servers import START_SECONDS, Cluster, Member, ServerError
from bench.usage import anonymous_bytes, resident_bytes
from tests.chaos.requests import Answer, Connection, LostError, NotSentError
from tests.whole.servers import HOST, ROOT

SIZE = 3
ATTEMPT_EVERY_SECONDS = 0.02
MEMORY_EVERY_SECONDS = 0.05
FILL_BYTES = 64 << 10
"""A value while a state is filled for a new member."""
MIB = 1 << 20


async def ask(
    member: Member, method: str, target: str, form: dict[str, str] | None = None, seconds: float = 2.0
) -> Answer:
    """One request on a connection of its own. NotSentError, LostError."""
    async with Connection(HOST, member.port) as connection:
        return await connection.ask(method, target, form, seconds=seconds)


async def failover(cluster: Cluster) -> float:
    """Seconds from SIGKILL of the leader until a PUT that was sent after it succeeds.

    A client that is impatient: a new attempt each 20 ms, at one survivor after the other, none given up.
    """
    leader = cluster.leader()
    await trio.sleep(1.0)
    survivors = cluster.members[1:]
    first, won = 0.0, trio.Event()

    async def attempt(member: Member) -> None:
        nonlocal first
        try:
            answer = await ask(member, "PUT", "/v2/keys/failover", {"value": "x"}, seconds=30.0)
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
                raise ServerError(f"{cluster.program.name} takes no write after its leader was killed")
        nursery.cancel_scope.cancel()
    leader.start(cluster.names)
    cluster.until_healthy()
    return first - killed


async def fill(cluster: Cluster, mib: int) -> None:
    """Write so many MiB through the leader, in values that do not compress."""
    leader = cluster.leader()
    left = mib * MIB // FILL_BYTES

    async def write(number: int) -> None:
        nonlocal left
        async with Connection(HOST, leader.port) as connection:
            while left > 0:
                left -= 1
                value = os.urandom(FILL_BYTES // 2).hex()
                answer = await connection.ask("PUT", f"/v2/keys/fill/{left}", {"value": value}, seconds=30.0)
                if answer.status not in (200, 201):
                    raise ServerError(
                        f"{cluster.program.name} refused to be filled: {answer.status} {answer.body[:200]!r}"
                    )

    async with trio.open_nursery() as nursery:
        for number in range(16):
            nursery.start_soon(write, number)


async def catch_up(cluster: Cluster, mib: int) -> dict[str, float]:
    """Replace a follower by a new member with no data; how long until it has applied all, and the memory of both."""
    began = time.monotonic()
    await fill(cluster, mib)
    filled = time.monotonic() - began
    leader = cluster.leader()
    victim = cluster.members[-1]
    listed = (await ask(leader, "GET", "/v2/members")).json["members"]
    old = next(each["id"] for each in listed if each["name"] == victim.name)
    victim.kill()
    await _changed(leader, "DELETE", f"/v2/members/{old}", None)
    shutil.rmtree(victim.home / "data")
    await _changed(leader, "POST", "/v2/members", {"peerURLs": [victim.peer_url]})
    wanted = int((await ask(leader, "GET", "/v2/keys/fill/0")).headers["x-etcd-index"])
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
        answer = await ask(member, "GET", "/v2/keys/fill/0", seconds=1.0)
    except (NotSentError, LostError):
        return False
    return answer.status == 200 and int(answer.headers["x-etcd-index"]) >= index


async def _watch_memory(members: dict[str, Member], peak: dict[str, int]) -> None:
    """Keep the highest that each took, in MiB."""
    while True:
        for name, member in members.items():
            for part, size in (("rss", resident_bytes(member.pid)), ("anonymous", anonymous_bytes(member.pid))):
                peak[f"{name}_{part}_mib"] = max(peak.get(f"{name}_{part}_mib", 0), size // MIB)
        await trio.sleep(MEMORY_EVERY_SECONDS)


async def _changed(member: Member, method: str, target: str, content: Any) -> None:
    deadline = time.monotonic() + 30
    while True:
        answer = await _operate(member, method, target, content)
        if answer.status in (200, 201, 204):
            return
        if time.monotonic() > deadline:
            raise ServerError(f"{member.program.name} refused {method} {target}: {answer.status} {answer.body[:200]!r}")
        await trio.sleep(0.2)


async def _operate(member: Member, method: str, target: str, content: Any) -> Answer:
    """One request about the members: this node takes them from the host itself, on its unix socket."""
    body = b"" if content is None else json.dumps(content).encode()
    host = HOST if member.program.is_etcd else str(member.socket)
    async with Connection(host, member.port) as connection:
        return await connection.send(method, target, body, "application/json", 10.0)


@dataclass
class Figures:
    """Everything that was measured of one side."""

    failovers: list[float] = field(default_factory=list)
    caught_up: dict[str, float] = field(default_factory=dict)


async def measure(
    programs: Mapping[Side, Program], given: argparse.Namespace, home: Path, say: Callable[[str], None]
) -> dict[Side, Figures]:
    """Everything, the two sides in turn."""
    figures = {side: Figures() for side in SIDES}
    with ExitStack() as stack:
        clusters = {side: stack.enter_context(Cluster(programs[side], home / side, SIZE)) for side in SIDES}
        for number in range(given.failovers):
            for side, cluster in clusters.items():
                say(f"fail-over {number + 1}, {cluster.program.name}")
                figures[side].failovers.append(await failover(cluster))
    if given.mib:
        for side in SIDES:
            say(f"a new member, {given.mib} MiB, {programs[side].name}")
            with Cluster(programs[side], home / f"{side}-full", SIZE) as cluster:
                figures[side].caught_up = await catch_up(cluster, given.mib)
            shutil.rmtree(home / f"{side}-full")
    return figures


def table(figures: Mapping[Side, Figures]) -> Table:
    """Medians."""
    shown = Table(title="three members beside etcd's three")
    for heading in ("", "node", "etcd"):
        shown.add_column(heading, justify="right" if heading else "left")
    if figures["ours"].failovers:
        shown.add_row("fail-over, s", *(f"{statistics.median(figures[side].failovers):.2f}" for side in SIDES))
    for name in figures["ours"].caught_up:
        if name != "mib":
            cells = (f"{figures[side].caught_up[name]:,.1f}" for side in SIDES)
            shown.add_row(f"new member: {name.replace('_', ' ')}", *cells)
    return shown


def main() -> int:
    parser = argparse.ArgumentParser(description="Fail-over and a new member, beside Debian's etcd.")
    parser.add_argument("--failovers", type=int, default=5, help="how often each leader is killed (default 5)")
    parser.add_argument("--mib", type=int, default=256, help="state of which a new member catches up (default 256)")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    parser.add_argument("--record", action="store_true", help="append every figure to bench/history.jsonl")
    given = parser.parse_args()
    if shutil.which("etcd") is None:
        print("cluster: needs etcd: apt-get install etcd-server", file=sys.stderr)
        return 1
    begun = time.monotonic()
    given.dir.mkdir(parents=True, exist_ok=True)
    programs = dict(zip(SIDES, (corenode(), etcd()), strict=True))
    with tempfile.TemporaryDirectory(dir=given.dir) as home, Console(stderr=True).status("starting") as status:
        figures = trio.run(measure, programs, given, Path(home), status.update)
    Console().print(table(figures))
    if given.record:
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        for side in SIDES:
            history.append({"time": now, "server": programs[side].name, "cluster": vars(figures[side])})
    print(f"cluster: {given.failovers} fail-overs of each, {time.monotonic() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
