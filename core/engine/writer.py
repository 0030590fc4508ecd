"""Tasks become transactions, each with the conditions under which it was decided."""

import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

import trio

from core.client import Claim, Compare, Delete, Operation, Put, Range, RangeResult, Store, TxnResult
from core.client.errors import ClientError, NotLeadingError, OutcomeUnknownError
from core.engine.figures import Figures
from core.engine.mirror import Mirror
from core.sched import keys
from core.sched.records import encode
from core.sched.tasks import Move, Task, Unplace, outcome

log = logging.getLogger(__name__)

IN_FLIGHT = 32
"""Transactions under way at most."""
RETRY_SECONDS = 0.5
STALE_SECONDS = 2.0
"""How long to wait for the change that made a condition fail."""


class Spawn(Protocol):
    """Begins a task beside others."""

    def __call__(self, work: Callable[..., Awaitable[None]], *arguments: object) -> None: ...


class WentBackError(Exception):
    """The store is at a lower revision than it was: what was read of it is of another story."""


class Writer:
    """The only one that writes in the engine's name. Fenced: each write compares the election key as it was left."""

    def __init__(self, store: Store, claim: Claim, value: bytes, mirror: Mirror, figures: Figures) -> None:
        self._store = store
        self._claim = claim
        self._value = value
        self._mirror = mirror
        self._figures = figures
        self._fence = claim.revision
        self._fencing = trio.Lock()
        self._slots = trio.Semaphore(IN_FLIGHT)

    async def submit(self, spawn: Spawn, task: Task) -> None:
        """Carry out a task beside others; returns when there is room for it to begin."""
        await self._slots.acquire()
        spawn(self._carry_out, task)

    async def settled(self) -> None:
        """Return when no task is under way."""
        for _ in range(IN_FLIGHT):
            await self._slots.acquire()
        for _ in range(IN_FLIGHT):
            self._slots.release()

    async def write(self, compare: list[Compare], then: list[Operation]) -> int:
        """One transaction of the engine's; its revision, or 0 if a condition did not hold. NotLeadingError if the
        engine was deposed; ClientError. A lost answer has been looked into: the mirror knows, and it counts as 0."""
        fence = self._fence
        known = self._mirror.revision  # before it is sent: the watch may overtake the answer
        try:
            done = await self._store.txn([*self.fence(fence), *compare], then, [Range(self._claim.key)])
        except OutcomeUnknownError:
            await self._find_out(fence)
            return 0
        if done.revision < known:
            raise WentBackError("the store went back to an older snapshot")
        if done.succeeded:
            return done.revision
        self._still_leading(done)
        return 0

    def fence(self, revision: int) -> list[Compare]:
        """That this engine still leads, and has not doubted this write since."""
        return [self._claim.compare, Compare(self._claim.key, "mod", "=", revision)]

    async def _carry_out(self, task: Task) -> None:
        mirror, view = self._mirror, self._mirror.view
        try:
            self._figures.engine_task_count_total += 1
            revision = await self.write(self._conditions(task), _changes(task))
            if revision:
                for machine, placement in outcome(task).items():
                    mirror.wrote(keys.placement(machine, task.unit), revision, deleted=placement is None)
                view.confirm(task, revision)
                mirror.touched()
                log.info("%s %s: %s", task.unit, _words(task), task.why)
                return
            with trio.move_on_after(STALE_SECONDS):
                await mirror.stirred()  # what made it fail
        except NotLeadingError:
            raise  # the term is over
        except ClientError as error:
            log.warning("%s could not be written, it will be planned again: %s", task.unit, error)
            await trio.sleep(RETRY_SECONDS)
        finally:
            self._slots.release()
        self._figures.engine_task_failure_count_total += 1
        view.refuse(task)
        mirror.touched()

    def _conditions(self, task: Task) -> list[Compare]:
        """The unit and the placements are as they were when this was decided."""
        mirror = self._mirror
        unit = mirror.view.board.units.get(task.unit)
        concerned = [keys.unit(unit.record if unit else task.unit)]
        concerned += [keys.placement(machine, task.unit) for machine in outcome(task)]
        return [Compare(key, "mod", "=", mirror.mods.get(key, 0)) for key in concerned]

    async def _find_out(self, fence: int) -> None:
        """After a lost answer: write the election key, so that the lost write comes no more, and catch up with it."""
        async with self._fencing:
            while self._fence == fence:
                try:
                    done = await self._store.txn(
                        [self._claim.compare],
                        [Put(self._claim.key, self._value, self._claim.lease)],
                        [Range(self._claim.key)],
                    )
                except OutcomeUnknownError:
                    await trio.sleep(RETRY_SECONDS)
                    continue
                if not done.succeeded:
                    self._still_leading(done)
                self._fence = max(self._fence, done.revision)
            now = self._fence
        await self._mirror.reached(now)

    def _still_leading(self, done: TxnResult) -> None:
        """NotLeadingError if the election key is gone or another's. If it was written since we knew of it, that was a
        late word of our own, and counts: it is one more reason for lost writes not to come."""
        found = done.responses[0]
        kv = found.first if isinstance(found, RangeResult) else None
        if kv is None or kv.create_revision != self._claim.revision:
            raise NotLeadingError("another engine leads now, or none; this one has stopped")
        self._fence = max(self._fence, kv.mod_revision)


def _changes(task: Task) -> list[Operation]:
    return [
        Delete(keys.placement(machine, task.unit))
        if placement is None
        else Put(keys.placement(machine, task.unit), encode(placement))
        for machine, placement in outcome(task).items()
    ]


def _words(task: Task) -> str:
    if isinstance(task, Unplace):
        return f"leaves {task.machine[:8]}"
    return f"{task.source[:8]} -> {task.machine[:8]}" if isinstance(task, Move) else f"-> {task.machine[:8]}"
