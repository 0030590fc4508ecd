"""Planners with one fault each, as somebody might write them: the random trials must find every one."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from core.sched import obstacles, planner, ranking, view
from core.sched.board import Board, Slot, Unit
from core.sched.obstacles import Obstacle
from core.sched.planner import Planner
from core.sched.tasks import Step
from core.sched.view import View
from tests.sched.test_operations import test_a_drain_moves_so_many_at_a_time_and_what_is_everywhere_last as drain_test
from tests.sched.test_operations import (
    test_of_units_that_wait_together_one_is_kept_away_by_a_later_unit_and_the_other_is_not as together_test,
)
from tests.sched.test_random import test_late_and_failed_transactions_confuse_nobody as late_test
from tests.sched.test_random import trial

Patch = Callable[[pytest.MonkeyPatch], None]


def only_own_conflicts(patch: pytest.MonkeyPatch) -> None:
    def conflicts(board: Board, unit: Unit, machine: str, here: bool) -> bool:
        return any(
            pattern.matched.get(machine, 0) - (here and pattern.matches(unit.name)) > 0 for pattern in unit.conflicts
        )

    patch.setattr(obstacles, "_conflicts", conflicts)


def own_conflict_with_itself(patch: pytest.MonkeyPatch) -> None:
    def conflicts(board: Board, unit: Unit, machine: str, here: bool) -> bool:
        return any(pattern.matched.get(machine, 0) for pattern in unit.conflicts) or any(
            pattern.conflicting.get(machine, 0) for pattern in board.matched(unit)
        )

    patch.setattr(obstacles, "_conflicts", conflicts)


def replaced_units_stay(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(obstacles, "replacer", lambda board, unit, machine: None)


def circles_of_replacement_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(obstacles, "replaces_back", lambda board, unit, name: False)
    patch.setattr(ranking, "replaces_back", lambda board, unit, name: False)


def hopeless_for_ever(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Board, "_relieve", lambda self, slot: None)


def waiting_units_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Planner, "_wait", lambda self, unit: None)


def kinds_are_not_renewed(patch: pytest.MonkeyPatch) -> None:
    def regroup(self: Planner) -> Iterator[Step]:
        yield from ()

    patch.setattr(Planner, "_regroup", regroup)


def new_patterns_know_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Board, "placed_matching", lambda self, pattern: [])


def load_only_grows(patch: pytest.MonkeyPatch) -> None:
    count = Board._count

    def grow(self: Board, unit: Unit, slot: Slot, one: int) -> None:
        load = slot.load
        count(self, unit, slot, one)
        if one < 0:
            self._rank(slot, load)

    patch.setattr(Board, "_count", grow)


def metadata_are_read_once(patch: pytest.MonkeyPatch) -> None:
    change = Board.change_machine

    def once(self: Board, machine: str, *described: Any) -> None:
        before = list(self._machine_log)
        change(self, machine, *described)
        if machine in before:
            self._machine_log = before

    patch.setattr(Board, "change_machine", once)


def followers_are_not_told(patch: pytest.MonkeyPatch) -> None:
    stand = View._stand

    def quietly(self: View, name: str, machine: str, placement: Any) -> None:
        followers, self.board.followers = self.board.followers, {}
        stand(self, name, machine, placement)
        self.board.followers = followers

    patch.setattr(View, "_stand", quietly)


def new_machines_get_no_globals(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Planner, "_look_at_machine", lambda self, machine: iter(()))


def idle_moves(patch: pytest.MonkeyPatch) -> None:
    look = Planner._look_at_single

    def restless(self: Planner, unit: Unit) -> None:
        look(self, unit)
        places = self.view.board.places.get(unit.name, {})
        if places and not self.view.is_pending(unit.name):
            choice = self.ranking.choose(unit, avoid=list(places))
            if choice is not None:
                self._move(unit, next(iter(places)), choice.machine, "it is emptier there")

    patch.setattr(Planner, "_look_at_single", restless)


def units_stand_twice(patch: pytest.MonkeyPatch) -> None:
    leave = Planner._leave

    def stay(self: Planner, unit: Unit, slot: Slot, found: Obstacle) -> None:
        if found is Obstacle.GONE:
            self._place(unit)
        else:
            leave(self, unit, slot, found)

    patch.setattr(Planner, "_leave", stay)
    patch.setattr(Planner, "_one_place", lambda self, unit: self.view.board.places.get(unit.name, {}))


def cordoned_machines_are_taken(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Slot, "open", property(lambda slot: slot.machine is not None))
    found = obstacles.obstacle

    def careless(board: Board, unit: Unit, slot: Slot) -> Obstacle | None:
        obstacle = found(board, unit, slot)
        return None if obstacle in (Obstacle.CORDONED, Obstacle.DRAINED) else obstacle

    patch.setattr(ranking, "obstacle", careless)


def the_first_machine_is_best(patch: pytest.MonkeyPatch) -> None:
    """Not a broken rule, but two planners disagree: what one placed the other would not have."""
    patch.setattr(planner, "obstacle", lambda board, unit, slot: Obstacle.GONE if slot.load else None)


PATCHES: list[Patch] = [
    only_own_conflicts,
    own_conflict_with_itself,
    replaced_units_stay,
    circles_of_replacement_count,
    hopeless_for_ever,
    waiting_units_are_forgotten,
    new_patterns_know_nothing,
    load_only_grows,
    metadata_are_read_once,
    followers_are_not_told,
    new_machines_get_no_globals,
    idle_moves,
    units_stand_twice,
    cordoned_machines_are_taken,
    the_first_machine_is_best,
]


def hunt() -> None:
    for seed in range(1_500):
        trial(seed)


@pytest.mark.parametrize("spoil", PATCHES, ids=lambda spoil: spoil.__name__)
def test_a_fault_is_found(spoil: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch)
    with pytest.raises((AssertionError, LookupError)):
        hunt()


def test_kinds_that_are_not_renewed_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds_are_not_renewed(monkeypatch)
    with pytest.raises(AssertionError):
        together_test()


def test_a_drain_of_all_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Planner, "_arrived", lambda self, name: True)
    with pytest.raises(AssertionError):
        drain_test()


def test_a_view_that_believes_late_events_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(dict[Any, Any]):
        def __setitem__(self, key: Any, value: Any) -> None:
            pass

    begin = View.__init__

    def start(self: View) -> None:
        begin(self)
        self._ahead = Forgetful()

    monkeypatch.setattr(view.View, "__init__", start)
    with pytest.raises((AssertionError, LookupError)):
        late_hunt()


def late_hunt() -> None:
    for seed in range(100):
        late_test(seed)
