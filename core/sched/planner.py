"""What to do next: the tasks that bring placements to where the rules of units and machines want them.

    for step in planner.plan():
        for task in step.tasks: …  # one transaction each, then view.confirm or view.refuse

A plan looks at what changed and at nothing else, in slices: between two of them anything may be applied to the view,
and the next slice goes by what the view says then. So no decision rests on a superseded revision; a step names the one
it rests on. A plan may be dropped after any slice; the next one goes on from there.

The order is: new records, machines that changed (their global units, then their drain), units that changed, and last
those that wait, on machines that can take more than before. A unit that stands well stays. What moves a unit: its
machine is gone or drained, it no longer meets the unit's rules, the unit follows another, is replaced, keeps failing,
or stands twice.
"""

from collections.abc import Generator, Iterator
from typing import Literal

import msgspec

from core.sched import handover
from core.sched.board import Slot, Unit
from core.sched.obstacles import Obstacle, obstacle, words
from core.sched.ranking import Ranking, kind_of
from core.sched.records import Placement, UnitState
from core.sched.tasks import Move, Place, Step, Task, Unplace, Update
from core.sched.view import AUTO_RESTART, View, is_failing

SLICE = 600
"""Machines looked at for units in one slice; some two milliseconds."""
LOOKED_AT = 5
"""What looking at a unit amounts to besides."""
TAKEN_IN = 320
"""What taking in a slice of units amounts to, in machines looked at."""

PATIENCE = 30
"""Seconds a unit may fail before it is moved; doubled with every move in a row up to LONGEST_PATIENCE."""
LONGEST_PATIENCE = 3_600
RESTARTS = 5
"""Restarts in a row after which a unit is moved; doubled likewise."""


class Planner:
    """Plans on one view, for as long as it lives. It keeps which units wait, and nothing else."""

    def __init__(self, view: View) -> None:
        self.view = view
        self._running: Iterator[Step] | None = None
        self._tasks: list[Task] = []
        self.ranking = Ranking(view.board)
        self._waiting: dict[object, dict[str, None]] = {}
        self._kind: dict[str, object] = {}
        self._hopeless: dict[object, int] = {}
        """By kind of unit: the relief at which no machine could take it."""

    def plan(self) -> Iterator[Step]:
        """What to do, slice by slice, until nothing is left to look at. A task counts as done once it is given out.

        A refused task is planned again by the same plan, so whoever cannot carry out tasks at all drops it.
        """
        running = self._running = self._running or self._run()
        while True:
            step = None
            try:
                step = next(running, None)
            finally:
                if step is None:
                    self._running = None
            if step is None:
                return
            yield step

    def _run(self) -> Iterator[Step]:
        """The plan itself. It outlives whoever asked for it, and goes on when the next plan is asked for."""
        view = self.view
        while not view.settled:
            for _ in view.take_in():
                self.view.board.effort += TAKEN_IN
                yield from self._slice()
            yield from self._regroup()
            if view.board.relieved:
                view.changed_machines.update(dict.fromkeys(view.board.draining))  # what could not leave may now
            for machine in self._drawn(view.changed_machines):
                yield from self._look_at_machine(machine)
                yield from self._slice()
            for machine in self._drawn(view.board.relieved):
                yield from self._fill(machine)
            for first in (True, False):
                for name in self._drawn(view.dirty, globals_only=first):
                    for other in self._peers_first(name):
                        view.dirty.pop(other, None)
                        view.board.effort += LOOKED_AT
                        yield from self._look_at(other)
                        yield from self._slice()
        yield from self._slice(last=True)

    @property
    def waiting(self) -> list[str]:
        """Units that are wanted and stand nowhere they can run."""
        return sorted(self._kind)

    def _slice(self, *, last: bool = False) -> Iterator[Step]:
        """A step, if there has been work enough for one."""
        board = self.view.board
        board.effort += 1
        if board.effort >= SLICE or (last and self._tasks):
            tasks, self._tasks, board.effort = tuple(self._tasks), [], 0
            yield Step(tasks, self.view.revision)

    def _drawn(self, marks: dict[str, None], *, globals_only: bool = False) -> Iterator[str]:
        """Each mark of now, in order, taken away as it is given out."""
        everywhere = self.view.board.globals
        for name in [name for name in everywhere if name in marks] if globals_only else sorted(marks):
            if name in marks:
                del marks[name]
                yield name

    def _do(self, task: Task) -> None:
        self._tasks.append(task)
        self.view.board.effort += 10
        self.view.assume(task)

    # machines

    def _look_at_machine(self, machine: str) -> Iterator[Step]:
        board = self.view.board
        slot = board.slots.get(machine)
        if slot is None or slot.machine is None:
            return
        if slot.drain is not None:
            yield from self._drain(slot)
        elif slot.open:
            for name in list(board.globals):
                if name not in slot.units and name in board.units:
                    self._place_global(board.units[name], slot)
                yield from self._slice()

    def _drain(self, slot: Slot) -> Iterator[Step]:
        """Move what can move, at most so many at a time; what is everywhere goes last."""
        view, drain = self.view, slot.drain
        if drain is None:
            return
        late = 0 < drain.deadline <= view.now
        moving: set[str] = set() if late else (yield from self._families_moving(slot))
        under_way = sum(not self._arrived(name) for name in view.drained.get(slot.id, ()))
        left = 0
        for name in sorted(slot.units):
            unit = view.board.units.get(name)
            if unit is None or unit.rules.is_global or name not in slot.units:
                continue
            if slot.drain is not drain:
                return
            left += 1
            if any(peer in slot.units for peer in unit.rules.machine_of):
                continue  # it follows
            if unit.replica and unit.family in moving:
                view.wake(view.now + 1, slot.id)  # another instance is not up again yet where it went
                continue
            if (under_way < drain.at_once or late) and not view.is_pending(name):
                if self._drain_unit(unit, slot, late=late):
                    under_way += 1
                    left -= 1
                    if not late:
                        moving.add(unit.family)
                yield from self._slice()
        if left == 0 or late:
            for name in sorted(slot.units):
                if name in view.board.globals and (slot.id, name) not in view.pending:
                    self._do(Unplace(name, slot.id, "the machine is drained, and its other units have left"))

    def _families_moving(self, slot: Slot) -> Generator[Step, None, set[str]]:
        """The families of a machine's units of which an instance had to leave a machine, whichever, and is not up yet.
        Of those no other one is moved meanwhile, or nobody would be left that serves."""
        found: set[str] = set()
        units = self.view.board.units
        for left in list(self.view.drained.values()):
            for name in list(left):
                unit = units.get(name)
                if unit is not None and unit.replica and unit.family in slot.families and not self._arrived(name):
                    found.add(unit.family)
            yield from self._slice()
        return found

    def _drain_unit(self, unit: Unit, slot: Slot, *, late: bool) -> bool:
        placement = self.view.board.places[unit.name][slot.id]
        choice = self.ranking.choose(unit, self.shunned(placement), (slot.id,))
        if choice is not None:
            self._move(unit, slot.id, choice.machine, f"{slot.id[:8]} is drained; {choice.why}", drained=slot.id)
            return True
        if late:
            self._do(Unplace(unit.name, slot.id, "the drain's deadline has passed, and no other machine can take it"))
            self._wait(unit)
        return late

    def _arrived(self, name: str) -> bool:
        """Whether a unit that was moved runs where it went, or has failed there, or need not run."""
        places = self.view.board.places.get(name, {})
        for machine, placement in places.items():
            state = self.view.states.get((machine, name))
            if placement.desired == "launched" and (
                state is None or (not is_failing(state) and (state.active != "active" or state.health == "starting"))
            ):
                return False
        return True

    # units

    def _peers_first(self, name: str) -> list[str]:
        """A unit behind those it wants to be with, as far as they are to be looked at too."""
        view, ahead = self.view, [name]
        order = {name: None}
        while ahead:
            unit = view.board.units.get(ahead.pop())
            for peer in unit.rules.machine_of if unit is not None else ():
                if peer in view.dirty and peer not in order:
                    order[peer] = None
                    ahead.append(peer)
        return list(order)[::-1]

    def _look_at(self, name: str) -> Iterator[Step]:
        """Do what one unit needs."""
        unit = self.view.board.units.get(name)
        if unit is None:
            self._take_away(name)
        elif unit.rules.is_global:
            yield from self._look_at_global(unit)
        elif not self.view.is_pending(name):
            self._look_at_single(unit)

    def _take_away(self, name: str) -> None:
        """A unit that nobody wants."""
        self._wait_no_more(name)
        if self.view.is_pending(name):
            return
        for machine in list(self.view.board.places.get(name, ())):
            self._do(Unplace(name, machine, self._why_unwanted(name)))

    def _why_unwanted(self, name: str) -> str:
        record = self.view.units.get(name)
        if record is not None:
            return f"its desired state is {record.desired}"
        return "it was destroyed, or its template has fewer replicas now"

    def _look_at_global(self, unit: Unit) -> Iterator[Step]:
        view = self.view
        self._wait_no_more(unit.name)
        for machine in list(view.board.places.get(unit.name, ())):
            if view.board.units.get(unit.name) is not unit:
                return  # it changed between two slices, and is looked at again
            if (machine, unit.name) in view.pending or machine not in view.board.places.get(unit.name, ()):
                continue
            slot = view.board.slots[machine]
            found = obstacle(view.board, unit, slot)
            if found is not None and found is not Obstacle.GONE:
                self._do(Unplace(unit.name, machine, words(view.board, unit, slot, found)))
            else:
                self._update(unit, machine)
            yield from self._slice()
        for slot in [view.board.slots[machine] for _, machine in view.board.order]:
            if unit.name not in slot.units and view.board.units.get(unit.name) is unit:
                self._place_global(unit, slot)
                yield from self._slice()

    def _place_global(self, unit: Unit, slot: Slot) -> None:
        self.view.board.effort += 1
        if (slot.id, unit.name) not in self.view.pending and obstacle(self.view.board, unit, slot) is None:
            why = "Global=: on every machine that qualifies"
            self._do(Place(unit.name, slot.id, self._placement(unit, slot.id, why), why))

    def _look_at_single(self, unit: Unit) -> None:
        board = self.view.board
        places = self._one_place(unit)
        if not places:
            self._place(unit)
            return
        machine = next(iter(places))
        slot = board.slots[machine]
        found = obstacle(board, unit, slot)
        if found is not None:
            self._leave(unit, slot, found)
            return
        self._wait_no_more(unit.name)
        if slot.drain is not None:
            self.view.changed_machines[slot.id] = None
        if not self._flee(unit, slot):
            self._update(unit, machine)
            self._push_out(unit, slot)

    def _one_place(self, unit: Unit) -> dict[str, Placement]:
        """Where a unit stands; if that is more than one machine, all but the best are given up."""
        places = self.view.board.places.get(unit.name, {})
        if len(places) > 1:
            best = min(places, key=lambda machine: self._worth(unit, machine))
            for machine in [machine for machine in places if machine != best]:
                self._do(Unplace(unit.name, machine, f"it stands on {best[:8]} too, and one is enough"))
        return self.view.board.places.get(unit.name, {})

    def _worth(self, unit: Unit, machine: str) -> tuple[bool, bool, str]:
        """Lower is better: where it can be, where it runs, and of equals the lowest id."""
        view = self.view
        state = view.states.get((machine, unit.name))
        running = state is not None and state.active == "active"
        return obstacle(view.board, unit, view.board.slots[machine]) is not None, not running, machine

    def _place(self, unit: Unit) -> bool:
        """Find a place for a unit that has none; whether there is one."""
        kind = self._kind_of(unit)
        if self._hopeless.get(kind) != self.view.board.relief:
            choice = self.ranking.choose(unit)
            if choice is not None:
                placement = self._placement(unit, choice.machine, choice.why)
                placement = handover.begin(self.view, unit, choice.machine, placement)
                self._do(Place(unit.name, choice.machine, placement, choice.why))
                self._wait_no_more(unit.name)
                self._push_out(unit, self.view.board.slots[choice.machine])
                return True
            self._hopeless[kind] = self.view.board.relief
        self._wait(unit)
        return False

    def _leave(self, unit: Unit, slot: Slot, found: Obstacle) -> None:
        """A unit cannot stay where it is. On a machine that is gone its place is kept until there is a better one."""
        board = self.view.board
        why = words(board, unit, slot, found)
        kind = self._kind_of(unit)
        placement = board.places[unit.name][slot.id]
        choice = None
        if self._hopeless.get(kind) != board.relief:
            choice = self.ranking.choose(unit, self.shunned(placement), (slot.id,))
        if choice is not None:
            self._move(unit, slot.id, choice.machine, f"{why}; {choice.why}")
            self._wait_no_more(unit.name)
            self._push_out(unit, board.slots[choice.machine])
            return
        if found is Obstacle.GONE:
            self._hopeless[kind] = board.relief
        else:
            self._do(Unplace(unit.name, slot.id, why))
        self._wait(unit)

    def _flee(self, unit: Unit, slot: Slot) -> bool:
        """Move a unit that keeps failing where it is, if there is another place; patiently, so that it does not hop."""
        view = self.view
        state = view.states.get((slot.id, unit.name))
        placement = view.board.places[unit.name][slot.id]
        if state is None or not unit.kept or placement.desired != "launched" or not is_failing(state):
            return False
        shun = {machine: until for machine, until in placement.shun.items() if until > view.now}
        moves = placement.moves if shun else 0
        patience = min(PATIENCE << min(moves, 10), LONGEST_PATIENCE)
        if state.sub == AUTO_RESTART:
            if view.crashes(slot.id, unit.name) < RESTARTS << min(moves, 10):
                return False
        elif state.since + patience > view.now:
            view.wake(state.since + patience, unit.name)
            return False
        choice = self.ranking.choose(unit, (), (slot.id, *shun))
        if choice is None:
            view.wake(view.now + patience, unit.name)
            return False
        shun[slot.id] = view.now + 4 * patience
        why = f"it keeps failing on {slot.id[:8]} ({_ailment(state)}); {choice.why}"
        self._move(unit, slot.id, choice.machine, why, moves=moves + 1, shun=shun)
        return True

    def _update(self, unit: Unit, machine: str) -> None:
        """Bring a placement's words up to date with the record."""
        placement = self.view.board.places[unit.name][machine]
        text = placement.text if self.view.rollout_of(unit) is not None and placement.text else unit.text
        changes = []
        if placement.text != text:
            changes.append("its text was replaced")
        if placement.desired != unit.desired:
            changes.append(f"its desired state is {unit.desired}")
        if placement.restart != unit.restarted:
            changes.append("a restart was asked for")
        waiting = handover.go_on(self.view, unit, machine, placement)
        if waiting != placement:
            changes.append("its hand-over goes on" if waiting.after else "it may start now")
        if changes:
            renewed = msgspec.structs.replace(waiting, text=text, desired=_placed(unit), restart=unit.restarted)
            self._do(Update(unit.name, machine, renewed, ", ".join(changes)))

    def _push_out(self, unit: Unit, slot: Slot) -> None:
        """Look at the units that this one replaces on its machine."""
        for pattern in unit.replaces:
            for name in sorted(slot.units):
                other = self.view.board.units.get(name)
                if other is None or other is unit or self.view.is_pending(name) or not pattern.matches(name):
                    continue
                if obstacle(self.view.board, other, slot) is not None:
                    self.view.dirty[name] = None

    def move(self, unit: Unit, source: Slot, target: Slot) -> Move:
        """A move for balance."""
        why = (
            f"load {source.load / 1000:g} on {source.id[:8]} and {target.load / 1000:g} here, and balance was asked for"
        )
        return Move(unit.name, target.id, self._moved(unit, source.id, target.id, why), why, source.id)

    def _move(self, unit: Unit, source: str, machine: str, why: str, **changes: object) -> None:
        placement = msgspec.structs.replace(self._moved(unit, source, machine, why), **changes)
        self._do(Move(unit.name, machine, placement, why, source))

    def _moved(self, unit: Unit, source: str, machine: str, why: str) -> Placement:
        """A unit's placement elsewhere, with what is worth remembering of the one before."""
        before = self.view.board.places[unit.name][source]
        placement = handover.begin(self.view, unit, machine, self._placement(unit, machine, why), source)
        return msgspec.structs.replace(
            placement,
            text=before.text if self.view.rollout_of(unit) is not None and before.text else unit.text,
            moves=before.moves,
            shun={key: until for key, until in before.shun.items() if until > self.view.now},
        )

    def _placement(self, unit: Unit, machine: str, why: str) -> Placement:
        return Placement(self._text(unit, machine), _placed(unit), why, unit.restarted)

    def _text(self, unit: Unit, machine: str) -> str:
        """The text of a new placement: during a rollout the old one, unless this instance is done."""
        rollout = self.view.rollout_of(unit)
        if rollout is None:
            return unit.text
        instance = machine if unit.rules.is_global else unit.name
        return rollout.new if instance in rollout.done and rollout.state != "returning" else rollout.old

    def shunned(self, placement: Placement) -> list[str]:
        """Machines that a unit failed on lately."""
        return [machine for machine, until in placement.shun.items() if until > self.view.now]

    # units that wait

    def _regroup(self) -> Iterator[Step]:
        """Units that wait and that a new pattern matches are of another kind now."""
        patterns = self.view.board.changed_patterns
        while patterns:
            pattern = patterns.pop()
            for name in list(self._kind):
                if pattern.matches(name):
                    self.view.dirty[name] = None
            self.view.board.effort += len(self._kind) // 8
            yield from self._slice()

    def _kind_of(self, unit: Unit) -> object:
        return unit.name if unit.replaces else kind_of(self.view.board, unit)

    def _wait(self, unit: Unit) -> None:
        kind = self._kind_of(unit)
        if self._kind.get(unit.name) == kind:
            return
        self._wait_no_more(unit.name)
        self._waiting.setdefault(kind, {})[unit.name] = None
        self._kind[unit.name] = kind

    def _wait_no_more(self, name: str) -> None:
        kind = self._kind.pop(name, None)
        if kind is not None:
            del self._waiting[kind][name]
            if not self._waiting[kind]:
                del self._waiting[kind]
                self._hopeless.pop(kind, None)

    def _fill(self, machine: str) -> Iterator[Step]:
        """Units that wait, on a machine that can take more than before: one of each kind is asked."""
        board = self.view.board
        for kind in list(self._waiting):
            while True:
                self.view.board.effort += 1
                yield from self._slice()
                name = next(iter(self._waiting.get(kind, ())), "")
                slot, unit = board.slots.get(machine), board.units.get(name)
                if slot is None or unit is None or self.view.is_pending(name):
                    break
                if obstacle(board, unit, slot) is not None:
                    break
                self._look_at_single(unit)
                if name in self._kind:
                    break


def _placed(unit: Unit) -> Literal["loaded", "launched"]:
    return "launched" if unit.desired == "launched" else "loaded"


def _ailment(state: UnitState) -> str:
    return state.why or (
        "unhealthy" if state.health == "unhealthy" else f"{state.load} {state.active} {state.sub}".strip()
    )
