"""What is wanted of this node beside etcd, on the same machine in the same run."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.history import Recorded
from bench.programs import Side
from bench.rounds import Run
from bench.workloads import Workload


@dataclass(frozen=True)
class Goal:
    """A bound of a figure."""

    name: str
    figure: Callable[[Recorded], float | None]
    """None if the run has not measured it."""
    bound: float
    at_least: bool
    unit: str = ""

    @property
    def wanted(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}{self.unit}"


@dataclass(frozen=True)
class Reached:
    """A goal and its figure in a run."""

    goal: Goal
    figure: float

    @property
    def met(self) -> bool:
        return self.figure >= self.goal.bound if self.goal.at_least else self.figure <= self.goal.bound


def _ratio(workload: Workload, figure: Callable[[Run], float]) -> Callable[[Recorded], float | None]:
    """The median ratio of the pairs of a row."""

    def found(recorded: Recorded) -> float | None:
        for result in recorded.results:
            if result.workload == workload and not result.problem:
                return statistics.median(result.ratios(figure))
        return None

    return found


def _memory(recorded: Recorded) -> float | None:
    """The most anonymous memory in the rows of one plain member and small values, divided by the peer's."""
    alone = [result for result in recorded.results if result.workload.place == (1, False, 64) and not result.error]

    def most(side: Side) -> int:
        return max((run.anonymous_bytes for result in alone for run in result.runs[side]), default=0)

    return most("ours") / most("theirs") if most("theirs") else None


def _start(recorded: Recorded) -> float | None:
    taken = recorded.starts.get("new")
    return statistics.median(taken["ours"]) if taken else None


def _at_least(workload: Workload, bound: float) -> Goal:
    return Goal(str(workload), _ratio(workload, lambda run: run.rate), bound, at_least=True)


GOALS = (
    _at_least(Workload("v2 PUT", 256), 1.2),
    _at_least(Workload("v2 PUT", 64), 1.0),
    _at_least(Workload("v2 PUT", 1), 0.75),
    _at_least(Workload("v3 put", 64), 1.75),
    _at_least(Workload("v2 GET local", 64), 1.25),
    _at_least(Workload("v2 GET quorum", 64), 1.0),
    _at_least(Workload("v2 PUT", 64, members=3), 1.0),
    _at_least(Workload("v3 put", 64, members=3), 1.25),
    _at_least(Workload("v2 PUT", 64, tls=True), 1.0),
    Goal("p99 of v2 PUT, 64 conn.", _ratio(Workload("v2 PUT", 64), lambda run: run.p99_ms), 0.75, at_least=False),
    Goal("peak anonymous memory", _memory, 1.0, at_least=False),
    Goal("start to the first PUT answered", _start, 1.0, at_least=False, unit=" s"),
)
"""The ratio to etcd, if no unit is named."""


def reached(recorded: Recorded) -> Iterator[Reached]:
    """Those that the run has measured; they are about etcd, so none of a run against anything else."""
    if recorded.programs["theirs"]["name"] != "etcd":
        return
    for goal in GOALS:
        figure = goal.figure(recorded)
        if figure is not None:
            yield Reached(goal, figure)
