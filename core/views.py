"""The running member as the API shows it: cluster, health, status, figures. Reads only."""

import logging
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager

import trio

from core.api.figures import Figure
from core.api.http import Frontend
from core.api.ops.members import Member as RosterMember
from core.api.ops.operator import CommitTimes, Status
from core.api.v2.cluster import Follower
from core.api.v2.cluster import Member as ShownMember
from core.api.v3.cluster import Changed
from core.client.endpoints import Endpoint, parse
from core.config import Config
from core.credentials import Credentials
from core.kv.membership import Member as KnownMember
from core.member import Member
from core.node.local import LocalStore
from core.peer import LinkState
from core.raft.machine import Role
from core.reshaping import Reshaping
from core.tls.shown import Shown, describe
from core.update.voters import Voter
from core.version import VERSION

_logger = logging.getLogger(__name__)

_STATES = {
    Role.LEADER: "StateLeader",
    Role.FOLLOWER: "StateFollower",
    Role.PRE_CANDIDATE: "StatePreCandidate",
    Role.CANDIDATE: "StateCandidate",
}


class View:
    """Fulfils `Cluster` of v2 and v3, `Node` of maintenance, `Health` and `Node` of operations; a source of figures."""

    def __init__(self, config: Config, member: Member, credentials: Credentials) -> None:
        self._config = config
        self._member = member
        self._reshaping = Reshaping(LocalStore(member.node), self._find, lambda: self.leader_id)
        self._credentials = credentials
        self.client_urls: tuple[str, ...] = ()
        """What clients are told to connect to; known once the listeners are bound."""
        self.started = time.time()

    # The cluster, for v2

    @property
    def id(self) -> str:
        return f"{self._member.identity.cluster:x}"

    @property
    def self_id(self) -> str:
        return f"{self._member.identity.member:x}"

    @property
    def members(self) -> Sequence[ShownMember]:
        return [
            ShownMember(f"{member.id:x}", member.name, member.peer_urls, self._client_urls_of(member))
            for member in self._member.keyspace.members()
        ]

    def _client_urls_of(self, member: KnownMember) -> tuple[str, ...]:
        """Of this member the newest: what it has not published yet counts too."""
        return self.client_urls if member.id == self._member.identity.member else member.client_urls

    @property
    def leader_id(self) -> str | None:
        leader = self._member.node.raft.leader
        return f"{leader:x}" if leader else None

    @property
    def leader_since(self) -> float:
        return self._member.node.lead.since

    @property
    def followers(self) -> Sequence[Follower]:
        states = self._member.peering.states()
        return [
            Follower(f"{member:x}", (link.round_trip_s or 0.0) * 1e3, link.sent_frames, link.dropped_frames)
            for member, link in states.items()
        ]

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
        return [f"{member:x}" for member in self._member.node.raft.members.learners]

    @property
    def voters(self) -> Sequence[str]:
        return [f"{member:x}" for member in self._member.node.raft.members.voters]

    def voting(self) -> list[Voter]:
        """Who votes, this member too, and whether it is in touch with it."""
        return [Voter(each.name, each.link in ("self", "up")) for each in self.roster() if each.role != "learner"]

    def doors(self) -> list[Endpoint]:
        """Where the other members serve clients, over TLS."""
        own = self._member.identity.member
        urls = [url for member in self._member.keyspace.members() if member.id != own for url in member.client_urls]
        return [parse(url) for url in urls if url.startswith("https:")]

    def add_member(self, peer_urls: Sequence[str], *, learner: bool, done: Changed) -> None:
        self._reshaping.add(peer_urls, learner=learner, done=done)

    def remove_member(self, member: str, done: Changed) -> None:
        self._reshaping.remove(member, done)

    def update_member(self, member: str, peer_urls: Sequence[str], done: Changed) -> None:
        self._reshaping.update(member, peer_urls, done)

    def promote_member(self, member: str, done: Changed) -> None:
        self._reshaping.promote(member, done)

    def transfer_lead(self, member: str, done: Changed) -> None:
        self._reshaping.transfer(member, self.self_id, done)

    def _find(self, member: str) -> ShownMember | None:
        return next((each for each in self.members if each.id == member), None)

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
        node = self._member.node
        return (*["NOSPACE"] * bool(node.headroom.shortage), *["CORRUPT"] * node.damage.found)

    @property
    def has_leader(self) -> bool:
        return bool(self._member.node.raft.leader)

    @property
    def learner(self) -> bool:
        return self._member.identity.member in self._member.node.raft.members.learners

    # The operator's view

    def status(self) -> Status:
        node, keyspace = self._member.node, self._member.keyspace
        commit = node.timings.commit
        return Status(
            name=self._config.name,
            member_id=self.self_id,
            cluster_id=self.id,
            leader_id=self.leader_id,
            role="leader" if node.leads else "learner" if self.learner else "voter",
            pid=os.getpid(),
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
            tls=self._credentials.shown,
            peer_tls=self._peer_tls(),
        )

    def _peer_tls(self) -> Shown | None:
        """From the files as they are now: each new link takes them up."""
        config = self._config
        if config.peer_cert_file is None:
            return None
        try:
            return describe(config.peer_cert_file, config.peer_trusted_ca_file)
        except OSError as error:
            _logger.error("the certificate for peers cannot be read", extra={"why": str(error)})
            return None

    def roster(self) -> list[RosterMember]:
        """The members with their standing and how the links to them are."""
        raft, own = self._member.node.raft, self._member.identity.member
        links = self._member.peering.states()
        now = trio.current_time()
        found = []
        for member in self._member.keyspace.members():
            link = links.get(member.id)
            heard = None if link is None or link.heard is None else round(now - link.heard, 3)
            trip = None if link is None or link.round_trip_s is None else round(link.round_trip_s * 1e3, 3)
            votes = "leader" if member.id == raft.leader else "voter"
            role = "learner" if member.id in raft.members.learners else votes
            state = "self" if member.id == own else "none" if link is None else link.why_not or "up"
            urls = self._client_urls_of(member)
            found.append(
                RosterMember(
                    f"{member.id:x}", member.name, member.peer_urls, urls, member.version, role, state, heard, trip
                )
            )
        return found

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
        yield Figure("corenode_has_leader", "1 if a leader is known.", float(self.has_leader))
        yield Figure("corenode_proposals_waiting", "Commands that wait for the next batch.", node.waiting)
        yield Figure("corenode_watchers", "Open watches.", self.watchers)
        yield Figure("corenode_expired", "Keys, directories and leases expired.", self.expired, counter=True)
        yield Figure("corenode_no_space", "1 while new data is refused.", float(bool(node.headroom.shortage)))
        yield Figure("corenode_damaged", "1 once damaged data was met.", float(node.damage.found))
        for part, size in (("log", directory.log.size_on_disk()), ("state", directory.state.size_on_disk())):
            yield Figure("corenode_disk_bytes", "Size of the file.", size, labels={"part": part})
        yield Figure("corenode_state_used_bytes", "Pages that hold rows.", directory.state.size_in_use())
        yield Figure("corenode_state_waiting_rows", "Rows not flushed yet.", directory.state.dirty_rows)
        yield from self._cluster_figures()
        for name, help_, timing in (
            ("commit", "Durable commits of the log.", node.timings.commit),
            ("apply", "Applying batches and answering.", node.timings.apply),
            ("flush", "Flushes of the state.", node.timings.flush),
            ("loop_lag", "How late the loop came to its timer.", node.timings.lag),
        ):
            yield Figure(f"corenode_{name}_duration_seconds", help_, timing.histogram)

    def _cluster_figures(self) -> Iterator[Figure]:
        node = self._member.node
        role = "learner" if self.learner else node.raft.role.name.lower()
        for each in ("leader", "follower", "candidate", "pre_candidate", "learner"):
            yield Figure("corenode_raft_role", "1 for what this member is.", float(each == role), labels={"role": each})
        counts = node.counts
        yield Figure("corenode_leader_changes", "Elections seen: a leader of a new term.", counts.leaders, counter=True)
        yield Figure("corenode_snapshots_sent", "Snapshots that reached a member.", counts.sent, counter=True)
        yield Figure("corenode_snapshots_received", "Snapshots installed.", counts.received, counter=True)
        yield Figure("corenode_proposals_forwarded", "Commands sent to the leader.", node.forwarded, counter=True)
        now = trio.current_time()
        for link in self._member.peering.states().values():
            yield from _link_figures(link, now)


def _link_figures(link: LinkState, now: float) -> Iterator[Figure]:
    """Of one other member."""
    labels = {"member": link.name}
    yield Figure("corenode_link_up", "1 if connected to that member.", float(not link.why_not), labels=labels)
    if link.heard is not None:
        yield Figure("corenode_link_silent_seconds", "Since it was heard.", now - link.heard, labels=labels)
    if link.round_trip_s is not None:
        yield Figure("corenode_link_round_trip_seconds", "Of the last ping.", link.round_trip_s, labels=labels)
    yield Figure("corenode_link_queued_bytes", "Waiting to be sent to it.", link.queued_bytes, labels=labels)
    yield Figure("corenode_link_sent_frames", "Sent to it.", link.sent_frames, counter=True, labels=labels)
    yield Figure("corenode_link_dropped_frames", "Not sent.", link.dropped_frames, counter=True, labels=labels)


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
