"""What operators want: units and words about hosts, written in transactions that compare what was read."""

import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import msgspec
import trio

from core.api.fleet.answers import Refused
from core.client import Compare, Delete, KeyValue, Operation, Put, Store
from core.sched import keys, names, records, submission, unit_text
from core.sched.names import UnitName
from core.sched.records import Desired, Drain, HostRecord, Rollout, RolloutState, UnitRecord
from core.sched.submission import Submission

TRIES = 20
"""How often a change that lost a race is decided anew."""
MOST_PEERS = 1000
"""Units looked at for a circle of MachineOf=."""
LONGEST_WHY = 1000
OPEN: tuple[RolloutState, ...] = ("running", "paused", "returning")
"""Rollouts that are not at their end."""


class Submitted(msgspec.Struct, frozen=True):
    """What became of a text."""

    created: bool
    """There was no unit of that name."""
    changed: bool
    """It has another text than before."""
    hash: str
    warnings: tuple[str, ...]


def name_of(text: str) -> UnitName:
    """A unit's name. Refused 400."""
    try:
        return names.parse(text)
    except names.UnitNameError as error:
        raise Refused(400, str(error)) from None


async def check(name: UnitName, data: bytes) -> Submission:
    """What a text is for a unit of that name, alone. Refused 400, 413."""
    if len(data) > unit_text.LARGEST:
        raise Refused(413, f"a unit's text has at most {unit_text.LARGEST:,} bytes, and this has {len(data):,}")
    with refusing():
        return await _read(name.text, data)


async def _read(name: str, data: bytes) -> Submission:
    """Slice by slice. SubmissionError."""
    slices = submission.checking(name, data)
    while True:
        try:
            next(slices)
        except StopIteration as end:
            found: Submission = end.value
            return found
        await trio.lowlevel.checkpoint()


def text_gone(digest: str) -> Refused:
    """A unit's text that the store has lost."""
    return Refused(500, f"the text {digest} is gone; submit the unit again")


@contextmanager
def refusing() -> Iterator[None]:
    """Refused 400 for what the rules refuse."""
    try:
        yield
    except submission.SubmissionError as error:
        raise Refused(400, str(error)) from None


class Wanted:
    """Changes what is wanted. Refused says what cannot be; ClientError that the store did not do it."""

    def __init__(self, store: Store) -> None:
        self._store = store

    # Units

    async def unit(self, name: UnitName) -> UnitRecord | None:
        """The record of a unit."""
        return (await self._unit(name))[1]

    async def text(self, digest: str) -> bytes:
        """A text by its hash. Refused 500 if it is gone."""
        found = await self._store.get(keys.text(digest))
        if found is None:
            raise text_gone(digest)
        return found

    async def submit(
        self, name: UnitName, data: bytes, desired: Desired | None = None, *, replace: bool = True, known: str = ""
    ) -> Submitted:
        """Store a text under a name, and say what is wanted of it: None leaves that as it is, inactive for a new one.
        Without `replace` another text than that of the unit there is refused, and with `known` any change since the
        text of that hash."""
        asked = await check(name, data)
        await self._check_circle(asked)
        digest = asked.text.digest
        for _ in range(TRIES):
            seen, old = await self._unit(name)
            if known and (old is None or old.text != known):
                raise Refused(412, f"{name.text} has another text than {known} by now; look at it and decide again")
            if old is not None and old.text != digest and not replace:
                raise Refused(409, f"{name.text} is there with another text; say that it is to be replaced")
            new = UnitRecord(digest) if old is None else msgspec.structs.replace(old, text=digest)
            new = new if desired is None else msgspec.structs.replace(new, desired=desired)
            _check_desired(asked, new)
            if old is not None and old.text != digest:
                await self._refuse_during_rollout(name)
            puts = [Put(keys.text(digest), data), Put(keys.unit(name.text), records.encode(new))]
            if await self._write([_as_seen(keys.unit(name.text), seen)], puts):
                return Submitted(old is None, old is not None and old.text != digest, digest, remarks_of(asked))
        raise _raced(name.text)

    async def set_state(self, name: UnitName, desired: Desired) -> None:
        """Say what is wanted of a unit that is there."""

        async def change(old: UnitRecord) -> UnitRecord:
            new = msgspec.structs.replace(old, desired=desired)
            if name.is_template and desired != "inactive":
                _check_desired(await check(name, await self.text(old.text)), new)
            return new

        await self._change(name, change)

    async def restart(self, name: UnitName) -> int:
        """Ask for a restart wherever it runs; which one it is."""

        async def change(old: UnitRecord) -> UnitRecord:
            if old.desired != "launched":
                raise Refused(409, f"{name.text} is not to run: what is wanted of it is {old.desired}; start it")
            return msgspec.structs.replace(old, restarted=old.restarted + 1)

        return (await self._change(name, change)).restarted

    async def scale(self, name: UnitName, replicas: int | None) -> None:
        """Keep so many instances of a template; None: as many as its text says."""

        async def change(old: UnitRecord) -> UnitRecord:
            new = msgspec.structs.replace(old, replicas=replicas)
            _check_desired(await check(name, await self.text(old.text)), new)
            return new

        await self._change(name, change)

    async def destroy(self, name: UnitName) -> None:
        """Forget a unit, and a rollout of it. Refused 404."""
        for _ in range(TRIES):
            seen, old = await self._unit(name)
            if old is None:
                raise await self._absent(name)
            key = keys.unit(name.text)
            if await self._write([_as_seen(key, seen)], [Delete(key), Delete(keys.rollout(name.text))]):
                return
        raise _raced(name.text)

    async def _check_circle(self, asked: Submission) -> None:
        """Refused 400 if it would wait for units that wait for it. Only what it names is looked at, and what that
        names."""
        known: dict[str, tuple[str, ...]] = {}
        waiting = list(asked.rules.machine_of)
        while waiting and len(known) < MOST_PEERS:
            peer = waiting.pop()
            if peer in known:
                continue
            known[peer] = await self._peers(peer)
            waiting += known[peer]
        if known:
            with refusing():
                submission.check_circle(asked.name.text, asked.rules, known)

    async def _peers(self, name: str) -> tuple[str, ...]:
        try:
            parsed = names.parse(name)
            record = await self.unit(parsed)
            data = None if record is None else await self._store.get(keys.text(record.text))
            return () if data is None else (await _read(name, data)).rules.machine_of
        except (names.UnitNameError, submission.SubmissionError):
            return ()

    async def _change(self, name: UnitName, change: Callable[[UnitRecord], Awaitable[UnitRecord]]) -> UnitRecord:
        for _ in range(TRIES):
            seen, old = await self._unit(name)
            if old is None:
                raise await self._absent(name)
            new = await change(old)
            key = keys.unit(name.text)
            if new == old or await self._write([_as_seen(key, seen)], [Put(key, records.encode(new))]):
                return new
        raise _raced(name.text)

    async def _absent(self, name: UnitName) -> Refused:
        if name.template is not None:
            template = await self.unit(names.parse(name.template))
            if template is not None:
                return Refused(
                    404,
                    f"there is no unit {name.text}, but {name.template}: scale that, or submit an instance",
                )
        return Refused(404, f"there is no unit {name.text}")

    async def _unit(self, name: UnitName) -> tuple[KeyValue | None, UnitRecord | None]:
        seen = (await self._store.range(keys.unit(name.text))).first
        return seen, None if seen is None else _decoded(UnitRecord, seen)

    # Hosts

    async def host(self, machine: str, change: Callable[[HostRecord], HostRecord]) -> HostRecord:
        """Change what operators say about a host."""
        for _ in range(TRIES):
            written = await self.hosts({machine: change})
            if written is not None:
                return written[machine]
        raise _raced(machine)

    async def hosts(self, changes: dict[str, Callable[[HostRecord], HostRecord]]) -> dict[str, HostRecord] | None:
        """Change several at once; None if somebody else was faster."""
        compares, puts, found = [], [], {}
        for machine, change in changes.items():
            key = keys.host(machine)
            seen = (await self._store.range(key)).first
            found[machine] = new = change(HostRecord() if seen is None else _decoded(HostRecord, seen))
            compares.append(_as_seen(key, seen))
            puts.append(Delete(key) if new == HostRecord() else Put(key, records.encode(new)))
        return found if await self._write(compares, puts) else None

    async def known_machine(self, machine: str) -> None:
        """Refused 404 unless it is there, or operators have spoken of it."""
        for key in (keys.machine(machine), keys.host(machine)):
            if (await self._store.range(key, count_only=True)).count:
                return
        raise Refused(404, f"no machine has the id {machine}")

    async def cordon(self, machine: str, why: str) -> None:
        """Place nothing new there."""
        await self.known_machine(machine)
        await self.host(machine, lambda old: msgspec.structs.replace(old, cordoned=why[:LONGEST_WHY]))

    async def uncordon(self, machine: str) -> None:
        """Place there again, and end a drain."""
        await self.known_machine(machine)
        await self.host(machine, lambda old: msgspec.structs.replace(old, cordoned="", drain=None))

    async def drain(self, machine: str, why: str, seconds: int, at_once: int) -> None:
        """Move what runs there elsewhere, so many at a time, all of it after some seconds (0: never)."""
        await self.known_machine(machine)
        drain = Drain(int(time.time()) + seconds if seconds else 0, at_once)
        await self.host(machine, lambda old: msgspec.structs.replace(old, cordoned=why[:LONGEST_WHY], drain=drain))

    # Rollouts

    async def roll_out(self, name: UnitName, data: bytes, max_parallel: int, healthy_after: int) -> Rollout:
        """Begin to replace a unit's text step by step."""
        asked = await check(name, data)
        await self._check_circle(asked)
        digest = asked.text.digest
        for _ in range(TRIES):
            seen, unit = await self._unit(name)
            if unit is None:
                raise await self._absent(name)
            _check_desired(asked, unit)
            if unit.text == digest:
                raise Refused(409, f"{name.text} has this text already")
            before, last = await self._rollout(name)
            if last is not None and last.state in OPEN:
                raise Refused(409, f"a rollout of {name.text} is {last.state}; let it end, or return it first")
            new = Rollout(unit.text, digest, max_parallel, started=int(time.time()), healthy_after=healthy_after)
            key, of_unit = keys.rollout(name.text), keys.unit(name.text)
            changed = msgspec.structs.replace(unit, text=digest)
            puts = [(keys.text(digest), data), (of_unit, records.encode(changed)), (key, records.encode(new))]
            if await self._write([_as_seen(of_unit, seen), _as_seen(key, before)], [Put(*each) for each in puts]):
                return new
        raise _raced(name.text)

    async def steer(self, name: UnitName, verb: str) -> Rollout:
        """Pause a rollout, let it go on (resume), or return to the old text."""
        allowed, state = STEPS[verb]
        for _ in range(TRIES):
            seen, old = await self._rollout(name)
            if old is None:
                raise Refused(404, f"there is no rollout of {name.text}")
            if old.state not in allowed:
                raise Refused(409, f"the rollout of {name.text} is {old.state}; only a {allowed[0]} one can {verb}")
            new = msgspec.structs.replace(old, state=state, why=f"an operator said {verb}")
            key = keys.rollout(name.text)
            if await self._write([_as_seen(key, seen)], [Put(key, records.encode(new))]):
                return new
        raise _raced(name.text)

    async def _rollout(self, name: UnitName) -> tuple[KeyValue | None, Rollout | None]:
        seen = (await self._store.range(keys.rollout(name.text))).first
        return seen, None if seen is None else _decoded(Rollout, seen)

    async def _refuse_during_rollout(self, name: UnitName) -> None:
        _, rollout = await self._rollout(name)
        if rollout is not None and rollout.state in OPEN:
            raise Refused(409, f"a rollout of {name.text} is {rollout.state}; let it end, or return it first")

    async def _write(self, compares: Iterable[Compare], writes: Iterable[Operation]) -> bool:
        return (await self._store.txn(compares, writes)).succeeded


STEPS: dict[str, tuple[tuple[RolloutState, ...], RolloutState]] = {
    "pause": (("running",), "paused"),
    "resume": (("paused",), "running"),
    "return": (("running", "paused"), "returning"),
}
"""From which states a rollout may be steered, and to which."""


_R = TypeVar("_R", UnitRecord, HostRecord, Rollout)


def _decoded(kind: type[_R], seen: KeyValue) -> _R:
    try:
        return records.decode(kind, seen.value)
    except records.RecordError as error:
        raise Refused(500, f"{seen.key.decode(errors='replace')}: {error}") from None


def _as_seen(key: bytes, seen: KeyValue | None) -> Compare:
    return Compare.absent(key) if seen is None else Compare.unchanged(seen)


def _raced(what: str) -> Refused:
    return Refused(409, f"{what} was changed by others {TRIES} times in between; try again")


def _check_desired(asked: Submission, record: UnitRecord) -> None:
    """Refused 400 if it cannot be wanted so."""
    with refusing():
        submission.check_desired(asked.name, asked.rules, record.desired, record.replicas)


def remarks_of(asked: Submission) -> tuple[str, ...]:
    """What the author of a text should know."""
    return tuple(str(remark) for remark in asked.remarks)
