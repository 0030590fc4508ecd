"""Gentle rebalancing, when an operator asks for it after hosts joined: the few moves that help most."""

from collections.abc import Iterator

from core.sched.board import Slot, Unit
from core.sched.obstacles import obstacle
from core.sched.planner import SLICE, Planner
from core.sched.tasks import Move, Step


def rebalance(planner: Planner, most: int) -> Iterator[Step]:
    """At most so many moves, one a step, from the most to the least loaded machines; each makes their loads more equal.

    No move brings units of a family closer together than they are, and a unit that others are with, or that is with
    others, stays. Steps without tasks come between, so that no slice is long. Tasks are confirmed or refused like those
    of a plan.
    """
    view = planner.view
    for _ in range(most):
        move: Move | None = None
        for move in _search(planner):
            if move is not None:
                break
            yield Step((), view.revision)
        if move is None:
            return
        view.assume(move)
        yield Step((move,), view.revision)


def _search(planner: Planner) -> Iterator[Move | None]:
    """The move that helps most, or None time and again while it is looked for."""
    board = planner.view.board
    order = [board.slots[machine] for _, machine in board.order]
    for source in reversed(order):
        for unit in [board.units[name] for name in sorted(source.units) if name in board.units]:
            if not _may_leave(planner, unit, source):
                continue
            for target in order:
                if target.load + unit.rules.weight >= source.load:
                    break
                board.effort += 1
                if board.effort >= SLICE:
                    board.effort = 0
                    yield None
                if _is_better(planner, unit, source, target):
                    yield planner.move(unit, source, target)
                    return


def _may_leave(planner: Planner, unit: Unit, source: Slot) -> bool:
    view, rules = planner.view, unit.rules
    return (
        rules.weight > 0
        and not (rules.is_global or rules.machine_of or rules.machine_id or rules.boot_id)
        and unit.name not in view.board.followers
        and not view.is_pending(unit.name)
        and list(view.board.places.get(unit.name, ())) == [source.id]
    )


def _is_better(planner: Planner, unit: Unit, source: Slot, target: Slot) -> bool:
    board = planner.view.board
    shun = planner.shunned(board.places[unit.name][source.id])
    return (
        planner.ranking.rank(unit, target, shun) <= planner.ranking.rank(unit, source, shun)
        and obstacle(board, unit, target) is None
    )
