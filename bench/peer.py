"""What a link between two members costs: round trips, frames a second, bytes a second, snapshots; plain and with TLS.

Two processes on loopback. One sends, the other sends everything back on its own link, as raft's answers do.

    python -m bench.peer [--seconds 3] [--size 300]
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import trio

from core.addresses import Url
from core.peer import Address, Answer, Links, PeerIdentity, PeerServer, Plain, open_listeners
from core.tls import peer_client_context, peer_server_context
from core.tls.authority import Authority, create
from core.tls.identity import Role

ECHO, COUNT = 1, 2
MIB = 1 << 20
WINDOW = 256
"""Frames under way when their number a second is measured."""
SNAPSHOT_MIB = 512


class Bench:
    """One of the two members."""

    def __init__(self, number: int, home: Path, scheme: str) -> None:
        self.number, self.other = number, 3 - number
        self.scheme = scheme
        self.secure = scheme == "https"
        self.files = home / f"n{number}.crt", home / f"n{number}.key", home / "ca" / "ca.crt"
        identity = PeerIdentity(cluster=1, member=number, name=f"n{number}", program="bench")
        connect = (lambda: peer_client_context(*self.files)) if self.secure else None
        self.links = Links(identity, self.receive, self.install, connect=connect)
        self.answers = 0
        self.wanted = 0
        self.done = trio.Event()

    def receive(self, sender: int, kind: int, content: Plain) -> None:
        if kind == ECHO:
            self.links.send(sender, COUNT, 1 if isinstance(content, list) and content[0] else content)
            return
        self.answers += 1
        if self.answers >= self.wanted:
            self.done.set()

    async def install(self, sender: int, content: Plain, pieces: AsyncIterator[bytes]) -> None:
        async for _ in pieces:
            pass

    def answer(self, path: str, name: str) -> Answer:
        return 404, [], b""

    async def start(self, nursery: trio.Nursery) -> int:
        """Listen; returns the port."""
        listeners = await open_listeners([Url(self.scheme, "127.0.0.1", 0)])
        context = (lambda: peer_server_context(*self.files)) if self.secure else None
        await nursery.start(PeerServer(self.links, listeners, context=context, answer=self.answer).serve)
        await nursery.start(self.links.run)
        return listeners[0].url.port

    def follow(self, port: int) -> None:
        """Know the other by its port."""
        self.links.follow({self.other: Address(f"n{self.other}", (Url(self.scheme, "127.0.0.1", port),))})

    async def meet(self) -> None:
        """Wait for both links: what is sent before is dropped."""
        while not self.answers:
            self.links.send(self.other, ECHO, [False, b""])
            await trio.sleep(0.1)

    async def send(self, content: Plain) -> None:
        """Send, and wait for place if there is none."""
        while not self.links.send(self.other, ECHO, content):  # noqa: ASYNC110
            await trio.sleep(0.001)

    async def exchange(self, count: int, content: Plain) -> None:
        """So many at once, and all answers."""
        self.done, self.wanted = trio.Event(), self.answers + count
        for _ in range(count):
            await self.send(content)
        await self.done.wait()


async def echo(home: Path, scheme: str, port: int) -> None:
    """The other process; prints its port."""
    async with trio.open_nursery() as nursery:
        bench = Bench(2, home, scheme)
        print(await bench.start(nursery), flush=True)
        bench.follow(port)


async def zeros(count: int) -> AsyncIterator[bytes]:
    """A snapshot."""
    for _ in range(count * 4):
        yield bytes(MIB // 4)


async def measure(home: Path, scheme: str, seconds: float, size: int) -> None:
    """Start the other process and measure."""
    async with trio.open_nursery() as nursery:
        bench = Bench(1, home, scheme)
        port = await bench.start(nursery)
        command = [sys.executable, __file__, "--echo", str(home), scheme, str(port)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
        try:
            line = await trio.to_thread.run_sync(process.stdout.readline) if process.stdout else ""
            bench.follow(int(line))
            await bench.meet()
            await report(bench, seconds, size)
        finally:
            process.terminate()
            process.wait()
            if process.stdout:
                process.stdout.close()
        nursery.cancel_scope.cancel()


async def report(bench: Bench, seconds: float, size: int) -> None:
    """One line of figures."""
    entry: Plain = [False, 5, 100, 5, 99, [[101, 5, 0, b"e" * size]]]
    times = []
    end = time.perf_counter() + seconds
    while (begin := time.perf_counter()) < end:
        await bench.exchange(1, entry)
        times.append((time.perf_counter() - begin) * 1000)
    rounds, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        await bench.exchange(WINDOW, entry)
        rounds += 1
    frames = rounds * WINDOW / (time.perf_counter() - begin)
    large: Plain = [True, b"x" * MIB]
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        await bench.exchange(8, large)
        count += 8
    bulk = count / (time.perf_counter() - begin)
    begin = time.perf_counter()
    await bench.links.send_snapshot(bench.other, None, zeros(SNAPSHOT_MIB))
    snapshot = SNAPSHOT_MIB / (time.perf_counter() - begin)
    centiles = statistics.quantiles(times, n=100)
    print(
        f"{bench.scheme:6} round trip {statistics.median(times):.3f} ms, p99 {centiles[98]:.3f} ms;"
        f" {frames:,.0f} frames/s there and back; 1 MiB frames {bulk:,.0f} MiB/s;"
        f" snapshot {snapshot:,.0f} MiB/s, sender's memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}"
        " MiB"
    )


def main() -> None:
    """Measure plain, then TLS."""
    parser = argparse.ArgumentParser(description="What a link between two members costs.")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement (default 3)")
    parser.add_argument("--size", type=int, default=300, help="bytes of an entry (default 300)")
    parser.add_argument("--echo", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.echo:
        home, scheme, port = given.echo
        trio.run(echo, Path(home), scheme, int(port))
        return
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        create(home / "ca", "authority of a benchmark")
        authority = Authority.open(home / "ca")
        for number in (1, 2):
            authority.issue(Role.PEER, f"n{number}", ["127.0.0.1"], home, timedelta(days=1))
        for scheme in ("http", "https"):
            trio.run(measure, home, scheme, given.seconds, given.size)


if __name__ == "__main__":
    main()
