"""`python -m bench`: this node beside Debian's etcd on the same disk, in alternation. README.md has the method."""

import argparse
import contextlib
import fcntl
import itertools
import resource
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import goals, history, readme, tables
from bench.history import Recorded
from bench.programs import Program, Side, against, corenode
from bench.rounds import Place, Result, fresh_starts
from bench.servers import ServerError
from bench.workloads import Workload, chosen, full, usual
from bench.wrk import LoadError
from tests.whole.servers import ROOT

WIDTH = 150
"""Of tables that go to a file: there the width is a guess, and a table of cut figures tells nothing."""
START = "start"
STARTS = 3


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="This node beside Debian's etcd, in alternation; see bench/README.md."
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="TEXT", help="rows whose name has it; repeatable"
    )
    parser.add_argument("--rounds", type=int, default=5, help="pairs of runs a row (default 5)")
    parser.add_argument("--seconds", type=int, default=2, help="length of a run (default 2)")
    parser.add_argument("--full", action="store_true", help="every combination: hours; narrow it with --only")
    parser.add_argument("--list", action="store_true", help="name the rows, measure nothing")
    parser.add_argument("--record", action="store_true", help="append every run to bench/history.jsonl")
    parser.add_argument("--resume", action="store_true", help="go on with the last recorded run that was stopped")
    parser.add_argument("--against", default="etcd", metavar="TREE", help="another version of this node, not etcd")
    parser.add_argument("--dir", type=Path, default=ROOT / "build" / "bench", help="on the disk to measure")
    return parser.parse_args()


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[Path]:
    """A directory for this run only, empty; removed at the end, and by the next run if this one is killed."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"bench: another run uses {directory}: wait for it, or give --dir") from None
        home = directory / "run"
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        try:
            yield home
        finally:
            shutil.rmtree(home, ignore_errors=True)


@contextlib.contextmanager
def progress(rounds: int, console: Console) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal that moves with each run; elsewhere nothing."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("starting", total=rounds)

        def tell(what: str) -> None:
            bar.update(task, description=what, advance=": round" in what)

        yield tell


class Bench:
    """One run, row by row."""

    def __init__(self, programs: dict[Side, Program], recorded: Recorded, home: Path, *, keep: bool) -> None:
        self._programs, self.recorded, self._home, self._keep = programs, recorded, home, keep
        self._console = Console(stderr=True)

    def run(self, workloads: list[Workload], *, starts: bool) -> None:
        """Measure what the run does not have yet."""
        done = {result.workload for result in self.recorded.results if not result.error}
        left = [workload for workload in workloads if workload not in done]
        with progress(len(left) * self.recorded.rounds * 2 + starts * STARTS * 4, self._console) as tell:
            self._tell = tell
            if starts and "new" not in self.recorded.starts:
                try:
                    self._started("new", fresh_starts(self._programs, self._home / "new", STARTS, tell))
                except ServerError as error:
                    self._console.print(f"start: [red]{error}")
            for _, group in itertools.groupby(left, lambda workload: workload.place):
                self._place(list(group), starts=starts)

    def _place(self, workloads: list[Workload], *, starts: bool) -> None:
        """All rows that share servers. One that fails costs the others nothing: they get new servers."""
        left = list(workloads)
        while left:
            self._tell(f"{left[0]}: servers and keys")
            with Place(self._programs, self._home / "place", workloads) as place:
                try:
                    place.fill()
                    while left:
                        self._measured(place.measure(left[0], self.recorded.rounds, self.recorded.seconds, self._tell))
                        del left[0]
                    if starts and place.is_usual and "data" not in self.recorded.starts:
                        self._started("data", place.restart(STARTS, self._tell))
                except (LoadError, ServerError) as error:
                    if left:
                        self._measured(Result(left.pop(0), error=str(error)))
                    else:
                        self._console.print(f"start with data: [red]{error}")

    def _measured(self, result: Result) -> None:
        line = history.result_line(self.recorded.run, result)
        self.recorded.results.append(result)
        if self._keep:
            history.append(line)
        if result.problem:
            self._console.print(f"{result.workload}: [red]{result.problem}")
        elif not self._console.is_terminal:
            self._console.print(f"{result.workload}: {', '.join(f'{ratio:.2f}' for ratio in result.ratios())}")

    def _started(self, name: str, taken: dict[Side, list[float]]) -> None:
        self.recorded.starts[name] = taken
        if self._keep:
            history.append(history.start_line(self.recorded.run, name, taken))


def show(recorded: Recorded) -> None:
    """All tables."""
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    if recorded.results:
        console.print(tables.rates(recorded))
        console.print(tables.costs(recorded))
    if recorded.starts:
        console.print(tables.starts(recorded))
    if reached := list(goals.reached(recorded)):
        console.print(tables.goals(reached))


def unfinished(programs: dict[Side, Program]) -> Recorded:
    """The last run of the history, to go on with. SystemExit if it is whole, or of other programs."""
    runs = history.read()
    known = {side: {"name": program.name, "version": program.version} for side, program in programs.items()}
    if not runs or runs[-1].took is not None:
        raise SystemExit("bench: no recorded run was stopped; start one with --record")
    if runs[-1].programs != known:
        raise SystemExit(f"bench: the run that was stopped is of {runs[-1].programs}, now it would be {known}")
    return runs[-1]


def main() -> int:
    given = arguments()
    workloads = chosen(given.only, full() if given.full else usual())
    starts = not given.only or START in given.only
    if given.list:
        print("\n".join([START, *map(str, workloads)] if starts else map(str, workloads)))
        return 0
    for program, package in (("wrk", "wrk"), ("etcd", "etcd-server")):
        if shutil.which(program) is None:
            print(f"bench: needs {program}: apt-get install {package}", file=sys.stderr)
            return 1
    if not workloads and not starts:
        print(f"bench: no row has {' or '.join(given.only)} in its name; --list names them", file=sys.stderr)
        return 1
    # A thousand connections, at both ends.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    programs: dict[Side, Program] = {"ours": corenode(), "theirs": against(given.against)}
    begun = time.monotonic()
    with alone(given.dir) as home:
        if given.resume:
            recorded = unfinished(programs)
            workloads = [each for each in chosen([], full()) + chosen([], usual()) if str(each) in recorded.plan]
            workloads, starts = list(dict.fromkeys(workloads)), START in recorded.plan
        else:
            plan = [*([START] if starts else []), *map(str, workloads)]
            recorded = history.begin(programs, home, given.rounds, given.seconds, plan)
            if given.record:
                history.append(recorded.head())
        keep = given.record or given.resume
        stopped = False
        try:
            Bench(programs, recorded, home, keep=keep).run(workloads, starts=starts)
        except KeyboardInterrupt:
            stopped = True
    took = time.monotonic() - begun
    if keep and not stopped:
        history.append({"run": recorded.run, "end": round(took, 1)})
        recorded.took = took
        if readme.is_whole(recorded):
            readme.write(recorded)
    show(recorded)
    requests = sum(run.requests for each in recorded.results for runs in each.runs.values() for run in runs)
    bad = sum(1 for each in recorded.results if each.problem)
    met = list(goals.reached(recorded))
    how = "stopped" if stopped else f"{sum(each.met for each in met)} of {len(met)} goals reached"
    print(f"bench: {requests:,} requests in {len(recorded.results)} rows, {bad} of them failed, {how}, {took:.0f} s")
    return 1 if bad or stopped else 0


if __name__ == "__main__":
    sys.exit(main())
