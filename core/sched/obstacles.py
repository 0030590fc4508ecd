"""What keeps a unit from a machine: one function for plans, and the words for people from the same finding."""

from enum import Enum

from core.sched.board import Board, Slot, Unit
from core.sched.fleet_section import ONE_CPU


class Obstacle(Enum):
    """The first rule, in the order in which they are looked at, that a machine does not meet."""

    GONE = "gone"
    CORDONED = "cordoned"
    DRAINED = "drained"
    OTHER_MACHINE = "other machine"
    METADATA = "metadata"
    PEER = "peer"
    CONFLICT = "conflict"
    REPLACED = "replaced"
    TOO_MANY = "too many"
    MEMORY = "memory"
    CPU = "cpu"


def obstacle(board: Board, unit: Unit, slot: Slot) -> Obstacle | None:
    """Why a unit cannot stand on a machine; None if it can.

    Of a unit that stands there already cordon and drain are not asked, and it does not stand in its own way.
    """
    if slot.machine is None:
        return Obstacle.GONE
    here = unit.name in slot.units
    if not here:
        if slot.cordoned:
            return Obstacle.CORDONED
        if slot.drain is not None:
            return Obstacle.DRAINED
    rules = unit.rules
    if rules.machine_id and rules.machine_id not in (slot.id, slot.id[:8]):
        return Obstacle.OTHER_MACHINE
    if rules.boot_id and rules.boot_id != slot.machine.boot_id:
        return Obstacle.OTHER_MACHINE
    if rules.conditions and slot.id not in board.pool(rules.conditions):
        return Obstacle.METADATA
    for peer in rules.machine_of:
        if peer not in slot.units or peer not in board.units:
            return Obstacle.PEER
    if _conflicts(board, unit, slot.id, here):
        return Obstacle.CONFLICT
    if not rules.is_global and replacer(board, unit, slot.id) is not None:
        return Obstacle.REPLACED
    if rules.max_per_machine is not None and slot.families.get(unit.family, 0) - here >= rules.max_per_machine:
        return Obstacle.TOO_MANY
    return _lack(unit, slot, here)


def _conflicts(board: Board, unit: Unit, machine: str, here: bool) -> bool:
    for pattern in unit.conflicts:
        found = pattern.matched.get(machine, 0)
        if found and found - (here and pattern.matches(unit.name)):
            return True
    for pattern in board.matched(unit):
        found = pattern.conflicting.get(machine, 0)
        if found and found - (here and pattern in unit.conflicts):
            return True
    return False


def _lack(unit: Unit, slot: Slot, here: bool) -> Obstacle | None:
    rules, machine = unit.rules, slot.machine
    if machine is None:
        return Obstacle.GONE
    if rules.memory and machine.memory and slot.memory + (0 if here else rules.memory) > machine.memory:
        return Obstacle.MEMORY
    if rules.cpus and machine.cpus and slot.cpus + (0 if here else rules.cpus) > machine.cpus * ONE_CPU:
        return Obstacle.CPU
    return None


def replacer(board: Board, unit: Unit, machine: str) -> str | None:
    """The unit on a machine that replaces this one; units that replace each other, also in a circle, do not count."""
    for pattern in board.matched(unit):
        for name in sorted(pattern.replacing.get(machine, ())):
            if name != unit.name and not replaces_back(board, unit, name):
                return name
    return None


def replaces_back(board: Board, unit: Unit, name: str) -> bool:
    """Whether a unit replaces another, or one that does, and so on."""
    seen = {unit.name}
    ahead = [unit]
    while ahead:
        for pattern in ahead.pop().replaces:
            if pattern.matches(name):
                return True
            for other in board.matching(pattern):
                if other not in seen:
                    seen.add(other)
                    ahead.append(board.units[other])
    return False


def words(board: Board, unit: Unit, slot: Slot, found: Obstacle) -> str:
    """An obstacle in words for people."""
    rules = unit.rules
    match found:
        case Obstacle.GONE:
            return "the machine is gone"
        case Obstacle.CORDONED:
            return f"the machine is cordoned: {slot.cordoned}"
        case Obstacle.DRAINED:
            return "the machine is being drained"
        case Obstacle.OTHER_MACHINE:
            return f"MachineID= asks for {rules.machine_id or rules.boot_id}"
        case Obstacle.METADATA:
            missed = [str(condition) for condition in rules.conditions if not condition.holds(slot.metadata)]
            return f"its metadata do not meet {' and '.join(missed)}"
        case Obstacle.PEER:
            missing = next(peer for peer in rules.machine_of if peer not in slot.units or peer not in board.units)
            return f"MachineOf={missing} is not here"
        case Obstacle.CONFLICT:
            return _conflict_words(board, unit, slot)
        case Obstacle.REPLACED:
            return f"{replacer(board, unit, slot.id)} is here, which replaces it"
        case Obstacle.TOO_MANY:
            return f"{slot.families.get(unit.family, 0)} of {unit.family} are here, and MaxPerMachine= allows no more"
        case Obstacle.MEMORY:
            total = slot.machine.memory if slot.machine else 0
            return f"{rules.memory:,} bytes are asked for, and {max(total - slot.memory, 0):,} of {total:,} are free"
        case Obstacle.CPU:
            total = int(slot.machine.cpus * ONE_CPU) if slot.machine else 0
            free = max(total - slot.cpus, 0)
            return f"{rules.cpus / 1000:g} processors are asked for, and {free / 1000:g} of {total / 1000:g} are free"


def _conflict_words(board: Board, unit: Unit, slot: Slot) -> str:
    matching = set(board.matched(unit))
    for name in sorted(slot.units):
        other = board.units.get(name)
        if other is None or name == unit.name:
            continue
        for pattern in unit.conflicts:
            if pattern.matches(name):
                return f"its Conflicts={pattern.text} keeps it from {name}, which is here"
        for pattern in other.conflicts:
            if pattern in matching:
                return f"{name} is here, and its Conflicts={pattern.text} keeps others away"
    return "it conflicts with a unit that is here"
