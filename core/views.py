"""The running member as the API shows it: cluster, health, status, figures. Reads only."""

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

from core.api.figures import Figure
from core.api.http import Frontend
from core.api.ops.operator import CommitTimes, Status
from core.api.v2.cluster import Member as ShownMember
from core.api.v3.cluster import Changed, WhyNot
from core.config import Config
from core.member import Member
from core.raft.machine import Role
from core.version import VERSION

_STATES = {
    Role.LEADER: "StateLeader",
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
}


class View:
    """Fulfils `Cluster` of v2 and v3, `Node` of maintenance, `Health` and `Node` of operations; a source of figures."""

    def __init__(self, config: Config, member: Member) -> None:
        self._config = config
        self._member = member
        self.client_urls: tuple[str, ...] = ()
        """What clients are told to connect to; known once the listeners are bound."""
        self.started = time.time()
        self._lead_changed = self.started

    # The cluster, for v2

    @property
    def id(self) -> str:
        return f"{self._member.identity.cluster:x}"

    @property
    def self_id(self) -> str:
        return f"{self._member.identity.member:x}"

    @property
    def members(self) -> Sequence[ShownMember]:
        peers = tuple(str(url) for url in self._config.initial_advertise_peer_urls)
        return (ShownMember(self.self_id, self._config.name, peers, self.client_urls),)

    @property
    def leader_id(self) -> str | None:
        return self.self_id if self._member.node.leads else None

    @property
    def leader_since(self) -> float:
        return self._lead_changed

    @property
    def state(self) -> str:
        return _STATES[self._member.node.raft.role]

    @property
    def expired(self) -> int:
        return self._member.keyspace.expired

    @property
    def watchers(self) -> int:
        return self._member.hub.open

    # Its members, for v3: this version runs clusters of one

    @property
    def learners(self) -> Sequence[str]:
        return ()

    def add_member(self, peer_urls: Sequence[str], *, learner: bool, done: Changed) -> None:
        done(WhyNot.NOT_ENOUGH)

    def remove_member(self, member: str, done: Changed) -> None:
        done(WhyNot.NOT_ENOUGH if member == self.self_id else WhyNot.NOT_FOUND)

    def update_member(self, member: str, peer_urls: Sequence[str], done: Changed) -> None:
        done(WhyNot.NOT_ENOUGH if member == self.self_id else WhyNot.NOT_FOUND)

    def promote_member(self, member: str, done: Changed) -> None:
        done(WhyNot.NO_LEARNER if member == self.self_id else WhyNot.NOT_FOUND)

    def transfer_lead(self, member: str, done: Changed) -> None:
        done(self.members[0] if member == self.self_id else WhyNot.BAD_TRANSFEREE)

    # Maintenance, for v3

    @property
    def size_on_disk(self) -> int:
        return self._member.directory.state.size_on_disk()

    @property
    def size_in_use(self) -> int:
        return self._member.directory.state.size_in_use()

    def look_at_space(self) -> None:
        self._member.node.headroom.look()

    # Health

    @property
    def alarms(self) -> tuple[str, ...]:
        return ("NOSPACE",) if self._member.node.headroom.shortage else ()

    @property
    def has_leader(self) -> bool:
        return self._member.node.leads

    @property
    def learner(self) -> bool:
        return False

    # The operator's view

    def status(self) -> Status:
        node, keyspace = self._member.node, self._member.keyspace
        commit = node.timings.commit
        return Status(
            name=self._config.name,
            member_id=self.self_id,
            cluster_id=self.id,
            leader_id=self.leader_id,
            version=VERSION,
            revision=keyspace.revision,
            raft_index=node.raft_index,
            raft_term=node.raft_term,
            compaction_floor=keyspace.floor,
            log_bytes=self._member.directory.log.size_on_disk(),
            state_bytes=self._member.directory.state.size_on_disk(),
            alarms=self.alarms,
            uptime_seconds=round(time.time() - self.started, 3),
            commits=CommitTimes(
                count=commit.count,
                median_ms=round(commit.quantile(0.5) * 1e3, 3),
                p99_ms=round(commit.quantile(0.99) * 1e3, 3),
                worst_ms=round(commit.longest * 1e3, 3),
            ),
        )

    def revoked(self) -> list[int]:
        return self._member.keyspace.revoked()

    def snapshot(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        return self._member.snapshot()

    # Figures

    def figures(self) -> Iterator[Figure]:
        """What `/metrics` shows of the store."""
        node, keyspace, directory = self._member.node, self._member.keyspace, self._member.directory
        yield Figure("corenode_revision", "Last index of the keyspace.", keyspace.revision)
        yield Figure("corenode_compaction_floor", "Oldest revision that can be read.", keyspace.floor)
        yield Figure("corenode_raft_applied_index", "Last log entry applied.", node.raft_index)
        yield Figure("corenode_raft_term", "Current raft term.", node.raft_term)
        yield Figure("corenode_has_leader", "1 if a leader is known.", float(node.leads))
        yield Figure("corenode_proposals_waiting", "Commands that wait for the next batch.", node.waiting)
        yield Figure("corenode_watchers", "Open watches.", self.watchers)
        yield Figure("corenode_expired", "Keys, directories and leases expired.", self.expired, counter=True)
        yield Figure("corenode_no_space", "1 while new data is refused.", float(bool(self.alarms)))
        for part, size in (("log", directory.log.size_on_disk()), ("state", directory.state.size_on_disk())):
            yield Figure("corenode_disk_bytes", "Size of the file.", size, labels={"part": part})
        yield Figure("corenode_state_used_bytes", "Pages that hold rows.", directory.state.size_in_use())
        yield Figure("corenode_state_waiting_rows", "Rows not flushed yet.", directory.state.dirty_rows)
        for name, help_, timing in (
            ("commit", "Durable commits of the log.", node.timings.commit),
            ("apply", "Applying batches and answering.", node.timings.apply),
            ("flush", "Flushes of the state.", node.timings.flush),
            ("loop_lag", "How late the loop came to its timer.", node.timings.lag),
        ):
            yield Figure(f"corenode_{name}_duration_seconds", help_, timing.histogram)


def connection_figures(frontend: Frontend) -> Iterator[Figure]:
    """What `/metrics` shows of the HTTP front end."""
    counts = frontend.statistics()
    yield Figure("corenode_http_connections", "Open connections.", counts.connections)
    yield Figure("corenode_http_streams", "Streamed responses under way.", counts.streams)
    yield Figure("corenode_http_held_bytes", "Bytes of unfinished requests and unsent responses.", counts.held_bytes)
    yield Figure("corenode_http_accepted", "Connections accepted.", counts.accepted, counter=True)
    for parser, number in (("recogniser", counts.requests_recognised), ("h11", counts.requests_judged)):
        yield Figure("corenode_http_requests", "Requests.", number, counter=True, labels={"parser": parser})
    for reason, number in counts.refused.items():
        yield Figure("corenode_http_refused", "Refusals.", number, counter=True, labels={"reason": reason})
