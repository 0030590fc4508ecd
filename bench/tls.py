"""Handshakes a second, mutual TLS 1.3, beside Debian's etcd: a connection for each request, by `ab`.

    python -m bench.tls [--rounds 3] [--seconds 2] [--connections 16] [--dir build/bench]

What TLS costs the requests on connections that stay open is among the rows of `python -m bench`.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.programs import SIDES, Side, corenode, etcd
from bench.servers import Cluster, Keys
from tests.whole.servers import ROOT

_RATE = re.compile(r"Requests per second:\s+([\d.]+)")
_DONE = re.compile(r"Complete requests:\s+(\d+)")
_FAILED = re.compile(r"(?:Failed requests|Write errors|Non-2xx responses):\s+(\d+)")


def drive(cluster: Cluster, identity: Path, seconds: int, connections: int) -> tuple[float, int]:
    """One run of ab: requests a second, and how many failed."""
    command = ["ab", "-q", "-l", "-t", str(seconds), "-n", "10000000", "-c", str(connections), "-E", str(identity)]
    done = subprocess.run(
        [*command, f"{cluster.members[0].url}/version"], capture_output=True, text=True, timeout=seconds + 30
    )
    rate, count = _RATE.search(done.stdout), _DONE.search(done.stdout)
    if done.returncode != 0 or rate is None or count is None or count[1] == "0":
        raise SystemExit(f"tls: ab failed against {cluster.program.name}: {done.stdout}{done.stderr}")
    return float(rate[1]), sum(int(found) for found in _FAILED.findall(done.stdout))


def main() -> int:
    parser = argparse.ArgumentParser(description="Handshakes of mutual TLS, beside Debian's etcd.")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs (default 3)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a run (default 2)")
    parser.add_argument("--connections", type=int, default=16, help="at a time (default 16)")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    given = parser.parse_args()
    for program, package in (("ab", "apache2-utils"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            print(f"tls: needs {program}: apt-get install {package}", file=sys.stderr)
            return 1
    given.dir.mkdir(parents=True, exist_ok=True)
    rates: dict[Side, list[float]] = {side: [] for side in SIDES}
    failed = 0
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=given.dir)))
        keys = Keys(home / "ca")
        identity = home / "client.pem"
        identity.write_bytes(keys.client.certificate.read_bytes() + keys.client.key.read_bytes())
        programs = dict(zip(SIDES, (corenode(), etcd()), strict=True))
        clusters = {side: stack.enter_context(Cluster(programs[side], home / side, 1, keys)) for side in SIDES}
        for number in range(-1, given.rounds):  # the first does not count
            for side, cluster in clusters.items():
                rate, bad = drive(cluster, identity, given.seconds, given.connections)
                failed += bad
                if number >= 0:
                    rates[side].append(rate)
    ratios = [ours / theirs for ours, theirs in zip(rates["ours"], rates["theirs"], strict=True)]
    shown = Table(title="handshakes a second: medians, and the ratio of each pair")
    for heading in ("node/s", "etcd/s", "ratio", "least", "most"):
        shown.add_column(heading, justify="right")
    figures = (f"{of(ratios):.2f}" for of in (statistics.median, min, max))
    shown.add_row(*(f"{statistics.median(rates[side]):,.0f}" for side in SIDES), *figures)
    Console().print(shown)
    print(f"tls: {given.rounds} rounds, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
