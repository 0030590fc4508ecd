"""Cancelled after any step whatever: all is closed, nothing but the cancellation comes out."""

import gc
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.peer.support import PATIENCE_S, Member, Trust, Workshop, introduce, stream_of, until

EACH = 7
"""Steps between the moments that are tried."""


class CancelAt(trio.abc.Instrument):
    """Cancels a scope after so many steps of tasks."""

    def __init__(self, step: int) -> None:
        self.left = step
        self.scope = trio.CancelScope()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


async def scenario(one: Member, two: Member) -> None:
    """Two members meet, exchange values and a snapshot, and part."""
    async with trio.open_nursery() as nursery:
        await nursery.start(one.run)
        await nursery.start(two.run)
        introduce(one, two)
        await until(lambda: one.linked(two) and two.linked(one))
        one.links.send(2, 1, b"x" * 100_000)
        await one.links.send_snapshot(2, None, stream_of([b"y" * 300_000] * 3))
        two.links.follow({})
        await until(lambda: "not in the cluster" in one.links.states()[2].why_not)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("secure", [False, True])
def test_cancelled_after_any_step(tmp_path: Path, secure: bool, record_property: Callable[[str, object], None]) -> None:
    trusts: list[Trust | None] = [None, None]
    if secure:
        workshop = Workshop(tmp_path / "w")
        trusts = [Trust(workshop.issue(f"n{number}"), workshop.root) for number in (1, 2)]

    async def run(instrument: CancelAt) -> None:
        with trio.fail_after(PATIENCE_S), instrument.scope:
            await scenario(Member(1, trusts[0]), Member(2, trusts[1]))

    step = 1
    finished = False
    while not finished:
        instrument = CancelAt(step)
        trio.run(run, instrument, instruments=[instrument])
        finished = not instrument.scope.cancelled_caught
        step += EACH
    gc.collect()  # a socket left open is an error here
    assert step > 100
    record_property("checked", f"cancelled at {step // EACH} moments")
