"""Rollouts, driven on: what `core.sched.rollout` decides becomes tasks and records."""

import msgspec

from core.client import Compare, Operation, Put
from core.engine.mirror import Mirror
from core.engine.writer import Writer
from core.sched import keys, rollout
from core.sched.records import encode
from core.sched.tasks import Task


class Rollouts:
    """Of one term."""

    def __init__(self, mirror: Mirror, writer: Writer) -> None:
        self._mirror = mirror
        self._writer = writer
        self._written: dict[str, int] = {}
        """Revision of the last record of ours; it is not decided again before the mirror has it."""
        self.due = 0
        """When to decide again although nothing changed, in Unix seconds; 0: not before something does."""

    async def step(self) -> list[Task]:
        """Decide about every rollout under way; the tasks are assumed already. NotLeadingError, ClientError."""
        view = self._mirror.view
        tasks: list[Task] = []
        self.due = 0
        for name, record in sorted(view.rollouts.items()):
            if record.state not in ("running", "returning") or self._written.get(name, 0) > self._mirror.revision:
                continue
            decision = rollout.decide(record, rollout.instances(view, name), view.now)
            if decision.due:
                self.due = min(self.due or decision.due, decision.due)
            updates = rollout.updates(view, name, decision)
            for task in updates:
                view.assume(task)
            tasks += updates
            if decision.rollout is not None:
                await self._record(name, decision)
        return tasks

    async def _record(self, name: str, decision: rollout.Decision) -> None:
        mirror = self._mirror
        if decision.rollout is None:
            return
        key, unit_key = keys.rollout(name), keys.unit(name)
        compare = [Compare(each, "mod", "=", mirror.mods.get(each, 0)) for each in (key, unit_key)]
        change: list[Operation] = [Put(key, encode(decision.rollout))]
        unit = mirror.view.units.get(name)
        if decision.restore and unit is not None:
            change.append(Put(unit_key, encode(msgspec.structs.replace(unit, text=decision.restore))))
        self._written[name] = await self._writer.write(compare, change)
