"""A run as tables: medians, the ratio of each pair, and the goals."""

import statistics
from collections.abc import Callable, Sequence

from rich.table import Table

from bench.goals import Reached
from bench.history import Recorded
from bench.programs import SIDES
from bench.rounds import Run

MIB = 1 << 20


def rates(recorded: Recorded) -> Table:
    """Answers a second, with the median, least and greatest ratio."""
    peer = recorded.programs["theirs"]["name"]
    shown = Table(title=f"answers a second: medians, and the ratio to {peer} of each pair", title_justify="left")
    for heading in ("", "node/s", f"{peer}/s", "ratio", "least", "most"):
        shown.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    for result in recorded.results:
        if result.problem:
            shown.add_row(str(result.workload), "-", "-", "[red]failed")
            continue
        found = result.ratios()
        cells = [f"{result.median(side, lambda run: run.rate):,.0f}" for side in SIDES]
        cells += [f"{ratio:.2f}" for ratio in (statistics.median(found), min(found), max(found))]
        shown.add_row(str(result.workload), *cells)
    return shown


COSTS: Sequence[tuple[str, Callable[[Run], float], str]] = (
    ("p50 ms", lambda run: run.p50_ms, ".2f"),
    ("p99 ms", lambda run: run.p99_ms, ".1f"),
    ("p99.9 ms", lambda run: run.p999_ms, ".1f"),
    ("CPU s/1000", lambda run: run.cpu_ms, ".3f"),
    ("memory MiB", lambda run: run.anonymous_bytes / MIB, ".0f"),
    ("disk B each", lambda run: run.written, ",.0f"),
)


def costs(recorded: Recorded) -> Table:
    """What a request takes: time, processor, memory, disk; this node's and the peer's in each cell."""
    peer = recorded.programs["theirs"]["name"]
    shown = Table(title=f"what they take: medians, this node / {peer}", title_justify="left")
    shown.add_column("", no_wrap=True)
    for heading, _, _ in COSTS:
        shown.add_column(heading, justify="right")
    for result in recorded.results:
        if not result.problem:
            cells = (" / ".join(format(result.median(side, of), form) for side in SIDES) for _, of, form in COSTS)
            shown.add_row(str(result.workload), *cells)
    return shown


def starts(recorded: Recorded) -> Table:
    """Seconds to the first request served."""
    shown = Table(title="seconds from start to the first PUT answered: median (all)", title_justify="left")
    for heading in ("", "node", recorded.programs["theirs"]["name"]):
        shown.add_column(heading, justify="right" if heading else "left")
    for name, taken in recorded.starts.items():
        cells = (f"{statistics.median(taken[side]):.2f} ({', '.join(map(str, taken[side]))})" for side in SIDES)
        shown.add_row({"new": "with no data", "data": "with what the rows above left"}[name], *cells)
    return shown


def goals(reached: Sequence[Reached]) -> Table:
    """What was wanted and what is."""
    shown = Table(title="goals", title_justify="left")
    for heading in ("", "goal", "reached", ""):
        shown.add_column(heading)
    for each in reached:
        verdict = "[green]yes" if each.met else "[red]no"
        shown.add_row(each.goal.name, each.goal.wanted, f"{each.figure:.2f}", verdict)
    return shown
