"""What has to be done about one unit: the difference between what is placed and what is there. Pure."""

from typing import Literal

from core.agent.executor import Actual
from core.agent.journal import Mark
from core.sched.records import Placement

Step = Literal["unload", "load", "stop", "start"]


def steps(order: Placement | None, actual: Actual | None, mark: Mark | None) -> tuple[Step, ...]:
    """In order; none if all is as it should be.

    `mark` says for which text and restart it was started last. A unit that was started and has ended since is left
    alone: whether it comes back is decided by its own Restart= and, when it has failed, by `core.agent.revival`. One
    that another machine may still have is loaded only.
    """
    if order is None:
        return ("unload",) if actual is not None else ()
    there = actual is not None and actual.text == order.text and actual.load != "not-found"
    load: tuple[Step, ...] = () if there else ("load",)
    up = actual is not None and actual.up
    if order.desired == "loaded":
        return (*load, "stop") if up else load
    if order.after and not up:
        return load  # another machine has it still
    if up and there and mark is None:
        return ()  # it runs as it should, and what was known of it is lost: it is taken over
    if mark == Mark(order.text, order.restart):
        return load if there or up else (*load, "start")
    return (*load, "stop", "start") if up else (*load, "start")
