"""The reboot lock of a group of hosts, in the store: locksmith's key and JSON, and beside it what locksmith lacks.

<group>/semaphore      locksmith's record; its tools rewrite it whole
<group>/held/<id>      since when a holder has it, and whether it must show that it is there
<group>/alive/<id>     under a lease of the group's expiry, renewed whenever the holder takes the lock again
<group>/expiry         seconds after which a holder that is away loses the lock; absent: never
"""

import time
from collections.abc import Callable, Sequence
from typing import Literal
from urllib.parse import quote_plus, unquote_plus

import msgspec

from core.client.errors import LeaseNotFoundError, OutcomeUnknownError
from core.client.store import Store
from core.client.values import Compare, Delete, KeyValue, Operation, Put, Range, RangeResult, prefix
from core.update.semaphore import Semaphore, SemaphoreError

BASE = b"/coreos.com/updateengine/rebootlock"
ATTEMPTS = 16
"""How often a change is tried when others change the same lock at the same time."""
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


class Status(msgspec.Struct, frozen=True):
    """A group's lock."""

    group: str
    available: int
    max: int
    holders: tuple[Holder, ...]
    expiry: int
    """Seconds; 0: holders never expire."""


class Held(msgspec.Struct, frozen=True):
    """What is kept of a holder beside locksmith's record."""

    since: int = 0
    expires: bool = False
    """Whether it must show that it is there."""


class _Read(msgspec.Struct, frozen=True):
    """A group's keys at one revision."""

    semaphore: Semaphore
    stored: KeyValue | None
    held: dict[str, Held]
    alive: dict[str, int]
    """The leases of those who are there."""
    expiry: int

    def is_expired(self, name: str) -> bool:
        """Whether a holder had to show that it is there, and did not."""
        held = self.held.get(name)
        return held is not None and held.expires and name not in self.alive

    def holder(self, name: str) -> Holder:
        held = self.held.get(name)
        if held is None:
            return Holder(name)
        state: HolderState = ""
        if held.expires:
            state = "alive" if name in self.alive else "expired"
        return Holder(name, held.since, state)


class RebootLock:
    """The lock of one group; the empty name is the group of all who name none."""

    def __init__(self, store: Store, group: str = "", clock: Callable[[], float] = time.time) -> None:
        if len(group) > NAME_MAX:
            raise RebootLockError(f"the name of a group has at most {NAME_MAX} characters")
        self._store = store
        self._group = group
        self._clock = clock
        self._path = BASE + (b"/groups/" + quote_plus(group).encode() if group else b"")
        self._key = self._path + b"/semaphore"

    async def status(self) -> Status:
        """As it is now. RebootLockError if another program stored something else there."""
        read = await self._read()
        holders = tuple(read.holder(name) for name in read.semaphore.holders)
        return Status(self._group, read.semaphore.semaphore, read.semaphore.max, holders, read.expiry)

    async def acquire(self, holder: str, also: Sequence[Compare] = ()) -> tuple[str, ...]:
        """Take the lock, or show that one is there and holds it; returns the expired holders whose places were taken.

        SemaphoreError if no place is free. `also` must hold in the same transaction; RebootLockError if it does not.
        """
        _check_name(holder)
        lease = 0
        for _ in range(ATTEMPTS):
            read = await self._read()
            if holder in read.semaphore.holders and await self._shown(read, holder):
                return ()
            gone = tuple(name for name in read.semaphore.holders if name != holder and read.is_expired(name))
            semaphore = read.semaphore
            for name in gone:
                semaphore = semaphore.let_go(name)
            semaphore = semaphore.taken(holder)
            if read.expiry and not lease:
                lease = (await self._store.grant(read.expiry)).id
            known = read.held.get(holder) if holder in read.semaphore.holders else None
            record = Held(known.since if known else int(self._clock()), bool(lease))
            writes: list[Operation] = [
                Put(self._key, semaphore.encode()),
                Put(self._held(holder), msgspec.json.encode(record)),
                Put(self._alive(holder), b"", lease) if lease else Delete(self._alive(holder)),
                *(Delete(self._held(name)) for name in gone),
            ]
            expired = [Compare.absent(self._alive(name)) for name in gone]
            if await self._changed([_as_read(self._key, read.stored), *expired, *also], writes):
                return gone
            if also and not (await self._store.txn(also)).succeeded:
                raise RebootLockError("what must be so beside the lock is not so")
        raise _contended()

    async def release(self, holder: str) -> None:
        """Let the lock go. SemaphoreError if it is not held."""
        _check_name(holder)
        for attempt in range(ATTEMPTS):
            read = await self._read()
            if attempt and holder not in read.semaphore.holders:
                return  # a try before had its effect, though nobody said so
            semaphore = read.semaphore.let_go(holder)
            gone = Delete(self._held(holder)), Delete(self._alive(holder))
            if await self._changed([_as_read(self._key, read.stored)], [Put(self._key, semaphore.encode()), *gone]):
                return
        raise _contended()

    async def set_max(self, most: int) -> int:
        """Let so many hold it from now on; returns how many might before. Nobody is thrown out."""
        if most < 0:
            raise RebootLockError("fewer than no hosts cannot hold it")
        for _ in range(ATTEMPTS):
            read = await self._read()
            resized = read.semaphore.resized(most)
            if await self._changed([_as_read(self._key, read.stored)], [Put(self._key, resized.encode())]):
                return read.semaphore.max
        raise _contended()

    async def set_expiry(self, seconds: int) -> None:
        """Let a holder lose the lock that was away for so long; 0: never. It binds those who take the lock after it."""
        if seconds:
            await self._store.put(self._expiry, b"%d" % seconds)
        else:
            await self._store.delete(self._expiry)

    async def _read(self) -> _Read:
        reads = (self._key, self._expiry, prefix(self._path + b"/held/"), prefix(self._path + b"/alive/"))
        answer = await self._store.txn((), tuple(Range(keys) for keys in reads))
        stored, expiry, held, alive = (
            response.kvs for response in answer.responses if isinstance(response, RangeResult)
        )
        try:
            return _Read(
                Semaphore.decode(stored[0].value) if stored else Semaphore(),
                stored[0] if stored else None,
                {_name(row.key): msgspec.json.decode(row.value, type=Held) for row in held},
                {_name(row.key): row.lease for row in alive},
                int(expiry[0].value) if expiry else 0,
            )
        except (SemaphoreError, ValueError) as error:
            path = self._path.decode()
            raise RebootLockError(
                f"what stands below {path} cannot be read ({error}); another program wrote it"
            ) from None

    async def _shown(self, read: _Read, holder: str) -> bool:
        """Show that a holder is there, if it holds the lock as the group wants it now."""
        lease = read.alive.get(holder)
        if holder not in read.held or bool(lease) != bool(read.expiry):
            return False
        if lease:
            try:
                await self._store.keep_alive(lease)
            except LeaseNotFoundError:
                return False
        return True

    async def _changed(self, compares: Sequence[Compare], writes: Sequence[Operation]) -> bool:
        """Whether the transaction took place. If nobody knows, no: what comes next reads what became of it."""
        try:
            return (await self._store.txn(compares, writes)).succeeded
        except (OutcomeUnknownError, LeaseNotFoundError):
            return False

    def _held(self, holder: str) -> bytes:
        return self._path + b"/held/" + quote_plus(holder).encode()

    def _alive(self, holder: str) -> bytes:
        return self._path + b"/alive/" + quote_plus(holder).encode()

    @property
    def _expiry(self) -> bytes:
        return self._path + b"/expiry"


def _name(key: bytes) -> str:
    return unquote_plus(key.rpartition(b"/")[2].decode())


def _as_read(key: bytes, found: KeyValue | None) -> Compare:
    return Compare.absent(key) if found is None else Compare.unchanged(found)


def _check_name(holder: str) -> None:
    if not 0 < len(holder) <= NAME_MAX:
        raise RebootLockError(f"the id of a machine has 1 to {NAME_MAX} characters")


def _contended() -> RebootLockError:
    return RebootLockError("others change the lock all the time, or the store does not answer; try again")
