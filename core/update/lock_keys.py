"""The keys of one group's reboot lock, and what stands in them at one revision.

<group>/semaphore      locksmith's record; its tools rewrite it whole
<group>/held/<id>      since when a holder has it, and whether it must show that it is there
<group>/alive/<id>     under a lease of the group's expiry, renewed whenever the holder takes the lock again
<group>/expiry         seconds after which a holder that is away loses the lock; absent: never
"""

from collections.abc import Sequence
from typing import Literal
from urllib.parse import quote_plus, unquote_plus

import msgspec

from core.client.values import Compare, Delete, KeyValue, Operation, Put, Range, prefix
from core.update.semaphore import Semaphore, SemaphoreError

BASE = b"/coreos.com/updateengine/rebootlock"
NAME_MAX = 256


class RebootLockError(Exception):
    """The lock could not be changed; the text says why."""


HolderState = Literal["", "alive", "expired"]


class Holder(msgspec.Struct, frozen=True):
    """Who holds the lock."""

    id: str
    since: int = 0
    """Unix seconds by the clock of whoever took it; 0: taken by another program, which does not say."""
    state: HolderState = ""
    """Whether it showed itself within the group's expiry; empty if it need not."""


class Held(msgspec.Struct, frozen=True):
    """What is kept of a holder beside locksmith's record."""

    since: int = 0
    expires: bool = False
    """Whether it must show that it is there."""


class Place(msgspec.Struct, frozen=True):
    """Where a group's lock is; the empty name is the group of all who name none."""

    group: str

    @property
    def path(self) -> bytes:
        return BASE + (b"/groups/" + quote_plus(self.group).encode() if self.group else b"")

    @property
    def key(self) -> bytes:
        return self.path + b"/semaphore"

    @property
    def expiry(self) -> bytes:
        return self.path + b"/expiry"

    def held(self, holder: str) -> bytes:
        return self.path + b"/held/" + quote_plus(holder).encode()

    def alive(self, holder: str) -> bytes:
        return self.path + b"/alive/" + quote_plus(holder).encode()

    def ranges(self) -> tuple[Range, ...]:
        """What to read for `read`, in its order."""
        reads = (self.key, self.expiry, prefix(self.path + b"/held/"), prefix(self.path + b"/alive/"))
        return tuple(Range(keys) for keys in reads)

    def read(self, found: Sequence[Sequence[KeyValue]]) -> "Read":
        """What `ranges` gave. RebootLockError."""
        stored, expiry, held, alive = found
        try:
            return Read(
                self,
                Semaphore.decode(stored[0].value) if stored else Semaphore(),
                stored[0] if stored else None,
                {_name(row.key): msgspec.json.decode(row.value, type=Held) for row in held},
                {_name(row.key): row.lease for row in alive},
                int(expiry[0].value) if expiry else 0,
            )
        except (SemaphoreError, ValueError) as error:
            path = self.path.decode()
            raise RebootLockError(
                f"what stands below {path} cannot be read ({error}); another program wrote it"
            ) from None


class Change(msgspec.Struct, frozen=True):
    """A part of a transaction."""

    compares: tuple[Compare, ...]
    writes: tuple[Operation, ...]
    gone: tuple[str, ...] = ()
    """Expired holders whose places it takes."""


class Read(msgspec.Struct, frozen=True):
    """A group's keys at one revision."""

    place: Place
    semaphore: Semaphore
    stored: KeyValue | None
    held: dict[str, Held]
    leases: dict[str, int]
    """Of those who are there."""
    expiry: int
    """Seconds; 0: holders never expire."""

    @property
    def unchanged(self) -> Compare:
        """That locksmith's record is still as it was read."""
        return Compare.absent(self.place.key) if self.stored is None else Compare.unchanged(self.stored)

    def is_held(self, holder: str) -> bool:
        return holder in self.semaphore.holders

    def is_shown(self, holder: str) -> bool:
        """Whether a holder holds it as the group wants it now: under a lease, or without one."""
        return self.is_held(holder) and holder in self.held and (holder in self.leases) == bool(self.expiry)

    def holder(self, name: str) -> Holder:
        held = self.held.get(name)
        if held is None:
            return Holder(name)
        state: HolderState = ""
        if held.expires:
            state = "alive" if name in self.leases else "expired"
        return Holder(name, held.since, state)

    def taking(self, holder: str, lease: int, now: int) -> Change:
        """The change by which a holder takes it. SemaphoreError if no place is free."""
        gone = tuple(name for name in self.semaphore.holders if name != holder and self._is_expired(name))
        semaphore = self.semaphore
        for name in gone:
            semaphore = semaphore.let_go(name)
        semaphore = semaphore.taken(holder)
        known = self.held.get(holder) if self.is_held(holder) else None
        record = Held(known.since if known else now, bool(lease))
        place = self.place
        return Change(
            (self.unchanged, *(Compare.absent(place.alive(name)) for name in gone)),
            (
                Put(place.key, semaphore.encode()),
                Put(place.held(holder), msgspec.json.encode(record)),
                Put(place.alive(holder), b"", lease) if lease else Delete(place.alive(holder)),
                *(Delete(place.held(name)) for name in gone),
            ),
            gone,
        )

    def letting_go(self, holder: str) -> Change:
        """The change by which a holder lets it go. SemaphoreError if it does not hold it."""
        place, semaphore = self.place, self.semaphore.let_go(holder)
        gone = Delete(place.held(holder)), Delete(place.alive(holder))
        return Change((self.unchanged,), (Put(place.key, semaphore.encode()), *gone))

    def resizing(self, most: int) -> Change:
        """The change to another `max`."""
        return Change((self.unchanged,), (Put(self.place.key, self.semaphore.resized(most).encode()),))

    def _is_expired(self, name: str) -> bool:
        """Whether a holder had to show that it is there, and did not."""
        held = self.held.get(name)
        return held is not None and held.expires and name not in self.leases


def _name(key: bytes) -> str:
    return unquote_plus(key.rpartition(b"/")[2].decode())
