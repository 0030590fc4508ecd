"""`python -m tests.raft.simulator --seeds N` or `--seed K`; see `make sim`."""

import argparse
import multiprocessing
import os
import sys
import time
import traceback
from collections.abc import Iterator

from tests.raft.simulator.cluster import Cluster, kept_bytes, run
from tests.raft.simulator.totals import Totals, shortfalls

SHARE = 10
"""Seeds a process takes at a time."""
FAILURES = 5
"""Failing seeds after which no more are tried."""
PROGRESS_SECONDS = 10.0


def attempt(seeds: range) -> tuple[Totals, list[tuple[int, str]]]:
    """Run some seeds; their figures, and which of them failed with what."""
    totals, failed = Totals(), []
    for seed in seeds:
        try:
            totals.add(run(seed))
        except Exception as error:  # whatever it is, it is this seed's
            failed.append((seed, f"{type(error).__name__}: {error}"))
    return totals, failed


def many(first: int, count: int, processes: int) -> int:
    """Run `count` seeds from `first` on; the exit status."""
    shares = [range(seed, min(seed + SHARE, first + count)) for seed in range(first, first + count, SHARE)]
    totals, failed, started, told = Totals(), 0, time.monotonic(), time.monotonic()
    with multiprocessing.Pool(processes) as pool:
        outcomes: Iterator[tuple[Totals, list[tuple[int, str]]]] = pool.imap_unordered(attempt, shares)
        for share, failures in outcomes:
            totals.add(share)
            for seed, reason in failures:
                failed += 1
                print(
                    f"sim: seed {seed} failed: {reason}\nsim: run it again with: make sim SEED={seed}", file=sys.stderr
                )
            if failed >= FAILURES:
                break
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                print(f"sim: {totals.seeds:,} of {count:,} seeds after {told - started:.0f} s", file=sys.stderr)
    seconds = time.monotonic() - started
    short = [] if failed else shortfalls(totals)
    for line in short:
        print(f"sim: too little happened: {line}", file=sys.stderr)
    print(f"sim: {failed} failed; {totals}; {seconds:.0f} s in {processes} processes")
    return 1 if failed or short else 0


def one(seed: int) -> int:
    """Run one seed again, and show how it ended; the exit status."""
    cluster = Cluster(seed, traced=True)
    print(f"sim: seed {seed}: {cluster.world.plan}")
    try:
        with kept_bytes(cluster.world.plan.kept_bytes):
            totals = cluster.run()
    except Exception as error:
        print("\n".join(cluster.world.trace or ()))
        traceback.print_exc(limit=-4)
        print(f"sim: seed {seed} failed at {cluster.world.loop.now:.4f} s: {type(error).__name__}: {error}")
        return 1
    print("\n".join(cluster.world.trace or ()))
    print(f"sim: seed {seed} holds; {totals}")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.raft.simulator")
    parser.add_argument("--seed", type=int, help="run this one and show its last steps")
    parser.add_argument("--seeds", type=int, default=2000, help="how many to run")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return one(arguments.seed)
    return many(arguments.first, arguments.seeds, arguments.processes)


if __name__ == "__main__":
    sys.exit(main())
