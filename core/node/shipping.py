"""A snapshot on its way to another member, as a task beside the drive loop, which only begins and ends it."""

import logging
from collections.abc import Callable
from contextlib import aclosing

from core.kv.keyspace import Keyspace
from core.node.disk import Snapshots
from core.node.peers import Peers
from core.node.retention import Retention
from core.raft import members
from core.raft.messages import InstallSnapshot, Snapshot, to_bytes
from core.store_lmdb.errors import StoreError

_logger = logging.getLogger(__name__)


async def ship(
    keyspace: Keyspace,
    peers: Peers,
    snapshots: Snapshots,
    retention: Retention,
    member: int,
    term: int,
    done: Callable[[bool], None],
) -> None:
    """Bring the state of this moment; `done` says if it arrived. `term` is that in which the leader sends it."""
    index, applied_term = keyspace.applied
    if applied_term > term:  # another leads by now: it will see to this follower
        done(False)
        return
    place = Snapshot(index, applied_term, members.decode(keyspace.counted_members or b""))
    retention.hold(index)
    _logger.info("sending a snapshot", extra={"member": f"{member:x}", "index": index})
    arrived = False
    try:
        async with aclosing(snapshots.outgoing(place, keyspace.revision)) as pieces:
            await peers.send_snapshot(member, to_bytes(InstallSnapshot(term, place)), pieces)
        arrived = True
    except (OSError, StoreError) as error:
        _logger.warning("snapshot not delivered", extra={"member": f"{member:x}", "why": str(error)})
    finally:
        retention.release(index)
        done(arrived)
