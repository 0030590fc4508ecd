"""All that is known of the cluster's units and machines, kept up to date change by change.

The way of it: `apply` every key of the store once, then every change; `advance` the time; `planner.plan` says what to
do; each of its tasks is then `confirm`ed with the revision of its transaction, or `refuse`d if that failed. From the
moment a task is given out until then the view reckons with its outcome, and plans nothing else for that unit on those
machines; a change that arrives before the confirmation, or late, does not confuse it.

`apply` costs what the change amounts to; what may be long, such as the instances of a template, waits for the next
plan, which takes it in slices.
"""

from collections.abc import Iterator

from sortedcontainers import SortedList

from core.sched import keys, names, records
from core.sched.board import Board, Unit
from core.sched.keys import Kind, Place
from core.sched.names import UnitNameError
from core.sched.records import HostRecord, Machine, Placement, Rollout, UnitRecord, UnitState
from core.sched.sources import Sources, UnreadableError
from core.sched.tasks import Task, outcome

AUTO_RESTART = "auto-restart"
"""A unit that ended and is about to be restarted, in systemd's word."""
CRASH_WINDOW = 600
"""Seconds within which restarts are counted together."""
VOUCHED = "operator."
"""Keys of metadata that begin so are those of operators: what a host itself says of them does not count."""
_SLICE = 32
"""Units taken in at once."""


class View:
    """Units, machines, hosts, placements, states and rollouts at one revision."""

    def __init__(self) -> None:
        self.revision = 0
        """The last one applied."""
        self.now = 0
        """Unix seconds."""
        self.board = Board()
        self.units: dict[str, UnitRecord] = {}
        self.machines: dict[str, Machine] = {}
        self.hosts: dict[str, HostRecord] = {}
        self.states: dict[tuple[str, str], UnitState] = {}
        """By machine and unit."""
        self.rollouts: dict[str, Rollout] = {}
        self.faults: dict[bytes, str] = {}
        """Keys whose records cannot be read; what was known of them before still counts."""
        self.unreadable: dict[str, str] = {}
        """Units whose text cannot be used, and why; what runs of them stays as it is."""
        self.dirty: dict[str, None] = {}
        """Units that the next plan looks at."""
        self.changed_machines: dict[str, None] = {}
        """Machines whose drain or global units the next plan looks at."""
        self.drained: dict[str, set[str]] = {}
        """By machine: units that left it because it was drained."""
        self._unread: dict[str, None] = {}
        self._sources = Sources()
        self._made: dict[str, dict[str, None]] = {}
        self._by_text: dict[str, set[str]] = {}
        self._truth: dict[tuple[str, str], Placement] = {}
        self.pending: dict[tuple[str, str], int] = {}
        """By machine and unit: the revision of the last change that came while a task was under way."""
        self._pending_units: dict[str, int] = {}
        self._ahead: dict[tuple[str, str], int] = {}
        """Own confirmed changes that `apply` has not come to yet, by their revision."""
        self._crashes: dict[tuple[str, str], tuple[int, int]] = {}
        """By machine and unit: when a series of restarts began, and how many there had been."""
        self._due: SortedList[tuple[int, str]] = SortedList()

    # what the store says

    def apply(self, key: bytes, value: bytes | None, revision: int) -> None:
        """One key as it is now; None if it was deleted. Other keys of the store are ignored."""
        place = keys.parse(key)
        if place is None:
            return
        try:
            self._apply(place, value, revision)
        except records.RecordError as error:
            self.faults[key] = str(error)
        else:
            self.faults.pop(key, None)
        self.revision = max(self.revision, revision)

    def _apply(self, place: Place, value: bytes | None, revision: int) -> None:
        name, machine = place.name, place.machine
        match place.kind:
            case Kind.UNIT:
                self._apply_unit(name, value)
            case Kind.TEXT:
                self._apply_text(name, value)
            case Kind.HOST:
                _set(self.hosts, machine, None if value is None else records.decode(HostRecord, value))
                self._describe(machine)
            case Kind.MACHINE:
                self._apply_machine(machine, None if value is None else records.decode(Machine, value))
            case Kind.PLACEMENT:
                self._apply_placement(machine, name, value, revision)
            case Kind.STATE:
                self._apply_state(machine, name, None if value is None else records.decode(UnitState, value))
            case Kind.ROLLOUT:
                _set(self.rollouts, name, None if value is None else records.decode(Rollout, value))
                self.dirty.update(self._made.get(name, {}))

    def _apply_unit(self, name: str, value: bytes | None) -> None:
        before, record = self.units.get(name), None if value is None else records.decode(UnitRecord, value)
        if before is not None:
            self._by_text[before.text].discard(name)
            if not self._by_text[before.text]:
                del self._by_text[before.text]
        if record is not None:
            self._by_text.setdefault(record.text, set()).add(name)
        _set(self.units, name, record)
        self._unread[name] = None

    def _apply_text(self, digest: str, value: bytes | None) -> None:
        if value is None:
            self._sources.discard(digest)
        elif digest not in self._sources:
            self._sources.add(digest, value)
            self._unread.update(dict.fromkeys(sorted(self._by_text.get(digest, ()))))

    def _apply_machine(self, machine: str, record: Machine | None) -> None:
        before = self.machines.get(machine)
        _set(self.machines, machine, record)
        if before is None or record is None or _standing(before) != _standing(record):
            self._describe(machine)
        else:
            self.board.slot(machine).machine = record

    def _describe(self, machine: str) -> None:
        """Tell the board what a machine and its host record come to."""
        record, host = self.machines.get(machine), self.hosts.get(machine, HostRecord())
        metadata = {} if record is None else effective_metadata(record, host)
        drain = host.drain or (record.leaving if record is not None else None)
        self.board.change_machine(machine, record, metadata, host.cordoned, drain)
        self.changed_machines[machine] = None
        if drain is not None and drain.deadline:
            self.wake(drain.deadline, machine)
        if machine in self.board.slots:
            self.dirty.update(dict.fromkeys(self.board.slots[machine].units))

    def _apply_placement(self, machine: str, name: str, value: bytes | None, revision: int) -> None:
        key = machine, name
        ahead = self._ahead.get(key, 0)
        if ahead and revision >= ahead:
            del self._ahead[key]
        if revision <= ahead:
            return
        try:
            placement = None if value is None else records.decode(Placement, value)
        except records.RecordError:
            placement = Placement("", why="its record cannot be read")  # it stands there all the same
        _set(self._truth, key, placement)
        if key in self.pending:
            self.pending[key] = revision
        else:
            self._stand(name, machine, placement)
            self.dirty[name] = None

    def _apply_state(self, machine: str, name: str, state: UnitState | None) -> None:
        key = machine, name
        before = self.states.get(key)
        _set(self.states, key, state)
        if state is None:
            self._crashes.pop(key, None)
        elif state.sub == AUTO_RESTART and self._crashes.get(key, (0, 0))[0] + CRASH_WINDOW <= self.now:
            self._crashes[key] = self.now, state.restarts
        if (before is not None and is_failing(before)) or (state is not None and is_failing(state)):
            self.dirty[name] = None
        placement = self.board.places.get(name, {}).get(machine)
        if placement is not None and placement.drained:
            self.changed_machines[placement.drained] = None

    def crashes(self, machine: str, name: str) -> int:
        """How often a unit was restarted there since its present series of restarts began."""
        state, first = self.states.get((machine, name)), self._crashes.get((machine, name))
        return state.restarts - first[1] if state is not None and first is not None else 0

    # what plans did

    def assume(self, task: Task) -> None:
        """Reckon with a task's outcome from now on."""
        for machine, placement in outcome(task).items():
            self.pending[machine, task.unit] = 0
            self._pending_units[task.unit] = self._pending_units.get(task.unit, 0) + 1
            self._stand(task.unit, machine, placement)

    def confirm(self, task: Task, revision: int) -> None:
        """The task's transaction succeeded, at that revision."""
        for machine, placement in outcome(task).items():
            key = machine, task.unit
            if self._end(key) < revision:
                _set(self._truth, key, placement)
                if revision > self.revision:
                    self._ahead[key] = revision
            self._stand(task.unit, machine, self._truth.get(key))

    def refuse(self, task: Task) -> None:
        """The task's transaction failed, or nobody knows: back to what the store said, and look at the unit again."""
        for machine in outcome(task):
            key = machine, task.unit
            self._end(key)
            self._stand(task.unit, machine, self._truth.get(key))

    def _end(self, key: tuple[str, str]) -> int:
        """A task is under way no more; the revision of a change that came meanwhile."""
        name = key[1]
        self._pending_units[name] -= 1
        if not self._pending_units[name]:
            del self._pending_units[name]
        self.dirty[name] = None
        return self.pending.pop(key)

    def is_pending(self, name: str) -> bool:
        """Whether a task for a unit is under way."""
        return name in self._pending_units

    def _stand(self, name: str, machine: str, placement: Placement | None) -> None:
        before = self.board.places.get(name, {}).get(machine)
        if before is not None and before.drained:
            self.drained[before.drained].discard(name)
            self.changed_machines[before.drained] = None
        if machine in self.board.draining:
            self.changed_machines[machine] = None
        if placement is None:
            self.board.take(name, machine)
        else:
            self.board.put(name, machine, placement)
            if placement.drained:
                self.drained.setdefault(placement.drained, set()).add(name)
        if name in self.board.followers:
            self.board.relief += 1
            self.dirty.update(dict.fromkeys(sorted(self.board.followers[name])))

    # what waits

    def wake(self, when: int, name: str) -> None:
        """Look at a unit or machine again at some time."""
        if (when, name) not in self._due:
            self._due.add((when, name))

    @property
    def next_due(self) -> int | None:
        """When the next plan is due although nothing changed; None if it need not be."""
        return self._due[0][0] if self._due else None

    def advance(self, now: int) -> None:
        """It is so late now. Time does not go back."""
        self.now = max(self.now, now)
        while self._due and self._due[0][0] <= self.now:
            name = self._due.pop(0)[1]
            (self.changed_machines if name in self.board.slots else self.dirty)[name] = None

    @property
    def settled(self) -> bool:
        """Whether a plan would look at nothing."""
        return not (self._unread or self.dirty or self.changed_machines or self.board.relieved)

    def take_in(self) -> Iterator[None]:
        """Bring the units of changed records to the board, in slices. Plans begin with it; who begins it, ends it."""
        while self._unread:
            name = next(iter(self._unread))
            del self._unread[name]
            yield from self._take_in(name)

    def _take_in(self, name: str) -> Iterator[None]:
        record, before = self.units.get(name), self._made.get(name, {})
        wanted: list[str] = []
        try:
            parsed = names.parse(name)
            if record is not None:
                wanted = self._sources.instances(parsed, record)
                if wanted:
                    self._sources.unit(wanted[0], name, record)
        except (UnreadableError, UnitNameError) as error:
            self.unreadable[name] = str(error)
            return
        self.unreadable.pop(name, None)
        if parsed.template is not None and parsed.template in self.units:
            self._unread[parsed.template] = None  # the instance may be made by its template, or not any more
        if parsed.is_template:
            wanted = [instance for instance in wanted if instance not in self.units]
        made = dict.fromkeys(wanted)
        self._made[name] = made
        if not made:
            del self._made[name]
        for number, gone in enumerate([other for other in before if other not in made], 1):
            unit = self.board.units.get(gone)
            if unit is not None and unit.record == name:
                self.board.discard(gone)
            self.dirty[gone] = None
            if number % _SLICE == 0:
                yield
        for number, instance in enumerate(wanted, 1):
            if record is not None and self.units.get(name) == record:
                self._want(instance, name, record)
            if number % _SLICE == 0:
                yield
        self.dirty[name] = None
        yield

    def _want(self, name: str, owner: str, record: UnitRecord) -> None:
        try:
            unit = self._sources.unit(name, owner, record)
        except UnreadableError as error:
            self.unreadable[name] = str(error)
            return
        self.board.add(unit)
        self.dirty[name] = None

    def made(self, name: str) -> list[str]:
        """The units that a record stands for: itself, or the instances of a template."""
        return list(self._made.get(name, ()))

    def rollout_of(self, unit: Unit) -> Rollout | None:
        """The rollout that decides which text a unit has, while there is one."""
        rollout = self.rollouts.get(unit.record)
        return rollout if rollout is not None and rollout.state in ("running", "paused", "returning") else None


def is_failing(state: UnitState) -> bool:
    """Whether a unit is not well, although it may be restarted yet."""
    return (
        state.active == "failed"
        or state.health == "unhealthy"
        or state.sub == AUTO_RESTART
        or state.load in ("error", "bad-setting", "not-found")
    )


def effective_metadata(machine: Machine, host: HostRecord) -> dict[str, str]:
    """A machine's metadata with what operators put in its place."""
    own = {key: value for key, value in machine.metadata.items() if not key.startswith(VOUCHED)}
    both: dict[str, str | None] = {**own, **host.metadata}
    return {key: value for key, value in both.items() if value}


def _standing(machine: Machine) -> tuple[object, ...]:
    """What of a machine matters to placement."""
    return machine.metadata, machine.cpus, machine.memory, machine.boot_id, machine.leaving


def _set(table: dict, key: object, value: object) -> None:  # type: ignore[type-arg]
    if value is None:
        table.pop(key, None)
    else:
        table[key] = value
