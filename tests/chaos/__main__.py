"""`python -m tests.chaos [--minutes N] [--nodes 3] [--seed K]`; see `make chaos`."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
import time
from pathlib import Path

import trio

from tests.chaos.cluster import Cluster, ClusterError
from tests.chaos.faults import DIRECTED, KINDS
from tests.chaos.network import INSIDE, Network, inside, missing
from tests.chaos.run import Run, ViolationError, shortfalls, write_history
from tests.whole.servers import ROOT

KEPT = ROOT / "build" / "chaos"
ROUND_SECONDS = 20.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Real nodes under faults.")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long to go on (default 1)")
    parser.add_argument("--nodes", type=int, default=3, help="members of the cluster (default 3)")
    parser.add_argument("--seed", type=int, help="what to do to whom; when is up to the machine")
    parser.add_argument("--round", type=float, default=ROUND_SECONDS, help="seconds of faults between two judgements")
    parser.add_argument("--program", type=Path, default=ROOT / "cli.py", help="what to run as a node")
    parser.add_argument("--faults", nargs="+", choices=KINDS + DIRECTED, default=[], help="only these")
    arguments = parser.parse_args()
    if INSIDE not in os.environ:
        why = missing()
        if why:
            print(f"chaos: cannot make network namespaces: {why}", file=sys.stderr)
            return 1
        command = inside(["-m", "tests.chaos", *sys.argv[1:]])
        os.execvpe(command[0], command, {**os.environ, INSIDE: "1"})
    seed = arguments.seed if arguments.seed is not None else secrets.randbits(31)
    print(f"chaos: seed {seed}, {arguments.nodes} nodes", flush=True)
    with tempfile.TemporaryDirectory(prefix="chaos-") as home:
        return trio.run(_run, Path(home), seed, arguments)


async def _run(home: Path, seed: int, arguments: argparse.Namespace) -> int:
    began = time.monotonic()

    def say(what: str) -> None:
        print(f"chaos: {time.monotonic() - began:6.1f} s  {what}", flush=True)

    failed = 0
    with Network() as network, Cluster(home, arguments.nodes, network, arguments.program) as cluster:
        run = Run(cluster, seed, say, arguments.faults)
        try:
            await cluster.found()
            say(f"{arguments.nodes} nodes serve")
            await run.rounds(arguments.minutes * 60, arguments.round)
        except (ViolationError, ClusterError) as error:
            failed = 1
            say(f"VIOLATION: {error}")
            if isinstance(error, ViolationError) and error.record is not None:
                write_history(error.record, KEPT / f"{seed}.jsonl")
            for node in cluster.nodes:
                KEPT.mkdir(parents=True, exist_ok=True)
                shutil.copy(node.output_file, KEPT / f"{seed}-{node.name}.log")
            say(f"history and logs are in {KEPT}/{seed}*")
    minutes = run.totals.rounds * arguments.round / 60
    for line in [] if failed or arguments.faults else shortfalls(run.totals, minutes):
        failed = 1
        say(f"too little happened: {line}")
    print(
        f"chaos: {'FAILED' if failed else 'no violation'}; seed {seed}; {run.totals}; {time.monotonic() - began:.0f} s"
    )
    return failed


if __name__ == "__main__":
    sys.exit(main())
