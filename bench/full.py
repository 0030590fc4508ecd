"""What a full store costs: rates, memory and start of a store of a million keys beside those of a small one.

    python -m bench.full [--keys 10000000] [--alone] [--dir build/bench]

Two members of a program run at once, one with SMALL keys and one with many; one is driven, the other idles. The keys
are random among all that the store holds, so those of the large one lie all over it. The same is then done with etcd.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.__main__ import WIDTH, alone
from bench.programs import Program, corenode, etcd
from bench.rounds import WARM_UP_SECONDS, fill
from bench.servers import Cluster, ServerError
from bench.start import first_answer
from bench.usage import Meter
from bench.wrk import Load, LoadError, drive
from tests.whole.servers import ROOT

SMALL = 10_000
CONNECTIONS = 64
VALUE_BYTES = 64
OPERATIONS = {"v3 put": "put3", "v3 range": "range3", "v3 mixed 1:9": "mixed3", "v3 txn": "txn3"}


@dataclass(frozen=True)
class Store:
    """A member, and how many keys it holds."""

    cluster: Cluster
    keys: int

    def fill(self) -> float:
        """Keys a second, in transactions of 100. ServerError."""
        began = time.monotonic()
        fill(self.cluster, Load("batch3", self.keys, VALUE_BYTES))
        return self.keys / (time.monotonic() - began)

    def rate(self, operation: str, seconds: int) -> float:
        """Answers a second. LoadError, ServerError."""
        targets = self.cluster.targets("leader", CONNECTIONS)
        answers = drive(targets, Load(operation, self.keys, VALUE_BYTES), seconds)
        if answers.failed:
            raise ServerError(f"{answers.failed} requests failed. {self.cluster.members[0].output()}")
        return answers.rate

    @property
    def bytes_on_disk(self) -> int:
        """Of its data directory, without holes."""
        return sum(path.stat().st_blocks * 512 for path in self.cluster.members[0].home.rglob("*") if path.is_file())


@dataclass(frozen=True)
class Cost:
    """Of one program, the small store first."""

    fill_rate: float
    rates: dict[str, tuple[float, float]]
    """Medians, answers a second."""
    anonymous_bytes: tuple[int, int]
    bytes_on_disk: tuple[int, int]
    start_seconds: tuple[float, float]
    """Until the first PUT is answered, after SIGKILL."""


def cost(program: Program, home: Path, keys: int, rounds: int, seconds: int, tell: Callable[[str], None]) -> Cost:
    """Measure one program. LoadError, ServerError."""
    with ExitStack() as stack:
        clusters = [stack.enter_context(Cluster(program, home / name, 1)) for name in ("small", "large")]
        small, large = Store(clusters[0], SMALL), Store(clusters[1], keys)
        small.fill()
        tell(f"{program.name}: {keys:,} keys are put")
        filled = large.fill()
        rates, memory = {}, [0, 0]
        for name, operation in OPERATIONS.items():
            tell(f"{program.name}: {name}")
            found: tuple[list[float], list[float]] = ([], [])
            for number in range(rounds + 1):
                for place, store in enumerate((small, large)):
                    with Meter(store.cluster.pids, home) as meter:
                        rate = store.rate(operation, seconds if number else WARM_UP_SECONDS)
                    if number:
                        found[place].append(rate)
                    memory[place] = max(memory[place], meter.usage.anonymous_bytes)
            rates[name] = statistics.median(found[0]), statistics.median(found[1])
        sizes = small.bytes_on_disk, large.bytes_on_disk
        starts = []
        for store in (small, large):
            tell(f"{program.name}: start with {store.keys:,} keys")
            store.cluster.kill()
            starts.append(first_answer(store.cluster))
        return Cost(filled, rates, (memory[0], memory[1]), sizes, (starts[0], starts[1]))


def shown(costs: dict[str, Cost], keys: int) -> Table:
    """A line for each figure."""
    table = Table(title=f"a store of {keys:,} keys beside one of {SMALL:,}")
    table.add_column("")
    for name in costs:
        for heading in ("small", "large", "ratio"):
            table.add_column(f"{name} {heading}", justify="right")

    def line(title: str, form: str, pairs: list[tuple[float, float]]) -> None:
        cells = [f"{value:{form}}" for a, b in pairs for value in (a, b)]
        ratios = [f"{b / a:.2f}" for a, b in pairs]
        table.add_row(
            title, *(cell for at, ratio in enumerate(ratios) for cell in (*cells[2 * at : 2 * at + 2], ratio))
        )

    for name in OPERATIONS:
        line(f"{name}, {CONNECTIONS} conn., a second", ",.0f", [each.rates[name] for each in costs.values()])
    mib = 1 << 20
    line(
        "anonymous memory, MiB",
        ",.0f",
        [(e.anonymous_bytes[0] / mib, e.anonymous_bytes[1] / mib) for e in costs.values()],
    )
    line("on disk, MiB", ",.0f", [(e.bytes_on_disk[0] / mib, e.bytes_on_disk[1] / mib) for e in costs.values()])
    line("start to the first PUT, s", ".2f", [each.start_seconds for each in costs.values()])
    table.add_row(
        "filled, keys a second", *(cell for each in costs.values() for cell in ("", f"{each.fill_rate:,.0f}", ""))
    )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.full", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--keys", type=int, default=1_000_000, help="of the large store (default 1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="pairs of runs a row (default 3)")
    parser.add_argument("--seconds", type=int, default=3, help="of a run (default 3)")
    parser.add_argument("--alone", action="store_true", help="without etcd")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="on the disk to measure")
    given = parser.parse_args()
    programs = [corenode()] if given.alone else [corenode(), etcd()]
    costs = {}
    with alone(given.dir) as home:
        for program in programs:
            try:
                costs[program.name] = cost(
                    program,
                    home / program.name,
                    given.keys,
                    given.rounds,
                    given.seconds,
                    lambda text: print(f"full: {text}", file=sys.stderr),
                )
            except (LoadError, ServerError) as error:
                print(f"full: {program.name}: {error}", file=sys.stderr)
                return 1
    console = Console()
    (console if console.is_terminal else Console(width=WIDTH)).print(shown(costs, given.keys))
    print(f"full: {len(programs)} programs, {given.keys:,} keys")
    return 0


if __name__ == "__main__":
    sys.exit(main())
