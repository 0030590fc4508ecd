"""Handshakes a second, and what TLS costs PUT, beside Debian's etcd in the same run.

Both serve the same keys over plain HTTP and over mutual TLS; `ab` presents a client certificate. Each round measures
every workload against this node and then etcd, so that a ratio is always of neighbours in time. `ab` speaks HTTP/1.0,
which this node reads with h11 and not with its fast recogniser: read the cost of TLS here, not the rate of PUT.

    python bench/tls.py [--rounds 3] [--seconds 2] [--connections 16] [--dir build/bench]
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from core.tls.authority import Authority, create
from core.tls.identity import Role
from tests.whole.servers import HOST, KINDS, ROOT, Kind, Server, free_port

BODY = "value=0123456789012345678901234567890123456789012345678901234567890123"
HANDSHAKES, PUT_TLS, PUT_PLAIN = "handshakes", "PUT, mutual TLS", "PUT, plain"
WORKLOADS = (HANDSHAKES, PUT_TLS, PUT_PLAIN)

_RATE = re.compile(r"Requests per second:\s+([\d.]+)")
_DONE = re.compile(r"Complete requests:\s+(\d+)")
_FAILED = re.compile(r"(?:Failed requests|Write errors|Non-2xx responses):\s+(\d+)")


class Measured:
    """A server with a port for each scheme."""

    def __init__(self, kind: Kind, home: Path, authority: Authority) -> None:
        # A peer's certificate may be used both ways: etcd also calls itself with it.
        pair = authority.issue(Role.PEER, kind, [HOST], home / "certs")
        plain, self.tls_port = free_port(), free_port()
        urls = f"http://{HOST}:{plain},https://{HOST}:{self.tls_port}"
        extra = ["--listen-client-urls", urls, "--advertise-client-urls", urls, "--client-cert-auth"]
        extra += ["--cert-file", str(pair.certificate), "--key-file", str(pair.key)]
        self.server = Server(kind, home / kind, extra=[*extra, "--trusted-ca-file", str(home / "ca" / "ca.crt")])
        self.server.port = plain


def drive(measured: Measured, workload: str, files: Path, seconds: int, connections: int) -> tuple[float, int]:
    """One run of ab: requests a second, and how many failed."""
    command = ["ab", "-q", "-l", "-t", str(seconds), "-n", "10000000", "-c", str(connections)]
    if workload != PUT_PLAIN:
        command += ["-E", str(files / "client.pem")]
    if workload == HANDSHAKES:
        command.append(f"https://{HOST}:{measured.tls_port}/version")
    else:
        scheme, port = ("https", measured.tls_port) if workload == PUT_TLS else ("http", measured.server.port)
        command += ["-k", "-u", str(files / "body"), "-T", "application/x-www-form-urlencoded"]
        command.append(f"{scheme}://{HOST}:{port}/v2/keys/bench")
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30)
    rate, count = _RATE.search(done.stdout), _DONE.search(done.stdout)
    if done.returncode != 0 or rate is None or count is None or count[1] == "0":
        raise SystemExit(f"tls: ab failed against {measured.server.kind}: {done.stdout}{done.stderr}")
    return float(rate[1]), sum(int(found) for found in _FAILED.findall(done.stdout))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Handshakes and PUT over TLS, beside Debian's etcd.")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs a workload (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a run (default 2)")
    parser.add_argument("--connections", type=int, default=16, help="at a time (default 16)")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    return parser.parse_args()


def table(rates: dict[tuple[str, Kind], list[float]]) -> Table:
    """Medians, and the median ratio of each pair."""
    shown = Table(title="this node beside etcd: medians of requests a second, and the ratio of each pair")
    for heading in ("", "node/s", "etcd/s", "ratio", "least", "most"):
        shown.add_column(heading, justify="right" if heading else "left")
    for workload in WORKLOADS:
        ours, theirs = rates[workload, "corenode"], rates[workload, "etcd"]
        ratios = [mine / other for mine, other in zip(ours, theirs, strict=True)]
        cells = [f"{statistics.median(ours):,.0f}", f"{statistics.median(theirs):,.0f}"]
        shown.add_row(workload, *cells, *(f"{of(ratios):.2f}" for of in (statistics.median, min, max)))
    costs = [1 - statistics.median(rates[PUT_TLS, kind]) / statistics.median(rates[PUT_PLAIN, kind]) for kind in KINDS]
    shown.add_row("PUT: cost of TLS", *(f"{cost:.0%}" for cost in costs), "", "", "")
    return shown


def main() -> int:
    given = arguments()
    for program, package in (("ab", "apache2-utils"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            print(f"tls: needs {program}: apt-get install {package}", file=sys.stderr)
            return 1
    begun = time.monotonic()
    given.dir.mkdir(parents=True, exist_ok=True)
    rates: dict[tuple[str, Kind], list[float]] = defaultdict(list)
    failed = 0
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.dir)))
        create(home / "ca", "authority of a benchmark")
        authority = Authority.open(home / "ca")
        pair = authority.issue(Role.CLIENT, "client", [], home / "certs")
        (home / "client.pem").write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
        (home / "body").write_text(BODY)
        servers = [Measured(kind, home, authority) for kind in KINDS]
        for measured in servers:
            stack.enter_context(measured.server)
        for round_ in range(-1, given.rounds):  # the first does not count
            for workload in WORKLOADS:
                for measured in servers:
                    rate, bad = drive(measured, workload, home, given.seconds, given.connections)
                    failed += bad
                    if round_ >= 0:
                        rates[workload, measured.server.kind].append(rate)
    Console().print(table(rates))
    print(f"tls: {given.rounds} rounds, {failed} failed, {time.monotonic() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
