"""The reboot lock of groups of hosts, in the store: locksmith's key and JSON, and beside it what locksmith lacks.

A host may need the locks of several groups at once, as a voter does: they are taken and let go together.
"""

import time
from collections.abc import Callable, Sequence

import msgspec

from core.client.errors import LeaseNotFoundError, OutcomeUnknownError
from core.client.store import Store
from core.client.values import Compare, RangeResult
from core.update.lock_keys import NAME_MAX, Change, Holder, Place, Read, RebootLockError
from core.update.semaphore import SemaphoreError

__all__ = ["Holder", "RebootLock", "RebootLockError", "Status"]
ATTEMPTS = 16
"""How often a change is tried when others change the same lock at the same time."""


class Status(msgspec.Struct, frozen=True):
    """A group's lock."""

    group: str
    available: int
    max: int
    holders: tuple[Holder, ...]
    expiry: int
    """Seconds; 0: holders never expire."""


class RebootLock:
    """The lock of a group; the empty name is the group of all who name none."""

    def __init__(
        self, store: Store, group: str = "", *, beside: Sequence[str] = (), clock: Callable[[], float] = time.time
    ) -> None:
        """`beside`: further groups whose locks are taken and let go with it, in the same transaction."""
        groups = tuple(dict.fromkeys((group, *beside)))
        if any(len(name) > NAME_MAX for name in groups):
            raise RebootLockError(f"the name of a group has at most {NAME_MAX} characters")
        self._store = store
        self._places = tuple(Place(name) for name in groups)
        self._clock = clock

    async def status(self) -> Status:
        """Of the first group, as it is now. RebootLockError if another program stored something else there."""
        read = (await self._read())[0]
        holders = tuple(read.holder(name) for name in read.semaphore.holders)
        return Status(read.place.group, read.semaphore.semaphore, read.semaphore.max, holders, read.expiry)

    async def acquire(self, holder: str, also: Sequence[Compare] = ()) -> tuple[str, ...]:
        """Take the lock, or show that one is there and holds it; returns the expired holders whose places were taken.

        SemaphoreError if no place is free. `also` must hold in the transaction that takes what is not held yet;
        RebootLockError if it does not.
        """
        _check_name(holder)
        leases: dict[str, int] = {}
        for _ in range(ATTEMPTS):
            wanting = [read for read in await self._read() if not await self._shown(read, holder)]
            if not wanting:
                return ()
            changes = []
            for read in wanting:
                group = read.place.group
                if read.expiry and group not in leases:
                    leases[group] = (await self._store.grant(read.expiry)).id
                lease = leases[group] if read.expiry else 0
                try:
                    changes.append(read.taking(holder, lease, int(self._clock())))
                except SemaphoreError as error:
                    raise self._named(error, group) from None
            if await self._changed(changes, also):
                return tuple(name for change in changes for name in change.gone)
            if also and not (await self._store.txn(also)).succeeded:
                raise RebootLockError("what must be so beside the lock is not so")
        raise _contended()

    async def is_held(self, holder: str) -> bool:
        """Whether somebody holds all of the locks now."""
        return all(read.is_held(holder) for read in await self._read())

    async def release(self, holder: str) -> None:
        """Let the lock go. SemaphoreError if it is not held."""
        _check_name(holder)
        for attempt in range(ATTEMPTS):
            reads = await self._read()
            held = [read for read in reads if read.is_held(holder)]
            if attempt and not held:
                return  # a try before had its effect, though nobody said so
            if await self._changed([read.letting_go(holder) for read in held or reads]):
                return
        raise _contended()

    async def set_max(self, most: int) -> int:
        """Let so many hold it from now on; returns how many might before. Nobody is thrown out."""
        if most < 0:
            raise RebootLockError("fewer than no hosts cannot hold it")
        for _ in range(ATTEMPTS):
            read = (await self._read())[0]
            if await self._changed([read.resizing(most)]):
                return read.semaphore.max
        raise _contended()

    async def set_expiry(self, seconds: int) -> None:
        """Let a holder lose the lock that was away for so long; 0: never. It binds those who take the lock after it."""
        key = self._places[0].expiry
        if seconds:
            await self._store.put(key, b"%d" % seconds)
        else:
            await self._store.delete(key)

    async def _read(self) -> list[Read]:
        answer = await self._store.txn((), [each for place in self._places for each in place.ranges()])
        rows = [response.kvs for response in answer.responses if isinstance(response, RangeResult)]
        size = len(rows) // len(self._places)
        return [place.read(rows[at * size : (at + 1) * size]) for at, place in enumerate(self._places)]

    async def _shown(self, read: Read, holder: str) -> bool:
        """Show that a holder is there, if it holds the lock as the group wants it now."""
        if not read.is_shown(holder):
            return False
        lease = read.leases.get(holder)
        if lease:
            try:
                await self._store.keep_alive(lease)
            except LeaseNotFoundError:
                return False
        return True

    async def _changed(self, changes: Sequence[Change], also: Sequence[Compare] = ()) -> bool:
        """Whether the transaction took place. If nobody knows, no: what comes next reads what became of it."""
        compares = [compare for change in changes for compare in change.compares]
        writes = [write for change in changes for write in change.writes]
        try:
            return (await self._store.txn([*compares, *also], writes)).succeeded
        except (OutcomeUnknownError, LeaseNotFoundError):
            return False

    def _named(self, error: SemaphoreError, group: str) -> SemaphoreError:
        """Which lock it is, where there are several; locksmith's words where there is one."""
        return error if len(self._places) == 1 else SemaphoreError(f"{error} in the group {group or 'default'}")


def _check_name(holder: str) -> None:
    if not 0 < len(holder) <= NAME_MAX:
        raise RebootLockError(f"the id of a machine has 1 to {NAME_MAX} characters")


def _contended() -> RebootLockError:
    return RebootLockError("others change the lock all the time, or the store does not answer; try again")
