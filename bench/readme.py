"""The figures in the project's README, written from the history: so they are never another run's.

    python -m bench.readme

It takes the last whole run against etcd that has every row of a plain `python -m bench`.
"""

import re
import statistics
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import goals, history, plot
from bench.history import Recorded
from bench.programs import SIDES
from bench.rounds import Result, Run
from bench.workloads import usual
from tests.whole.servers import ROOT

README, PICTURE = ROOT / "README.md", ROOT / "bench" / "speed.svg"
BEGIN, END = "<!-- written by python -m bench.readme -->\n", "<!-- to here -->\n"
_SECTION = re.compile(f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", re.DOTALL)


class NoRunError(Exception):
    """Nothing in the history can be shown."""


def shown(runs: list[Recorded]) -> Recorded:
    """The run that the README shows. NoRunError."""
    for recorded in reversed(runs):
        if is_whole(recorded):
            return recorded
    raise NoRunError("no whole run is recorded: make bench")


def is_whole(recorded: Recorded) -> bool:
    """Whether it came to its end, against etcd, with every row of a plain run."""
    rows = set(map(str, usual()))
    return recorded.took is not None and recorded.programs["theirs"]["name"] == "etcd" and rows <= set(recorded.plan)


def section(recorded: Recorded) -> str:
    """Its figures in Markdown."""
    return "\n".join([*_head(recorded), *_goals(recorded), *_rows(recorded)]) + "\n"


def _head(recorded: Recorded) -> Iterator[str]:
    machine, ours, theirs = recorded.machine, recorded.programs["ours"], recorded.programs["theirs"]
    yield (
        f"{recorded.run[:10]}: corenode {ours['version']} with Python {machine['python']} beside etcd"
        f" {theirs['version']}, {machine['cores']} cores"
    )
    yield (
        f"({machine['cpu']}), {machine['memory_gib']:.0f} GiB, Linux {machine['kernel']}, {machine['disk']};"
        f" {recorded.rounds} pairs of runs of {recorded.seconds} s a row, the load on the"
    )
    yield "same cores, every write durable in both. Medians; the ratio is that of neighbours in time."
    if loads := [result.load for result in recorded.results if not result.error]:
        yield f"Load average before the rows: {min(loads):.1f} to {max(loads):.1f}; the benchmark itself makes 1 to 3."
    yield "\n![Ratios of the rates, a bar for each row](bench/speed.svg)\n"


def _goals(recorded: Recorded) -> Iterator[str]:
    yield "| goal, as a ratio to etcd | wanted | reached | |"
    yield "| --- | --- | --- | --- |"
    for each in goals.reached(recorded):
        verdict = "yes" if each.met else "**no**"
        yield f"| {each.goal.name} | {each.goal.wanted} | {each.figure:.2f}{each.goal.unit} | {verdict} |"
    yield ""


def _rows(recorded: Recorded) -> Iterator[str]:
    yield "| this node : etcd | a second | ratio | least to most | p99, ms | CPU, s per 1,000 | memory, MiB |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for result in recorded.results:
        if result.problem:
            yield f"| {result.workload} | failed | | | | | |"
            continue
        ratios = result.ratios()
        cells = [
            _pair(result, lambda run: run.rate, ",.0f"),
            f"{statistics.median(ratios):.2f}",
            f"{min(ratios):.2f} to {max(ratios):.2f}",
            _pair(result, lambda run: run.p99_ms, ".1f"),
            _pair(result, lambda run: run.cpu_ms, ".3f"),
            _pair(result, lambda run: run.anonymous_bytes / (1 << 20), ",.0f"),
        ]
        yield f"| {result.workload} | {' | '.join(cells)} |"
    for name, title in (("new", "start, no data"), ("data", "start, with the data of the rows above")):
        if name in recorded.starts:
            cells = [f"{statistics.median(recorded.starts[name][side]):.2f} s" for side in SIDES]
            yield f"| {title}, to the first PUT answered | {' : '.join(cells)} | | | | | |"


def _pair(result: Result, figure: Callable[[Run], float], form: str) -> str:
    return " : ".join(format(result.median(side, figure), form) for side in SIDES)


def written(readme: str, recorded: Recorded) -> str:
    """The README with these figures. NoRunError if it has no place for them."""
    if not _SECTION.search(readme):
        raise NoRunError(f"the README has no lines {BEGIN.strip()} and {END.strip()}")
    return _SECTION.sub(lambda _: f"\n{section(recorded)}\n", readme)


def write(recorded: Recorded) -> list[Path]:
    """Write README and picture anew; which files it was."""
    README.write_text(written(README.read_text(), recorded))
    PICTURE.write_text(plot.svg(recorded))
    return [README, PICTURE]


def main() -> int:
    try:
        recorded = shown(history.read())
        files = write(recorded)
    except NoRunError as error:
        print(f"readme: {error}", file=sys.stderr)
        return 1
    print(f"readme: the run of {recorded.run} in {' and '.join(str(path.relative_to(ROOT)) for path in files)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
