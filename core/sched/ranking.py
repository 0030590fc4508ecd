"""Which machine is best for a unit among those it can stand on.

In this order: not one it failed on lately; for `Spread=` one whose value has the fewest of its family; for `Replicas=`
one that has the fewest of its family itself; then the least loaded, as in fleet (the sum of the units' weights), and of
equals the lowest id.
"""

from collections.abc import Collection, Iterable

import msgspec

from core.sched.board import Board, Slot, Unit
from core.sched.obstacles import obstacle, replaces_back

Rank = tuple[int, ...]
"""What counts before load; lower is better."""

_FEW = 8
"""A pool that is smaller than one in so many machines is sorted by itself instead of looked for in the whole order."""


class Choice(msgspec.Struct, frozen=True, gc=False):
    """A machine, and why it is that one."""

    machine: str
    why: str


class Ranking:
    """Chooses, and remembers of each kind of unit what was the best there was, so that it need not look further.

    Without relief (something taken away, a machine added) the best rank of a kind can only get worse. So the first
    machine in the order of load that is as good as the last one chosen is the one.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._best: dict[object, tuple[int, Rank]] = {}

    def choose(self, unit: Unit, shun: Collection[str] = (), avoid: Collection[str] = ()) -> Choice | None:
        """The best machine for a unit; None if there is none.

        `shun`: machines that come last. `avoid`: machines that are out of the question.
        """
        if unit.replaces:
            place = self._beside_replaced(unit, shun, avoid)
            if place is not None:
                return place
        if not (unit.rules.spread or unit.replica or shun):
            return self._first(unit, avoid)
        return self._ranked(unit, shun, avoid)

    def rank(self, unit: Unit, slot: Slot, shun: Collection[str] = ()) -> Rank:
        rank = [int(slot.id in shun)]
        here = unit.name in slot.units
        for key in unit.rules.spread:
            rank.append(self._board.spread.get((unit.family, key), {}).get(slot.metadata.get(key, ""), 0) - here)
        if unit.replica:
            rank.append(slot.families.get(unit.family, 0) - here)
        return tuple(rank)

    def candidates(self, unit: Unit) -> Iterable[Slot]:
        """Machines that may do, the least loaded first."""
        board, rules = self._board, unit.rules
        slots = board.slots
        if rules.machine_id:
            return _by_load(slot for slot in board.by_id(rules.machine_id) if slot.open)
        if rules.machine_of:
            return _by_load(slots[machine] for machine in board.places.get(rules.machine_of[0], ()))
        if not rules.conditions:
            return (slots[machine] for _, machine in board.order)
        pool = board.pool(rules.conditions)
        if len(pool) * _FEW < len(board.order):
            return _by_load(slots[machine] for machine in pool if slots[machine].open)
        return (slots[machine] for _, machine in board.order if machine in pool)

    def _first(self, unit: Unit, avoid: Collection[str]) -> Choice | None:
        board = self._board
        for slot in self.candidates(unit):
            board.effort += 1
            if slot.id not in avoid and obstacle(board, unit, slot) is None:
                return Choice(slot.id, _why(unit, slot))
        return None

    def _ranked(self, unit: Unit, shun: Collection[str], avoid: Collection[str]) -> Choice | None:
        kind = kind_of(self._board, unit)
        known = self._best.get(kind)
        floor: Rank = (
            known[1] if known is not None and known[0] == self._board.relief and not shun and not avoid else ()
        )
        best: tuple[Rank, Slot] | None = None
        for slot in self.candidates(unit):
            self._board.effort += 1
            if slot.id in avoid:
                continue
            rank = self.rank(unit, slot, shun)
            if (best is None or rank < best[0]) and obstacle(self._board, unit, slot) is None:
                best = rank, slot
                if rank <= floor or not any(rank):
                    break
        if best is None:
            return None
        if not shun and not avoid:
            self._best[kind] = (self._board.relief, best[0])
        return Choice(best[1].id, _why(unit, best[1], self._board))

    def _beside_replaced(self, unit: Unit, shun: Collection[str], avoid: Collection[str]) -> Choice | None:
        """Where a unit stands that this one replaces."""
        board = self._board
        if any(unit.name in names for pattern in unit.replaces for names in pattern.replacing.values()):
            return None  # it stands somewhere already, and does not chase others
        found: dict[str, str] = {}
        for pattern in unit.replaces:
            for name in board.placed_matching(pattern):
                other = board.units[name]
                if other is not unit and not other.rules.is_global and not replaces_back(board, other, unit.name):
                    for machine in board.places[name]:
                        found.setdefault(machine, name)
        for slot in _by_load(board.slots[machine] for machine in found if machine not in avoid):
            board.effort += 1
            if slot.id not in shun and obstacle(board, unit, slot) is None:
                return Choice(slot.id, f"it replaces {found[slot.id]} there")
        return None


def kind_of(board: Board, unit: Unit) -> object:
    """Units of one kind fit on the same machines as long as neither of them stands anywhere."""
    return (unit.rules, unit.family if unit.replica or unit.rules.spread or unit.rules.max_per_machine else "",
            tuple(pattern.text for pattern in board.matched(unit)))  # fmt: skip


def _by_load(slots: Iterable[Slot]) -> list[Slot]:
    return sorted(slots, key=lambda slot: (slot.load, slot.id))


def _why(unit: Unit, slot: Slot, board: Board | None = None) -> str:
    rules = unit.rules
    if rules.machine_id:
        return "MachineID= asks for this machine"
    if rules.machine_of:
        return f"with {', '.join(rules.machine_of)}"
    where = f"of the machines with {' and '.join(map(str, rules.conditions))} " if rules.conditions else ""
    load = f"{where}the least loaded that can take it: load {slot.load / 1000:g}"
    if board is not None and rules.spread:
        key = rules.spread[0]
        value = slot.metadata.get(key, "")
        number = board.spread.get((unit.family, key), {}).get(value, 0)
        return f"the fewest of {unit.family} are where {key} is {value or 'not set'} ({number}); {load}"
    if board is not None and unit.replica:
        return f"{slot.families.get(unit.family, 0)} of {unit.family} are there; {load}"
    return load
