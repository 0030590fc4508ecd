"""Every handler of the dialect over a keyspace in memory: what is proposed is applied at once."""

import itertools
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import trio

from core.api.access.gate import Gate
from core.api.access.hashing import Hashing
from core.api.http.message import Caller, Request
from core.api.store import Damage, NoLeaderError, NoSpaceError, Outcome, ProposalError
from core.api.v2.cluster import Member
from core.api.v3.calls import Context
from core.api.v3.cluster import Changed, WhyNot
from core.api.v3.header import Header
from core.api.v3.routes import table
from core.api.v3.store import KeyWatch, KeyWatcher, Store
from core.kv.commands import Batch, Command, LeaseGrant, Put
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from tests.v2.fakes import ANYONE, FakeClock, FakeReply

SECOND = 1_000_000_000


class World:
    """A store, a cluster of one and a node, as the handlers see them."""

    id = "ab"
    self_id = "cd"
    leader_id = "cd"
    leader_since = started = 0.0
    state = "StateLeader"
    expired = watchers = 0
    followers = ()
    members = (Member("cd", "n", ("http://127.0.0.1:2380",), ("http://127.0.0.1:2379",)),)
    learners: Sequence[str] = ()
    size_on_disk = 4096
    size_in_use = 1024
    raft_term = 3
    settled = True

    def __init__(self) -> None:
        self.rows = MemoryStore()
        self.keyspace = Keyspace(self.rows)
        self.clock = FakeClock()
        self.alarms: list[str] = []
        self.unconfirmed: ProposalError | None = None
        self.damage = Damage()
        self.gate = Gate(self.keyspace.access, Hashing(), self.damage)
        keyspace = self.keyspace
        self.key, self.page, self.evaluation = keyspace.key, keyspace.page, keyspace.evaluation
        self.lease, self.leases, self.hashing = keyspace.lease, keyspace.leases, keyspace.hashing
        self.host_key = keyspace.host_key
        self.node, self.children, self.record = keyspace.node, keyspace.children, keyspace.record
        self.deadline = keyspace.deadline
        self.numbers, self.memo = keyspace.numbers, keyspace.memo
        self._log = itertools.count(1)
        context = Context(self.as_store(), self.gate, Header(self.as_store(), self), 1_572_864, trio.Lock())
        self.handlers = table(context, self, self)

    def as_store(self) -> Store:
        """This, checked against the protocol."""
        return self

    # The store

    def transfer(self, member: int, done: Callable[[ProposalError | None], None]) -> None:
        done(NoLeaderError("nobody leads here"))

    @property
    def revision(self) -> int:
        return self.keyspace.revision

    @property
    def raft_index(self) -> int:
        return self.keyspace.applied[0]

    @property
    def swept(self) -> bool:
        return self.keyspace.swept

    def propose(self, command: Command, done: Callable[[Outcome], None]) -> None:
        if self.alarms and isinstance(command, Put | LeaseGrant):
            raise NoSpaceError("full")
        done(self.apply(command))

    def apply(self, command: Command) -> Outcome:
        """What a command comes to."""
        outcomes, _ = self.keyspace.apply(next(self._log), 3, Batch(self.clock.now(), (command,)))
        return outcomes[0]

    def confirm(self, done: Callable[[ProposalError | None], None]) -> None:
        done(self.unconfirmed)

    def watch(self, path: bytes, *, recursive: bool = False, start: int = 0) -> Any:
        raise NotImplementedError

    def watch_keys(self, *_: Any, **__: Any) -> KeyWatcher:
        raise NotImplementedError

    def follow(self, *_: Any, **__: Any) -> KeyWatch:
        raise NotImplementedError

    # The cluster

    def add_member(self, peer_urls: Sequence[str], *, learner: bool, done: Changed) -> None:
        done(WhyNot.NOT_ENOUGH)

    def remove_member(self, member: str, done: Changed) -> None:
        done(WhyNot.NOT_FOUND)

    def update_member(self, member: str, peer_urls: Sequence[str], done: Changed) -> None:
        done(WhyNot.NOT_FOUND)

    def promote_member(self, member: str, done: Changed) -> None:
        done(WhyNot.NOT_FOUND)

    def transfer_lead(self, member: str, done: Changed) -> None:
        done(WhyNot.BAD_TRANSFEREE)

    # The node

    def look_at_space(self) -> None:
        self.alarms = []

    def snapshot(self) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        raise NotImplementedError

    # Requests

    def ask(self, path: str, body: bytes, caller: Caller = ANYONE) -> FakeReply:
        """Send one request."""
        reply = FakeReply()
        self.handlers[path](Request(b"POST", f"/v3/{path}".encode(), b"", (), body, caller), reply)
        return reply

    def answer(self, path: str, body: object) -> tuple[int, Any]:
        """Status and JSON of an answer that is sent at once."""
        sent = self.ask(path, json.dumps(body).encode()).sent
        return sent.status, json.loads(sent.body)
