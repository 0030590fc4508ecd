"""`python -m bench.stalls`: loads that may hold the loop, each on a fresh member under a steady background of puts.

A row tells how many puts a second were answered before and during the load, the slowest of them, how long one pass of
the member's loop took at most, by the processor time of its thread and by the wall (both from its /metrics; what
prepares the row counts too), and its anonymous memory. With `--members 3` the member is the leader of three, and the
holds are the longest of all; with `--tls` every connection is one of mutual TLS.
"""

import argparse
import contextlib
import http.client
import json
import socket
import ssl
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.__main__ import WIDTH, alone
from bench.programs import Program, corenode
from bench.servers import Cluster, Keys, Member
from bench.usage import Meter
from tests.whole.servers import HOST, ROOT

LIMIT_MS = 50.0
"""No load may hold the loop for longer, in processor time."""
WRITERS = 4
BEFORE_SECONDS = 2.0
BATCH = 100
PATIENCE_SECONDS = 300.0


class Caller:
    """One connection to a member, and more where they are wanted."""

    def __init__(self, member: Member, tls: ssl.SSLContext | None = None) -> None:
        self.member = member
        self._tls = tls
        self._connection = self.another()

    def another(self) -> http.client.HTTPConnection:
        """A connection like this one."""
        if self._tls is None:
            return http.client.HTTPConnection(HOST, self.member.port, timeout=PATIENCE_SECONDS)
        return http.client.HTTPSConnection(HOST, self.member.port, timeout=PATIENCE_SECONDS, context=self._tls)

    def ask(self, method: str, target: str, body: object = None) -> bytes:
        """The body of a success. RuntimeError for any other answer."""
        data = body if isinstance(body, str | None) else json.dumps(body)
        self._connection.request(method, target, data)
        answer = self._connection.getresponse()
        found = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{method} {target} was answered {answer.status}: {found[:300]!r}")
        return found

    def post(self, target: str, **fields: object) -> bytes:
        """A call of v3."""
        return self.ask("POST", f"/v3/{target}", fields)

    def fill(self, prefix: str, keys: int, value: str = "v" * 64, lease: int = 0) -> None:
        """Put so many keys, in transactions."""
        held = {"lease": str(lease)} if lease else {}
        for start in range(0, keys, BATCH):
            names = [f"{prefix}{number:08}" for number in range(start, min(start + BATCH, keys))]
            puts = [{"request_put": {"key": text(name), "value": text(value), **held}} for name in names]
            self.post("kv/txn", success=puts)

    def close(self) -> None:
        self._connection.close()


def text(raw: str) -> str:
    return b64encode(raw.encode()).decode()


def below(prefix: str) -> dict[str, str]:
    """The range of all keys with a prefix that ends with a slash."""
    return {"key": text(prefix), "range_end": text(prefix[:-1] + "0")}


class Background:
    """Puts over some connections, one after the other on each, until it is left."""

    def __init__(self, connect: Callable[[], Caller]) -> None:
        self.answered = 0
        self.slowest = 0.0
        self._connect = connect
        self._ended = False
        self._failed: Exception | None = None
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(WRITERS)]

    def __enter__(self) -> "Background":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        for thread in self._threads:
            thread.join()
        if self._failed is not None:
            raise self._failed

    def _run(self, number: int) -> None:
        try:
            with contextlib.closing(self._connect()) as caller:
                while not self._ended:
                    began = time.monotonic()
                    caller.post("kv/put", key=text(f"background{number}"), value=text("v" * 64))
                    self.slowest = max(self.slowest, time.monotonic() - began)
                    self.answered += 1
        except Exception as error:
            self._failed = error


@dataclass(frozen=True)
class Load:
    """What is done to a member: first without anybody beside it, then beside the background."""

    run: Callable[[Caller], None]
    prepare: Callable[[Caller], None] = lambda caller: None


def _delete_range(keys: int) -> Load:
    def run(caller: Caller) -> None:
        if f'"deleted":"{keys}"'.encode() not in (found := caller.post("kv/deleterange", **below("d/"))):
            raise RuntimeError(f"not all keys were deleted: {found!r}")

    return Load(run, lambda caller: caller.fill("d/", keys))


def _delete_watched(keys: int) -> Load:
    """A watch of all of them, whose client reads what it is told."""
    plain = _delete_range(keys)

    def run(caller: Caller) -> None:
        with contextlib.closing(caller.another()) as watcher:
            watcher.request("POST", "/v3/watch", json.dumps({"create_request": below("d/")}))
            told = watcher.getresponse()
            told.readline()
            plain.run(caller)
            left = keys
            while left > 0:
                left -= told.readline().count(b'"type":"DELETE"')

    return Load(run, plain.prepare)


def _delete_tree(caller: Caller) -> None:
    caller.ask("DELETE", "/v2/keys/d?recursive=true")


def _lease(caller: Caller) -> None:
    caller.post("lease/grant", ID="5", TTL="9000")
    caller.fill("l/", 10_000, lease=5)


def _directories(caller: Caller) -> None:
    """20,000, each with one key."""
    for start in range(0, 20_000, BATCH):
        names = [f"/d/{number:08}/k" for number in range(start, start + BATCH)]
        caller.post("kv/txn", success=[{"request_put": {"key": text(name), "value": text("v")}} for name in names])


def _delete_shown(keys: int) -> Load:
    """In a transaction that shows what it deleted."""

    def run(caller: Caller) -> None:
        found = caller.post("kv/txn", success=[{"request_delete_range": {**below("d/"), "prev_kv": True}}])
        if found.count(b'"key"') != keys:
            raise RuntimeError(f"not all keys were shown: {found[:300]!r}")

    return Load(run, lambda caller: caller.fill("d/", keys))


def _revoke(caller: Caller) -> None:
    caller.post("lease/revoke", ID="5")


def _big_values(caller: Caller) -> None:
    for number in range(40):
        caller.post("kv/put", key=text(f"big{number}"), value=text("v" * 1_000_000))


def _history(caller: Caller) -> None:
    for _ in range(1000):
        caller.fill("h/", BATCH)


def _compact(caller: Caller) -> None:
    found = json.loads(caller.post("kv/range", key=text("none")))
    caller.post("kv/compaction", revision=found["header"]["revision"], physical=True)


def _busy_snapshots(caller: Caller) -> None:
    """Each of what was only just written."""
    for _ in range(3):
        caller.fill("s/", 10_000)
        _snapshots(caller, 1)


def _snapshots(caller: Caller, times: int = 3) -> None:
    operator = http.client.HTTPConnection(HOST, timeout=PATIENCE_SECONDS)
    operator.sock = socket.socket(socket.AF_UNIX)
    operator.sock.connect(str(caller.member.socket))
    with contextlib.closing(operator):
        for _ in range(times):
            operator.request("POST", "/v3/maintenance/snapshot", "{}")
            if len(operator.getresponse().read()) < 1 << 20:
                raise RuntimeError("no snapshot came")


def _slow_watcher(caller: Caller) -> None:
    with contextlib.closing(caller.another()) as slow:
        slow.request("POST", "/v3/watch", json.dumps({"create_request": below("w/")}))
        caller.fill("w/", 20_000, "v" * 200)


def _leases(caller: Caller) -> None:
    for lease in range(1, 10_001):
        caller.post("lease/grant", ID=str(lease), TTL="20")


def _expiry(caller: Caller) -> None:
    deadline = time.monotonic() + 60
    while b'"ID"' in caller.post("lease/leases") and time.monotonic() < deadline:
        time.sleep(0.5)


def _ranges(caller: Caller) -> None:
    for _ in range(10):
        caller.post("kv/range", **below("d/"))


def _ranges_in_transactions(caller: Caller) -> None:
    for _ in range(5):
        caller.post("kv/txn", success=[{"request_range": {**below("d/"), "limit": "9900"}}])


def loads(keys: int) -> Mapping[str, Load]:
    """All rows."""
    many = f"{keys:,}"
    return {
        "nothing, the start included": Load(lambda caller: time.sleep(BEFORE_SECONDS)),
        "range delete of 20,000 keys": _delete_range(20_000),
        f"range delete of {many} keys": _delete_range(keys),
        "the same with a watch of them": _delete_watched(keys),
        "v2 delete of a tree of 20,000": Load(_delete_tree, lambda caller: caller.fill("/d/", 20_000)),
        "v2 delete of 20,000 directories": Load(_delete_tree, _directories),
        f"delete of {many} keys in a transaction that shows them": _delete_shown(keys),
        "revoking a lease of 10,000 keys": Load(_revoke, _lease),
        "10,000 leases expire": Load(_expiry, _leases),
        "ranges of 10,000 keys": Load(_ranges, lambda caller: caller.fill("d/", 10_000)),
        "the same in transactions": Load(_ranges_in_transactions, lambda caller: caller.fill("d/", 10_000)),
        "values of 1 MB": Load(_big_values),
        "compaction of 100,000 revisions": Load(_compact, _history),
        "snapshots of 100,000 keys": Load(_snapshots, lambda caller: caller.fill("s/", 100_000)),
        "snapshots behind 10,000 puts": Load(_busy_snapshots),
        "a watcher that does not read": Load(_slow_watcher),
        f"filling in {many} keys": Load(lambda caller: caller.fill("m/", keys)),
    }


@dataclass(frozen=True)
class Row:
    """What was seen."""

    before: float
    during: float
    seconds: float
    slowest_ms: float
    processor_ms: float
    wall_ms: float
    memory: int


def holds(member: Member) -> dict[str, float]:
    """The longest hold in ms, by clock."""
    shown = (member.ask("GET", "/metrics") or b"").decode()
    marked = 'corenode_loop_hold_longest_seconds{time="'
    lines = [line.removeprefix(marked).split('"} ') for line in shown.splitlines() if line.startswith(marked)]
    return {kind: float(seconds) * 1e3 for kind, seconds in lines}


@contextlib.contextmanager
def watched(members: Sequence[Member]) -> Iterator[dict[str, float]]:
    """The longest holds of any, complete when it is left; a member itself forgets them after a minute."""
    longest = {"processor": 0.0, "wall": 0.0}
    ended = threading.Event()

    def look() -> None:
        while True:
            last = ended.wait(20)
            for member in members:
                for kind, found in holds(member).items():
                    longest[kind] = max(longest[kind], found)
            if last:
                return

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield longest
    finally:
        ended.set()
        thread.join()


def measure(program: Program, home: Path, load: Load, members: int, *, tls: bool) -> Row:
    """One row. ServerError, RuntimeError."""
    keys = Keys(home / "ca") if tls else None
    context = None
    if keys is not None:
        context = ssl.create_default_context(cafile=home / "ca" / "ca.crt")
        context.load_cert_chain(keys.client.certificate, keys.client.key)
    with Cluster(program, home, members, keys) as cluster:
        leader = cluster.leader()
        watch, meter = watched(cluster.members), Meter(cluster.pids, home)
        with contextlib.closing(Caller(leader, context)) as caller, meter, watch as longest:
            load.prepare(caller)
            with Background(lambda: Caller(leader, context)) as background:
                time.sleep(BEFORE_SECONDS)
                before, background.answered, background.slowest = background.answered, 0, 0.0
                began = time.monotonic()
                load.run(caller)
                took = time.monotonic() - began
                answered = background.answered
        return Row(
            before / BEFORE_SECONDS,
            answered / took,
            took,
            background.slowest * 1e3,
            longest["processor"],
            longest["wall"],
            meter.usage.anonymous_bytes,
        )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.stalls", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", action="append", default=[], metavar="TEXT", help="rows whose name has it")
    parser.add_argument("--keys", type=int, default=100_000, help="of the row of many keys (default 100,000)")
    parser.add_argument("--members", type=int, choices=(1, 3), default=1, help="of the cluster (default 1)")
    parser.add_argument("--tls", action="store_true", help="with mutual TLS, among the members too")
    parser.add_argument("--tree", type=Path, default=ROOT, help="another version of this node")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "stalls", help="on the disk to measure")
    given = parser.parse_args()
    program = corenode(given.tree.resolve())
    table = Table("load", *("puts/s before", "during", "for s", "slowest ms", "hold ms, processor", "wall", "MiB"))
    held = []
    with alone(given.dir) as home:
        for number, (name, load) in enumerate(loads(given.keys).items()):
            if given.only and not any(part in name for part in given.only):
                continue
            print(f"stalls: {name}", file=sys.stderr)
            row = measure(program, home / str(number), load, given.members, tls=given.tls)
            table.add_row(
                name,
                *(f"{row.before:,.0f}", f"{row.during:,.0f}", f"{row.seconds:.1f}", f"{row.slowest_ms:,.0f}"),
                *(f"{row.processor_ms:,.0f}", f"{row.wall_ms:,.0f}", f"{row.memory >> 20:,}"),
            )
            if row.processor_ms > LIMIT_MS:
                held.append(name)
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(table)
    print(f"stalls: {table.row_count} loads, {len(held)} held the loop for more than {LIMIT_MS:g} ms: {held}")
    return 1 if held else 0


if __name__ == "__main__":
    sys.exit(main())
