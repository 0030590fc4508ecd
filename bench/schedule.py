"""How long plans take: a whole cluster at once, one machine's death, one new machine; and the longest single slice.

    python -m bench.schedule --machines 1000 --units 10000

Times are CPU seconds of this process, so that what else runs on the machine does not count. Everything a plan needs is
included: records are decoded, texts read, and each task is confirmed as an engine would after its transaction.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator

import msgspec

from core.sched import keys, records, unit_text
from core.sched.planner import Planner
from core.sched.records import Machine, UnitRecord
from core.sched.tasks import Task, outcome
from core.sched.view import View

ZONES = 3


def machine_id(number: int) -> str:
    return f"{number:08x}" + "0" * 24


def machine_record(number: int) -> Machine:
    metadata = {"zone": "abc"[number % ZONES], "rack": str(number % 40), "host": str(number), "disk": f"{number % 9}T"}
    return Machine(machine_id(number), f"m{number}", metadata=metadata, cpus=16, memory=64 << 30)


MIXES: dict[str, Callable[[int], str]] = {
    "plain": lambda number: "",
    "mixed": lambda number: (
        "",
        f"Conflicts=app{number // 8}-*.service",
        "MachineMetadata=zone=a",
        "MemoryRequest=512M\nCPURequest=0.5",
        f"MachineOf=app{number // 8}-{number - number % 8}.service",
        "MachineMetadata=disk>=4T\nMachineMetadata=zone!=b",
        f"Conflicts=app{number // 8}-*.service\nWeight=2",
        f"MachineMetadata=rack={number % 40}",
    )[number % 8],
    "hopeless": lambda number: "Conflicts=app*.service" if number % 2 else f"MachineMetadata=zone=z{number % 500}",
}
"""What units ask for, by number: nothing; every rule there is; what a tenth of them can have."""


def contents(machines: int, units: int, mix: str) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of a store."""
    for number in range(machines):
        yield keys.machine(machine_id(number)), records.encode(machine_record(number))
    for number in range(units):
        data = f"[Service]\nExecStart=/bin/app {number}\n[X-Fleet]\n{MIXES[mix](number)}\n".encode()
        digest = unit_text.digest(data)
        yield keys.text(digest), data
        yield keys.unit(f"app{number // 8}-{number}.service"), records.encode(UnitRecord(digest, "launched"))


class Figures(msgspec.Struct):
    """One measurement, in CPU seconds."""

    apply: float
    plan: float
    longest: float
    longest_apply: float
    tasks: int


def measure(view: View, planner: Planner, changes: list[tuple[bytes, bytes | None]]) -> Figures:
    """Apply changes, plan, confirm."""
    clock = time.thread_time
    longest_apply = 0.0
    begin = clock()
    for key, value in changes:
        before = clock()
        view.apply(key, value, view.revision + 1)
        longest_apply = max(longest_apply, clock() - before)
    applied = clock() - begin
    longest, spent = 0.0, 0.0
    tasks: list[Task] = []
    plan = planner.plan()
    while True:
        before = clock()
        step = next(plan, None)
        slice_ = clock() - before
        longest, spent = max(longest, slice_), spent + slice_
        if step is None:
            break
        tasks += step.tasks
    confirm(view, tasks)
    for _ in planner.plan():
        pass
    return Figures(applied, spent, longest, longest_apply, len(tasks))


def confirm(view: View, tasks: list[Task]) -> None:
    for task in tasks:
        view.confirm(task, view.revision + 1)
        for machine, placement in outcome(task).items():
            value = None if placement is None else records.encode(placement)
            view.apply(keys.placement(machine, task.unit), value, view.revision + 1)


def plans(machines: int, units: int, mix: str) -> Iterator[tuple[str, Figures]]:
    """What was planned, and how long it took. The worst of five deaths and returns."""
    view = View()
    planner = Planner(view)
    gc.collect()
    gc.freeze()
    changes: list[tuple[bytes, bytes | None]] = list(contents(machines, units, mix))
    yield "everything at once", measure(view, planner, changes)
    yield "nothing changed", measure(view, planner, [])
    gone = [measure(view, planner, [(keys.machine(machine_id(number)), None)]) for number in range(5)]
    yield "a machine dies (worst of 5)", max(gone, key=lambda figures: figures.plan)
    new = [(keys.machine(machine_id(number)), records.encode(machine_record(number))) for number in range(5)]
    back = [measure(view, planner, [change]) for change in new]
    yield "it comes back (worst of 5)", max(back, key=lambda figures: figures.plan)


def show(what: str, figures: Figures) -> None:
    print(
        f"{what:28} {figures.plan * 1000:8.1f} ms {figures.tasks:6} tasks, longest slice {figures.longest * 1000:.2f}"
        f" ms; applied in {figures.apply * 1000:5.1f} ms, longest {figures.longest_apply * 1000:.2f} ms"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", type=int, default=1000)
    parser.add_argument("--units", type=int, default=10_000)
    parser.add_argument("--mix", choices=MIXES, action="append")
    options = parser.parse_args()
    for mix in options.mix or MIXES:
        print(f"-- {mix}: {options.machines:,} machines, {options.units:,} units")
        for what, figures in plans(options.machines, options.units, mix):
            show(what, figures)


if __name__ == "__main__":
    main()
