"""The board: which unit stands on which machine, and the sums and indexes that make it cheap to ask what fits where.

Nothing here decides. A change of one unit or one machine costs what that unit or machine amounts to, whatever the size
of the cluster.
"""

from collections.abc import Iterable, Iterator

import msgspec
from sortedcontainers import SortedList, SortedSet

from core.sched import globs
from core.sched.fleet_section import Rules
from core.sched.metadata import Condition
from core.sched.patterns import Pattern, Patterns
from core.sched.records import Desired, Drain, Machine, Placement


class Unit(msgspec.Struct, eq=False, gc=False):
    """A unit that is wanted somewhere: of a record of its own, or made by the Replicas= of a template."""

    name: str
    record: str
    """The name of the record that wants it."""
    text: str
    desired: Desired
    restarted: int
    rules: Rules
    family: str = ""
    """The template it is an instance of."""
    replica: bool = False
    """Made by Replicas=, so that its family stands on as many machines as it can."""
    kept: bool = False
    """Its author asked for restarts when it fails (Restart= or Health=), so it is moved if they do not help."""
    stopping: int = 0
    """Seconds that stopping it may take."""
    conflicts: tuple[Pattern, ...] = ()
    replaces: tuple[Pattern, ...] = ()
    matched: tuple[Pattern, ...] = ()
    """Patterns of units that match this one's name."""
    matched_at: int = -1


class Slot(msgspec.Struct, eq=False, gc=False):
    """One machine: what is known of it, and what stands on it. It is kept while it is there, or units stand on it."""

    id: str
    units: set[str]
    machine: Machine | None = None
    """None: it is gone."""
    metadata: dict[str, str] = {}
    cordoned: str = ""
    drain: Drain | None = None
    load: int = 0
    memory: int = 0
    cpus: int = 0
    families: dict[str, int] = {}
    ranked: bool = False

    @property
    def open(self) -> bool:
        """Whether anything new may be placed here."""
        return self.machine is not None and not self.cordoned and self.drain is None


class Pool:
    """The machines whose metadata meet some conditions. It learns of changes when it is asked."""

    def __init__(self, conditions: tuple[Condition, ...]) -> None:
        self._conditions = conditions
        self.seen = 0
        """How much of the log of changed machines it knows."""
        self.members: set[str] = set()

    def catch_up(self, log: list[str], slots: dict[str, Slot]) -> set[str]:
        for machine in log[self.seen :]:
            slot = slots.get(machine)
            if slot is not None and slot.machine is not None and self._fits(slot.metadata):
                self.members.add(machine)
            else:
                self.members.discard(machine)
        self.seen = len(log)
        return self.members

    def _fits(self, metadata: dict[str, str]) -> bool:
        return all(condition.holds(metadata) for condition in self._conditions)


class Board:
    """Units, machines, and what stands where."""

    def __init__(self) -> None:
        self.units: dict[str, Unit] = {}
        self.names: SortedList[str] = SortedList()
        """Of all wanted units."""
        self.globals: SortedSet[str] = SortedSet()
        self.slots: dict[str, Slot] = {}
        self.order: SortedList[tuple[int, str]] = SortedList()
        """(load, id) of every open machine."""
        self.draining: set[str] = set()
        self.places: dict[str, dict[str, Placement]] = {}
        """By unit: its placements by machine."""
        self.patterns = Patterns()
        self.followers: dict[str, set[str]] = {}
        """By unit: those that want to be with it."""
        self.spread: dict[tuple[str, str], dict[str, int]] = {}
        """By family and key of metadata: how many of its units stand on machines of each value."""
        self.changed_patterns: list[Pattern] = []
        """Patterns that came or went and that no plan has seen yet."""
        self.relief = 0
        """Grows whenever something may fit where it did not fit before."""
        self.relieved: dict[str, None] = {}
        """Machines on which something may fit that did not before."""
        self.effort = 0
        """Machines looked at since a plan's last slice."""
        self._machine_log: list[str] = []
        self._pools: dict[tuple[Condition, ...], Pool] = {}

    # units

    def add(self, unit: Unit) -> None:
        """A unit is wanted, or wanted with other rules than before."""
        # Patterns first: a new one is told of the units that are counted by now, and this one is not, or not again.
        unit.conflicts = tuple(self._acquire(text) for text in unit.rules.conflicts)
        unit.replaces = tuple(self._acquire(text) for text in unit.rules.replaces)
        self.discard(unit.name)
        self.units[unit.name] = unit
        self.names.add(unit.name)
        if unit.rules.is_global:
            self.globals.add(unit.name)
        for peer in unit.rules.machine_of:
            self.followers.setdefault(peer, set()).add(unit.name)
        for machine in self.places.get(unit.name, {}):
            self._count(unit, self.slots[machine], 1)

    def discard(self, name: str) -> None:
        """A unit is not wanted any more. Where it stands it stays until it is taken away, and counts for nothing."""
        unit = self.units.get(name)
        if unit is None:
            return
        for machine in self.places.get(name, {}):
            self._count(unit, self.slots[machine], -1)
            self._relieve(self.slots[machine])
        del self.units[name]
        self.names.remove(name)
        self.globals.discard(name)
        for pattern in (*unit.conflicts, *unit.replaces):
            if self.patterns.release(pattern):
                self.changed_patterns.append(pattern)
        for peer in unit.rules.machine_of:
            self.followers[peer].discard(name)
            if not self.followers[peer]:
                del self.followers[peer]

    def _acquire(self, text: str) -> Pattern:
        pattern, new = self.patterns.acquire(text)
        if new:
            self.changed_patterns.append(pattern)
            for name in self.placed_matching(pattern):
                for machine in self.places[name]:
                    pattern.matched[machine] = pattern.matched.get(machine, 0) + 1
        return pattern

    def placed_matching(self, pattern: Pattern) -> list[str]:
        """Wanted units that stand somewhere and have a name that a pattern matches."""
        return [name for name in self.matching(pattern) if name in self.places]

    def matching(self, pattern: Pattern) -> list[str]:
        """Wanted units with a name that a pattern matches."""
        start, exact = globs.literal(pattern.text)
        if exact:
            return [start] if start in self.units else []
        return [name for name in self.names.irange(start, start + "\x7f") if pattern.matches(name)]

    def matched(self, unit: Unit) -> tuple[Pattern, ...]:
        """Patterns of units that match this one's name."""
        if unit.matched_at != self.patterns.version:
            unit.matched = self.patterns.matching(unit.name)
            unit.matched_at = self.patterns.version
        return unit.matched

    # machines

    def slot(self, machine: str) -> Slot:
        slot = self.slots.get(machine)
        if slot is None:
            slot = self.slots[machine] = Slot(machine, set(), metadata={}, families={})
        return slot

    def change_machine(
        self, machine: str, present: Machine | None, metadata: dict[str, str], cordoned: str, drain: Drain | None
    ) -> None:
        """A machine came, went, or is described otherwise."""
        slot = self.slot(machine)
        if metadata != slot.metadata:
            for unit in self._units_on(slot):
                self._count_spread(unit, slot, -1)
            slot.metadata = metadata
            for unit in self._units_on(slot):
                self._count_spread(unit, slot, 1)
        slot.machine, slot.cordoned, slot.drain = present, cordoned, drain
        (self.draining.discard if drain is None else self.draining.add)(machine)
        self._machine_log.append(machine)
        if len(self._machine_log) > 1_000 + 8 * len(self.slots):
            self._machine_log = list(self.slots)
            self._pools.clear()
        self._rank(slot)
        self._relieve(slot)
        self._forget_if_empty(slot)

    def pool(self, conditions: tuple[Condition, ...]) -> set[str]:
        """The machines that are there and meet all of these conditions."""
        pool = self._pools.get(conditions)
        if pool is None:
            pool = self._pools[conditions] = Pool(conditions)
        self.effort += len(self._machine_log) - pool.seen
        return pool.catch_up(self._machine_log, self.slots)

    def by_id(self, machine_id: str) -> Iterator[Slot]:
        """The machine of that id, or those whose ids begin with these eight digits."""
        if machine_id in self.slots:
            yield self.slots[machine_id]
        elif len(machine_id) == 8:
            yield from (slot for slot in self.slots.values() if slot.id.startswith(machine_id))

    def _rank(self, slot: Slot, load: int | None = None) -> None:
        """Put a machine where its load belongs."""
        if slot.ranked:
            self.order.remove((slot.load, slot.id))
        slot.load = slot.load if load is None else load
        slot.ranked = slot.open
        if slot.ranked:
            self.order.add((slot.load, slot.id))

    def _relieve(self, slot: Slot) -> None:
        self.relief += 1
        if slot.open:
            self.relieved[slot.id] = None

    def _forget_if_empty(self, slot: Slot) -> None:
        if slot.machine is None and not slot.units and not slot.cordoned and slot.drain is None:
            self._rank(slot)
            self.slots.pop(slot.id, None)

    # what stands where

    def put(self, name: str, machine: str, placement: Placement) -> None:
        """A unit stands on a machine, or stands there with other words than before."""
        places = self.places.setdefault(name, {})
        new = machine not in places
        places[machine] = placement
        if new:
            slot = self.slot(machine)
            slot.units.add(name)
            unit = self.units.get(name)
            if unit is not None:
                self._count(unit, slot, 1)

    def take(self, name: str, machine: str) -> None:
        """A unit stands there no more."""
        places = self.places.get(name, {})
        if machine not in places:
            return
        slot = self.slots[machine]
        unit = self.units.get(name)
        if unit is not None:
            self._count(unit, slot, -1)
        del places[machine]
        if not places:
            del self.places[name]
        slot.units.discard(name)
        self._relieve(slot)
        self._forget_if_empty(slot)

    def crowded(self, name: str, machine: str) -> list[str]:
        """Those of a unit's family that allow fewer of it on a machine than stand there."""
        unit = self.units.get(name)
        if unit is None or not unit.family:
            return []
        slot = self.slots[machine]
        number = slot.families.get(unit.family, 0)
        if number < 2:
            return []
        family = [each for each in self._units_on(slot) if each.family == unit.family]
        return sorted(each.name for each in family if number > (each.rules.max_per_machine or number))

    def _units_on(self, slot: Slot) -> Iterable[Unit]:
        return [self.units[name] for name in slot.units if name in self.units]

    def _count(self, unit: Unit, slot: Slot, one: int) -> None:
        """Add a unit to every sum of its machine, or with -1 take it from them."""
        rules, machine = unit.rules, slot.id
        slot.memory += one * rules.memory
        slot.cpus += one * rules.cpus
        if rules.weight:
            self._rank(slot, slot.load + one * rules.weight)
        if unit.family:
            _add(slot.families, unit.family, one)
            self._count_spread(unit, slot, one)
        for pattern in self.matched(unit):
            _add(pattern.matched, machine, one)
        for pattern in unit.conflicts:
            _add(pattern.conflicting, machine, one)
        for pattern in unit.replaces:
            names = pattern.replacing.setdefault(machine, set())
            (names.add if one > 0 else names.discard)(unit.name)
            if not names:
                del pattern.replacing[machine]

    def _count_spread(self, unit: Unit, slot: Slot, one: int) -> None:
        for key in unit.rules.spread if unit.family else ():
            _add(self.spread.setdefault((unit.family, key), {}), slot.metadata.get(key, ""), one)


def _add(counts: dict[str, int], key: str, one: int) -> None:
    number = counts.get(key, 0) + one
    if number:
        counts[key] = number
    else:
        del counts[key]
