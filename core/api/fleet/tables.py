"""What the store knows of units and machines, read at one revision."""

import logging
from collections.abc import Iterable

import msgspec

from core.client import Range, RangeResult, Store, prefix
from core.client.errors import CompactedError
from core.sched import keys, records
from core.sched.keys import Kind
from core.sched.records import HostRecord, Machine, Placement, Rollout, UnitRecord, UnitState
from core.sched.view import effective_metadata

PAGE = 1000
"""Keys to a page of reading."""

AT_ONCE = 100
"""Single keys to a transaction of reading."""

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
                    self.machines[place.machine] = records.decode(Machine, value)
                case keys.Place(Kind.HOST):
                    self.hosts[place.machine] = records.decode(HostRecord, value)
                case keys.Place(Kind.PLACEMENT):
                    found = records.decode(Placement, value)
                    self.placements.setdefault(place.name, {})[place.machine] = found
                case keys.Place(Kind.STATE):
                    self.states.setdefault(place.name, {})[place.machine] = records.decode(UnitState, value)
                case keys.Place(Kind.ROLLOUT):
                    self.rollouts[place.name] = records.decode(Rollout, value)
        except records.RecordError as error:
            _log.warning("a record cannot be read", extra={"key": repr(key[:200]), "why": str(error)})


async def read(store: Store, *tables: bytes) -> Tables:
    """The tables below these prefixes (`core.sched.keys`), all as of one revision. ClientError."""
    while True:
        found = Tables()
        try:
            for each in tables:
                async for page in store.pages(prefix(each), size=PAGE, revision=found.revision):
                    found.revision = found.revision or page.revision
                    for kv in page.kvs:
                        found.add(kv.key, kv.value)
        except CompactedError:
            continue  # somebody compacts right up to the present; what is there now does as well
        return found


async def texts(store: Store, wanted: Iterable[str]) -> dict[str, bytes]:
    """Texts by their hashes; those that are gone are left out."""
    found = {}
    rest = sorted(set(wanted))
    while rest:
        some, rest = rest[:AT_ONCE], rest[AT_ONCE:]
        done = await store.txn(then=[Range(keys.text(each)) for each in some])
        for each, result in zip(some, done.responses, strict=True):
            if isinstance(result, RangeResult) and result.first is not None:
                found[each] = result.first.value
    return found
