"""What the store knows of units and machines, read at one revision."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from typing import TypeVar

import msgspec
import trio

from core.client import Range, RangeResult, Store, prefix
from core.client.errors import CompactedError
from core.sched import keys, names, records
from core.sched.keys import Kind
from core.sched.records import HostRecord, Machine, Placement, Rollout, UnitRecord, UnitState
from core.sched.view import effective_metadata

SLICE = 200
"""Records taken in between two rounds of the loop: about a millisecond."""

AT_ONCE = 100
"""Single keys to a transaction of reading."""
TEXTS_AT_ONCE = 20
"""The same of texts, which may be large."""

T = TypeVar("T")
R = TypeVar("R")
_log = logging.getLogger(__name__)


class Tables(msgspec.Struct):
    """Those tables that were asked for; the others are empty."""

    revision: int = 0
    units: dict[str, UnitRecord] = {}
    texts: dict[str, bytes] = {}
    """By SHA-256."""
    machines: dict[str, Machine] = {}
    """Those that are there."""
    hosts: dict[str, HostRecord] = {}
    placements: dict[str, dict[str, Placement]] = {}
    """By unit, then machine."""
    states: dict[str, dict[str, UnitState]] = {}
    """By unit, then machine."""
    rollouts: dict[str, Rollout] = {}

    def metadata(self, machine: Machine) -> dict[str, str]:
        """A machine's own, with what operators said in its place."""
        return effective_metadata(machine, self.hosts.get(machine.id, HostRecord()))

    def add(self, key: bytes, value: bytes) -> None:
        """Take in a record; what this version cannot read is left out."""
        place = keys.parse(key)
        try:
            match place:
                case keys.Place(Kind.UNIT):
                    self.units[place.name] = records.decode(UnitRecord, value)
                case keys.Place(Kind.TEXT):
                    self.texts[place.name] = value
                case keys.Place(Kind.MACHINE):
                    found_machine = records.decode(Machine, value)  # whatever it says of itself, its key is checked
                    self.machines[place.machine] = msgspec.structs.replace(found_machine, id=place.machine)
                case keys.Place(Kind.HOST):
                    self.hosts[place.machine] = records.decode(HostRecord, value)
                case keys.Place(Kind.PLACEMENT):
                    found = records.decode(Placement, value)
                    self.placements.setdefault(place.name, {})[place.machine] = found
                case keys.Place(Kind.STATE):
                    if place.name not in self.units:
                        names.parse(place.name)  # a host writes below its own states whatever it likes
                    self.states.setdefault(place.name, {})[place.machine] = records.decode(UnitState, value)
                case keys.Place(Kind.ROLLOUT):
                    self.rollouts[place.name] = records.decode(Rollout, value)
        except (records.RecordError, names.UnitNameError) as error:
            _log.warning("a record cannot be read", extra={"key": repr(key[:200]), "why": str(error)})


async def read(store: Store, *tables: bytes) -> Tables:
    """The tables below these prefixes (`core.sched.keys`), all as of one revision. ClientError."""
    while True:
        found = Tables()
        try:
            for each in tables:
                # Not in pages: each would count all that is left. A member's own store reads it in slices anyway.
                table = await store.range(prefix(each), revision=found.revision)
                found.revision = found.revision or table.revision
                for number, kv in enumerate(table.kvs, 1):
                    found.add(kv.key, kv.value)
                    if number % SLICE == 0:
                        await trio.lowlevel.checkpoint()
        except CompactedError:
            continue  # somebody compacts right up to the present; what is there now does as well
        return found


async def in_slices(items: Iterable[T], make: Callable[[T], R]) -> list[R]:
    """What is made of each, with rounds of the loop in between."""
    found = []
    for number, item in enumerate(items, 1):
        found.append(make(item))
        if number % SLICE == 0:
            await trio.lowlevel.checkpoint()
    return found


async def texts(store: Store, wanted: Iterable[str]) -> AsyncIterator[tuple[str, bytes]]:
    """Texts and their hashes, some read at a time; those that are gone are left out. ClientError."""
    rest = sorted(set(wanted))
    while rest:
        some, rest = rest[:TEXTS_AT_ONCE], rest[TEXTS_AT_ONCE:]
        done = await store.txn(then=[Range(keys.text(each)) for each in some])
        for each, result in zip(some, done.responses, strict=True):
            if isinstance(result, RangeResult) and result.first is not None:
                yield each, result.first.value
