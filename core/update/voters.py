"""What a voting member needs beside its group's lock before it may reboot.

It takes a place in the group `voters` as well, of which there is one for the whole cluster. Both are one transaction,
which holds only if enough of the other voters are there to decide without it.
"""

from collections.abc import Callable, Sequence

import msgspec

from core.client.store import Store
from core.client.values import Compare, prefix
from core.sched import keys
from core.sched.records import Machine, RecordError, decode
from core.update.lock_keys import RebootLockError

VOTERS = "voters"
"""The group of all voters, whatever else they belong to. `max` may be raised where the cluster is large."""


class Voter(msgspec.Struct, frozen=True):
    """Another voting member, as this one sees it."""

    name: str
    connected: bool


Others = Callable[[], Sequence[Voter] | None]
"""The other voters; None: this host does not vote."""


async def quorum_without_us(store: Store, others: Sequence[Voter]) -> tuple[Compare, ...]:
    """Conditions under which the others can decide alone: as many as they need are present hosts.

    RebootLockError if they are not. ClientError. A cluster of one needs nobody.
    """
    if not others:
        return ()
    needed = (len(others) + 1) // 2 + 1
    if len(others) < needed:
        raise RebootLockError(
            "of two voting members neither can be spared; add a third, or reboot without the lock when it suits you"
        )
    machines = await _machines(store)
    live = [machines[voter.name] for voter in others if voter.connected and voter.name in machines]
    if len(live) < needed:
        away = ", ".join(voter.name for voter in others if not (voter.connected and voter.name in machines))
        raise RebootLockError(
            f"without this host {len(live)} of {len(others) + 1} voting members are left, and {needed} are needed to "
            f"decide anything; away: {away}"
        )
    return tuple(Compare.present(keys.machine(id_)) for id_ in live[:needed])


async def _machines(store: Store) -> dict[str, str]:
    """The ids of present hosts, by name."""
    found = {}
    async for page in store.pages(prefix(keys.MACHINES)):
        for row in page.kvs:
            try:
                machine = decode(Machine, row.value)
            except RecordError:
                continue
            found[machine.name] = machine.id
    return found
