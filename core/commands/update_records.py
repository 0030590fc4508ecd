"""What the verbs of channels and groups share: the records of updates, read and changed."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

import msgspec

from core.commands.failure import Failure
from core.update import keys
from core.update.records import Channel, Group, Offer, RecordError, Report, decode, encode

if TYPE_CHECKING:
    from core.client import Store

R = TypeVar("R", Channel, Group)
N = TypeVar("N", Channel, Group, Offer, Report)
ATTEMPTS = 8


class Everything(msgspec.Struct):
    """All records, by name or machine id."""

    channels: dict[str, Channel]
    groups: dict[str, Group]
    offers: dict[str, Offer]
    reports: dict[str, Report]
    alive: set[str]


async def read(store: "Store") -> Everything:
    """As of one revision. ClientError; a Failure for a record that this version cannot read."""
    from core.client import prefix

    found = {kv.key: kv.value for kv in (await store.range(prefix(keys.PREFIX))).kvs}

    def of(start: bytes, kind: type[N]) -> dict[str, N]:
        try:
            return {key[len(start) :].decode(): decode(kind, found[key]) for key in found if key.startswith(start)}
        except RecordError as error:
            raise Failure(f"{error}.") from None

    alive = {key[len(keys.ALIVE) :].decode() for key in found if key.startswith(keys.ALIVE)}
    return Everything(
        of(keys.CHANNELS, Channel), of(keys.GROUPS, Group), of(keys.OFFERS, Offer), of(keys.REPORTS, Report), alive
    )


async def change(store: "Store", key: bytes, kind: type[R], make: Callable[[R | None], R]) -> R:
    """Write what `make` makes of what is stored, unless somebody else changed it meanwhile: then anew. ClientError."""
    from core.client import Compare, Put

    for _ in range(ATTEMPTS):
        seen = (await store.range(key)).first
        try:
            record = make(None if seen is None else decode(kind, seen.value))
        except RecordError as error:
            raise Failure(f"{error}.") from None
        compare = Compare.absent(key) if seen is None else Compare.unchanged(seen)
        if (await store.txn([compare], [Put(key, encode(record))])).succeeded:
            return record
    raise Failure("Others change it all the time; try again.")
