"""Going on alone when most members are lost for good: `corenode up --force-new-cluster`.

What is known to be committed here is kept, what is not is dropped; of what the lost members had acknowledged and this
one never heard, nothing can be known. The cluster keeps its id, so whoever comes back is told that it was removed.
"""

import logging

import msgspec
import trio

from core.client.errors import ClientError
from core.config import Config
from core.joining import ask_members
from core.kv.keyspace import Keyspace
from core.kv.membership import Member
from core.node.applying import Applier
from core.node.clock import ClusterClock
from core.node.flight import Flight
from core.node.forwarding import Forwarded
from core.node.retention import Retention
from core.peering import urls_of
from core.raft.members import Members, encode
from core.raft.messages import HardState
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import DirectoryError
from core.store_lmdb.log import Origin
from core.watch.hub import Hub

ASK_SECONDS = 1.0

_logger = logging.getLogger(__name__)


async def go_on_alone(config: Config) -> None:
    """Make the member of an existing data directory the only one. StoreError, or why it must not be done."""
    directory = DataDirectory.open(config.data_dir)
    try:
        own = directory.identity.member
        keyspace = _caught_up(directory)
        others = [member for member in keyspace.members() if member.id != own]
        if others:
            await _check_lost(config, others)
            _abandon(directory, keyspace, [member.id for member in others])
            names = ", ".join(member.name for member in others)
            _logger.warning("going on alone; these do not belong to the cluster any more", extra={"members": names})
    finally:
        directory.close()


def _caught_up(directory: DataDirectory) -> Keyspace:
    """The keyspace with everything applied that is known to be committed."""
    keyspace = Keyspace(directory.state)
    applied, _ = keyspace.applied
    directory.check_applied(applied)
    clock = ClusterClock(keyspace.time, lambda: 0, lambda: 0.0)
    hub = Hub(keyspace)
    applier = Applier(directory.identity.member, keyspace, hub, clock, Flight(), Forwarded(0), Retention())
    log = directory.log
    while applied < log.hard_state.commit:
        for entry in log.read(applied + 1, log.hard_state.commit):
            applier.apply(entry)
            applied = entry.index
    return keyspace


async def _check_lost(config: Config, others: list[Member]) -> None:
    """Refuse while a majority could still be had: its members go on, and there would be two clusters."""
    alive: list[Member] = []

    async def ask(member: Member) -> None:
        for url in urls_of(member):
            try:
                await ask_members(config, url, ASK_SECONDS)
            except (ClientError, ValueError, msgspec.DecodeError):
                continue
            alive.append(member)
            return

    async with trio.open_nursery() as nursery:
        for member in others:
            nursery.start_soon(ask, member)
    if 2 * (len(alive) + 1) > len(others) + 1:
        names = ", ".join(sorted(member.name for member in alive))
        raise DirectoryError(
            f"{config.data_dir}: --force-new-cluster is for when most members are lost, but {names} can be reached. "
            "Start without the flag; remove the dead ones with corenode member remove"
        )


def _abandon(directory: DataDirectory, keyspace: Keyspace, others: list[int]) -> None:
    log, own = directory.log, directory.identity.member
    index, term = keyspace.applied
    counted = encode(Members((own,)))
    keyspace.abandon(counted, others)
    directory.state.flush()
    hard = log.hard_state
    log.install(Origin(index, term, log.origin.generation, counted), HardState(hard.term, hard.vote, index))
