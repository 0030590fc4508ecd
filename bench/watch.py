"""What a watch costs that waits: resident memory of a server with 10,000 of them, beside Debian's etcd.

    python -m bench.watch [--dir build/bench]

How fast events reach many watches is among the rows of `python -m bench`.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.fanout import Crowd, MissingError, message, watch_of
from bench.programs import Program, corenode, etcd
from bench.servers import Cluster
from bench.usage import resident_bytes, tree
from tests.whole.servers import ROOT

IDLE = 10_000
SETTLE_SECONDS = 1.0


def memory(program: Program, home: Path, *, alone: bool) -> float | None:
    """Bytes of resident memory a watch, in a server that has just started; None if they do not open.

    Each is on a connection of its own, or all are on one. The gateway of etcd 3.4 stops reading a request when it
    begins to answer, so how many watches one request opens there is chance.
    """
    creates = [json.dumps(watch_of(f"idle/{number}")).encode() for number in range(IDLE)]
    requests = [message("/v3/watch", body) for body in (creates if alone else [b"".join(creates)])]
    with Cluster(program, home, 1) as cluster:
        port = cluster.members[0].port
        Crowd(port, [message("/v3/watch", watch_of("first"))], 1).close()
        time.sleep(SETTLE_SECONDS)
        before = _resident(cluster)
        try:
            with Crowd(port, requests, IDLE):
                time.sleep(SETTLE_SECONDS)
                return (_resident(cluster) - before) / IDLE
        except MissingError:
            return None


def _resident(cluster: Cluster) -> int:
    return sum(resident_bytes(pid) for pid in tree(cluster.members[0].pid))


def main() -> int:
    parser = argparse.ArgumentParser(description="Memory of watches that wait, beside Debian's etcd.")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="the disk to measure on")
    given = parser.parse_args()
    if shutil.which("etcd") is None:
        print("watch: needs etcd: apt-get install etcd-server", file=sys.stderr)
        return 1
    given.dir.mkdir(parents=True, exist_ok=True)
    shown = Table(title=f"bytes of a watch that waits, of {IDLE:,}")
    for heading in ("", "node", "etcd"):
        shown.add_column(heading, justify="right" if heading else "left")
    with tempfile.TemporaryDirectory(dir=given.dir) as home:
        for name, alone in (("on one connection", False), ("each on its own connection", True)):
            taken = [
                memory(program, Path(home) / f"{program.name}-{alone}", alone=alone) for program in (corenode(), etcd())
            ]
            shown.add_row(name, *("-" if size is None else f"{size:,.0f}" for size in taken))
    Console().print(shown)
    print(f"watch: {IDLE:,} watches, four times")
    return 0


if __name__ == "__main__":
    sys.exit(main())
