"""What a voting member needs beside its group's lock before it may reboot.

It takes a place in the group `voters` as well, of which there is one for the whole cluster. Both are one transaction,
which holds only if enough of the other voters are there to decide without it.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from core.client.errors import PermissionDeniedError
from core.client.store import Store
from core.client.values import Compare, prefix
from core.sched import keys
from core.sched.records import Machine, RecordError, decode
from core.update.lock_keys import RebootLockError
from core.update.reboot_lock import RebootLock

VOTERS = "voters"
"""The group of all voters, whatever else they belong to. `max` may be raised where the cluster is large."""
_NEVER = Compare(keys.MACHINES, "mod", "=", -1)
"""A condition that does not hold."""


class Voter(msgspec.Struct, frozen=True):
    """A voting member, as the one sees it that was asked."""

    name: str
    connected: bool


Voters = Callable[[], Sequence[Voter]]
"""All voting members, also the one that is asked."""


class Turns:
    """The locks that a host of a group needs together: one of it, and if it votes the one of all voters."""

    def __init__(self, store: Store, group: str, voters: Voters) -> None:
        self._store = store
        self._group = group
        self._voters = voters

    async def acquire(self, holder: str, name: str = "") -> tuple[str, ...]:
        """As `RebootLock.acquire`; `name` is the host's as a member, if that is known better than by its machine id.
        SemaphoreError, RebootLockError, ClientError."""
        voters = self._voters()
        hosts = await _hosts(self._store) if voters else {}
        name = name or hosts.get(holder, "")
        others = [voter for voter in voters if voter.name != name]
        if len(others) == len(voters):
            return await RebootLock(self._store, self._group).acquire(holder)
        lock = RebootLock(self._store, self._group, beside=(VOTERS,))
        try:
            also = quorum_without_us(hosts, others)
        except RebootLockError:
            if not await lock.is_held(holder):
                raise
            also = (_NEVER,)  # what is held may be shown, and nothing is had anew
        return await lock.acquire(holder, also)

    async def release(self, holder: str) -> None:
        """Let go of both, or of the one that is held. SemaphoreError if neither is."""
        try:
            await RebootLock(self._store, self._group, beside=(VOTERS,)).release(holder)
        except PermissionDeniedError:  # whoever may only change the group's lock is no voter
            await RebootLock(self._store, self._group).release(holder)


def quorum_without_us(hosts: Mapping[str, str], others: Sequence[Voter]) -> tuple[Compare, ...]:
    """Conditions under which the others can decide alone: as many as they need are present hosts.

    `hosts`: present ones, names by machine id. RebootLockError if they are not enough. A cluster of one needs nobody.
    """
    if not others:
        return ()
    needed = (len(others) + 1) // 2 + 1
    if len(others) < needed:
        raise RebootLockError(
            "of two voting members neither can be spared; add a third, or reboot without the lock when it suits you"
        )
    machines = {name: machine for machine, name in hosts.items()}
    live = [machines[voter.name] for voter in others if voter.connected and voter.name in machines]
    if len(live) < needed:
        away = ", ".join(voter.name for voter in others if not (voter.connected and voter.name in machines))
        raise RebootLockError(
            f"without this host {len(live)} of {len(others) + 1} voting members are left, and {needed} are needed to "
            f"decide anything; away, or without an agent that says they are there: {away}"
        )
    return tuple(Compare.present(keys.machine(machine)) for machine in live[:needed])


async def _hosts(store: Store) -> dict[str, str]:
    """The names of present hosts, by id. Nobody who may not read their records learns of any."""
    found = {}
    try:
        async for page in store.pages(prefix(keys.MACHINES)):
            for row in page.kvs:
                try:
                    machine = decode(Machine, row.value)
                except RecordError:
                    continue
                found[machine.id] = machine.name
    except PermissionDeniedError:
        return {}
    return found
