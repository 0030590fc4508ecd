"""`/v3/maintenance/...`: status, alarms, hashes, snapshots, the lead."""

import logging
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

import msgspec

from core.api.http.message import Handler, Outlet
from core.api.plain import JSON
from core.api.v2.cluster import Member
from core.api.v3.auth_messages import Empty
from core.api.v3.calls import Call, Context, Unary
from core.api.v3.cluster import Cluster, WhyNot, why_not
from core.api.v3.encoding import Enumeration, Int64, Message, Name, base64_of, int64, uint64
from core.api.v3.errors import Code, RpcError, etcd, response, stream_line
from core.api.v3.header import reply_body, result_line
from core.kv.access import Office
from core.kv.hashing import Hashing

BEHAVES_AS = "3.4.23"
"""The etcd whose v3 behaviour this dialect follows."""
BLOB = 32 * 1024
"""Bytes of the snapshot to a message."""
_DIGEST = 32
"""Bytes of the SHA-256 at the end of a snapshot, a message of its own."""
_ACTIONS = Enumeration("AlarmRequest_AlarmAction", "GET", "ACTIVATE", "DEACTIVATE")
_ALARMS = Enumeration("AlarmType", "NONE", "NOSPACE", "CORRUPT")
_GET, _ACTIVATE = 0, 1

_encode = msgspec.json.Encoder().encode
_logger = logging.getLogger(__name__)


class Node(Protocol):
    """What maintenance asks of the node. Declared here by its consumer; the daemon fulfils it."""

    @property
    def alarms(self) -> Sequence[str]:
        """What is raised now: `NOSPACE`, `CORRUPT`."""
        ...

    @property
    def size_on_disk(self) -> int:
        """Bytes of the files of the data."""
        ...

    @property
    def size_in_use(self) -> int:
        """Bytes of them that hold data."""
        ...

    def look_at_space(self) -> None:
        """See now whether there is room again."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """A snapshot file of the state at this moment, in pieces, with its SHA-256 at the end."""
        ...


class AlarmRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Ask for alarms, or let one go."""

    action: Name = 0
    memberID: Int64 = 0  # noqa: N815 - etcd's name
    alarm: Name = 0


class HashKVRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Hash the keyspace as of a revision."""

    revision: Int64 = 0


class MoveLeaderRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Let another member lead."""

    targetID: Int64 = 0  # noqa: N815 - etcd's name


def maintenance_handlers(context: Context, cluster: Cluster, node: Node) -> dict[str, Handler]:
    """The handlers by path."""
    maintenance = _Maintenance(context, cluster, node)
    return {
        "maintenance/status": Unary(context, Empty, maintenance.status),
        "maintenance/alarm": Unary(context, AlarmRequest, maintenance.alarm),
        "maintenance/defragment": Unary(context, Empty, maintenance.defragment),
        "maintenance/hash": Unary(context, Empty, maintenance.hash),
        "maintenance/hashkv": Unary(context, HashKVRequest, maintenance.hash_kv),
        "maintenance/snapshot": Unary(context, Empty, maintenance.snapshot),
        "maintenance/transfer-leadership": Unary(context, MoveLeaderRequest, maintenance.move_leader),
    }


class _Maintenance:
    """The handlers. As in etcd all may ask until access is restricted, then admins; what is more than asking needs an
    office at any time."""

    def __init__(self, context: Context, cluster: Cluster, node: Node) -> None:
        self._store = context.store
        self._header = context.header
        self._cluster = cluster
        self._node = node

    def status(self, request: Empty, call: Call) -> None:
        """Say how this member is."""
        leader = self._cluster.leader_id
        errors = [f"memberID:{self._header.member_id} alarm:{alarm} " for alarm in self._node.alarms]
        fields = {
            "version": BEHAVES_AS,
            "dbSize": str(self._node.size_on_disk),
            "leader": leader and str(int(leader, 16)),
            "raftIndex": str(self._store.raft_index),
            "raftTerm": str(self._store.raft_term),
            "raftAppliedIndex": str(self._store.raft_index),
            "errors": errors if leader else [*errors, "etcdserver: no leader"],
            "dbSizeInUse": str(self._node.size_in_use),
            "isLearner": self._cluster.self_id in self._cluster.learners,
        }
        call.send(reply_body(self._header.now(), fields))

    def alarm(self, request: AlarmRequest, call: Call) -> None:
        """Show the alarms of this member, or look whether one can go. They rise and go by themselves."""
        action = _ACTIONS.number(request.action)
        wanted = _ALARMS.number(request.alarm)
        member = uint64(request.memberID)
        if action == _GET:
            self._send_alarms(self._node.alarms, wanted, member, call)
            return
        call.permit_root()
        if action == _ACTIVATE:
            raise RpcError(
                Code.FAILED_PRECONDITION, "etcdserver: alarms are raised by the node, and go when their cause is gone"
            )
        before = self._node.alarms
        self._node.look_at_space()
        self._send_alarms([alarm for alarm in before if alarm not in self._node.alarms], wanted, member, call)

    def _send_alarms(self, alarms: Sequence[str], wanted: int, member: int, call: Call) -> None:
        here = self._header.member_id
        shown = [
            {"memberID": str(here), "alarm": alarm}
            for alarm in alarms
            if (not wanted or _ALARMS.number(alarm) == wanted) and member in (0, here)
        ]
        call.send(_encode({"alarms": shown} if shown else {}))

    def defragment(self, request: Empty, call: Call) -> None:
        """There is nothing to do: free pages are reused."""
        call.permit_root()
        call.send(b"{}")

    def hash(self, request: Empty, call: Call) -> None:
        """Hash the keyspace as it is."""
        call.permit_root()
        hashing = self._store.hashing(0)
        call.send_slices(b'{"header":%b' % self._header.now(), _hashed(hashing, full=False))

    def hash_kv(self, request: HashKVRequest, call: Call) -> None:
        """Hash the keyspace as of a revision."""
        call.permit_root()
        hashing = self._store.hashing(max(int64(request.revision), 0))
        call.send_slices(b'{"header":%b' % self._header.now(), _hashed(hashing, full=True))

    def snapshot(self, request: Empty, call: Call) -> None:
        """Send all that is stored; the messages in a row are a snapshot file of this node."""
        call.require(Office.OPERATOR)
        call.reply.stream(self._send_snapshot)

    async def _send_snapshot(self, outlet: Outlet) -> None:
        begun = False
        try:
            async with self._node.snapshot() as pieces:
                left = self._node.size_in_use  # an estimate: what is to come is not known before it is read
                kept = b""
                async for piece in pieces:
                    if not begun:
                        begun = True
                        await outlet.start(200, JSON)
                    kept += piece
                    while len(kept) > BLOB + _DIGEST:
                        blob, kept = kept[:BLOB], kept[BLOB:]
                        left = max(left - len(blob), _DIGEST + 1)
                        await outlet.send(_blob(blob, left))
                if kept[:-_DIGEST]:
                    await outlet.send(_blob(kept[:-_DIGEST], _DIGEST))
                await outlet.send(_blob(kept[-_DIGEST:], 0))
        except Exception as error:  # whatever the disk says, the node goes on
            _logger.exception("the snapshot asked for could not be read")
            refusal = RpcError(Code.UNKNOWN, f"etcdserver: no snapshot can be read now: {error}")
            if begun:
                await outlet.send(stream_line(refusal))
            else:
                answer = response(refusal)
                await outlet.start(answer.status, answer.headers)
                await outlet.send(answer.body)

    def move_leader(self, request: MoveLeaderRequest, call: Call) -> None:
        """Let another member lead."""
        call.require(Office.OPERATOR)
        if self._cluster.leader_id != self._cluster.self_id:
            raise etcd(Code.FAILED_PRECONDITION, "not leader")
        self._cluster.transfer_lead(f"{uint64(request.targetID):x}", partial(_moved, call))


def _moved(call: Call, outcome: Member | WhyNot | None) -> None:
    if isinstance(outcome, WhyNot):
        call.fail(why_not(outcome))
    else:
        call.send(b"{}")


def _hashed(hashing: Hashing, *, full: bool) -> Iterator[bytes]:
    while hashing.step():
        yield b""
    fields: dict[str, Any] = {"hash": hashing.value}
    if full:
        fields["compact_revision"] = str(hashing.floor)
        fields["hash_revision"] = str(hashing.revision)
    yield b"," + _encode(fields)[1:]


def _blob(blob: bytes, left: int) -> bytes:
    remaining = b'"remaining_bytes":"%d",' % left if left else b""
    return result_line(b'{%b"blob":"%b"}' % (remaining, base64_of(blob)))
