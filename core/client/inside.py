"""The store of the member in this process: proposals to its queue, reads from its keyspace, watches from its hub.

Who calls from inside is the program itself: users and roles do not bind it.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

import trio

from core.client import errors, translation
from core.client.inside_watch import InsideWatch, Watched
from core.client.store import Store, Watch
from core.client.transport import CALL_SECONDS
from core.client.values import Keys, KeyValue, LeaseStatus, Operation, Page, Range, RangeResult, Result, only_reads
from core.kv import commands, outcomes
from core.kv import errors as kv
from core.kv.access import Span
from core.kv.leases import Lease
from core.kv.records import Record
from core.kv.steps import Steps
from core.node import errors as node

LEAST_TTL = 2
"""Seconds: a shorter lease would not outlive a change of leader. The least that etcd gives, too."""
RETRY_SECONDS = 0.1
PAGE_KEYS = 1000


class Clock(Protocol):
    """The cluster's clock."""

    def now(self) -> int:
        """Cluster time in ns."""
        ...


class Switch(Protocol):
    """Whether access is restricted, and by records of which revision."""

    @property
    def enabled(self) -> bool: ...
    @property
    def revision(self) -> int: ...


class Damage(Protocol):
    """Who is to know of damage that reads meet."""

    def met(self, error: kv.DamagedError) -> None: ...


class Part(Protocol):
    """A part of a range."""

    @property
    def records(self) -> Sequence[Record]: ...
    @property
    def count(self) -> int: ...
    @property
    def rest(self) -> Span | None: ...


class Node(Watched, Protocol):
    """What is asked of the member; `core.node.local.LocalStore` fulfils it. All of it is synchronous, on the loop."""

    @property
    def clock(self) -> Clock: ...

    @property
    def switch(self) -> Switch: ...

    @property
    def damage(self) -> Damage: ...

    def propose(self, command: commands.Command, done: Callable[[Any], None]) -> None:
        """Queue a command; `done` is called once, with its outcome or the error that refused it. Raises ProposalError
        if it was not queued."""
        ...

    def confirm(self, done: Callable[[Any], None]) -> None:
        """Call `done(None)` when a read made then is linearizable, or with the ProposalError that prevents it."""
        ...

    def key(self, name: bytes, at: int = 0) -> Record | None:
        """A key as of revision `at` (0: now); CompactedError, FutureRevisionError."""
        ...

    def page(self, part: Span, at: int = 0, wanted: int = 1000) -> Part:
        """A page of a range; CompactedError, FutureRevisionError."""
        ...

    def lease(self, lease: int) -> tuple[Lease, list[bytes]] | None:
        """The terms and keys of a lease."""
        ...

    def leases(self, after: int = 0, limit: int = 1000) -> list[int]:
        """The ids of the leases behind `after`, in order."""
        ...

    def evaluation(self, command: commands.Txn) -> Steps[outcomes.TxnDone]:
        """What a transaction that writes nothing comes to now, in steps; KeyspaceError."""
        ...


class InsideStore(Store):
    """Owns nothing: the node outlives it."""

    def __init__(self, node: Node, seconds: float = CALL_SECONDS) -> None:
        self._node = node
        self._seconds = seconds

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    async def execute(self, operation: Operation, *, local: bool = False) -> Result:
        translation.check(operation)
        if isinstance(operation, Range):
            return await self._read(operation, local)
        command = translation.command(operation)
        if isinstance(command, commands.Txn) and only_reads(operation):
            await self._confirm()
            with self._reading():
                return translation.result(operation, await self._evaluated(command))
        return translation.result(operation, await self._propose(command))

    async def _evaluated(self, command: commands.Txn) -> outcomes.TxnDone:
        work = self._node.evaluation(command)
        while True:
            try:
                next(work)
            except StopIteration as end:
                done: outcomes.TxnDone = end.value
                return done
            await trio.lowlevel.checkpoint()

    async def page(self, keys: Keys, size: int, revision: int) -> Page:
        """As `Store.page`, but that what follows is not counted."""
        node = self._node
        if not revision:
            await self._confirm()
        now = revision or node.revision
        rest: Span | None = translation.span(keys)
        found: list[KeyValue] = []
        more = True
        with self._reading():
            while rest is not None and len(found) < size:
                part = node.page(rest, revision, size - len(found))
                found += [translation.key_value(record) for record in part.records]
                rest = part.rest
                more = rest is not None or part.count > len(part.records)  # it may look further than it shows
                revision = now  # from now on it has to be said which revision is read
                await trio.lowlevel.checkpoint()
        return Page(now, tuple(found), keys.behind(found[-1].key) if more else None)

    async def compact(self, revision: int) -> None:
        await self._propose(commands.Compact(revision))

    @asynccontextmanager
    async def watch(
        self,
        keys: bytes | Keys,
        *,
        start: int = 0,
        previous: bool = False,
        puts: bool = True,
        deletes: bool = True,
        progress: bool = False,
        lost: Callable[[str], None] | None = None,
    ) -> AsyncIterator[Watch]:
        """As `Store.watch`; there is no connection to lose."""
        with InsideWatch(self._node, keys, start, puts=puts, deletes=deletes, previous=previous) as watch:
            watch.progress = progress
            yield watch

    async def grant(self, ttl: int, lease: int = 0) -> LeaseStatus:
        while True:
            wanted = lease or secrets.randbits(63) or 1
            try:
                done = await self._propose(commands.LeaseGrant(wanted, max(ttl, LEAST_TTL)))
            except errors.LeaseExistsError:
                if lease:
                    raise
                continue
            return LeaseStatus(wanted, _lease(done).ttl, _lease(done).ttl)

    async def keep_alive(self, lease: int, *, seconds: float | None = None) -> int:
        return _lease(await self._propose(commands.LeaseKeepAlive(lease, reserved=True), seconds)).ttl

    async def revoke(self, lease: int) -> None:
        await self._propose(commands.LeaseRevoke(lease, reserved=True))

    async def time_to_live(self, lease: int, *, keys: bool = False) -> LeaseStatus:
        await self._confirm()
        with self._reading():
            found = self._node.lease(lease)
        if found is None:
            raise translation.refusal(kv.LeaseNotFoundError())
        terms, attached = found
        left = max(terms.deadline - self._node.clock.now(), 0) // 10**9
        return LeaseStatus(lease, left, terms.ttl, tuple(attached) if keys else ())

    async def leases(self) -> list[int]:
        await self._confirm()
        found: list[int] = []
        with self._reading():
            while part := self._node.leases(found[-1] if found else 0):
                found += part
                await trio.lowlevel.checkpoint()
        return found

    async def _read(self, operation: Range, local: bool) -> RangeResult:
        if not local:
            await self._confirm()
        else:
            await trio.lowlevel.checkpoint()
        with self._reading():
            found, count, revision = await self._records(operation)
        return translation.narrowed(operation, found, count, revision)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        """What a read raises, as a ClientError: damage to the disk concerns whoever runs the node, and ends no user."""
        try:
            yield
        except kv.DamagedError as error:
            self._node.damage.met(error)
            raise translation.refusal(error) from None
        except kv.KeyspaceError as error:
            raise translation.refusal(error) from None

    async def _records(self, operation: Range) -> tuple[list[KeyValue], int, int]:
        """All that is in the range as of one revision, or as much of it as is needed; how much there is; and the
        store's revision."""
        node = self._node
        revision = node.revision
        at = operation.revision
        if isinstance(operation.keys, bytes):
            record = node.key(operation.keys, at)
            return ([] if record is None else [translation.key_value(record)]), int(record is not None), revision
        rest: Span | None = translation.span(operation.keys)
        found: list[KeyValue] = []
        count = 0
        while rest is not None:
            enough = translation.enough(operation, len(found))
            page = node.page(rest, at, min(PAGE_KEYS, enough))
            found += [translation.key_value(record) for record in page.records]
            count += page.count
            rest = page.rest
            if rest is not None:
                at = at or revision  # from now on it has to be said which revision is read
                await trio.lowlevel.checkpoint()
        return found, count, revision

    async def _confirm(self) -> None:
        """Wait until a read is linearizable."""
        try:
            with trio.fail_after(self._seconds):
                while True:
                    error = await _called(self._node.confirm)
                    if error is None:
                        return
                    await trio.sleep(RETRY_SECONDS)
        except trio.TooSlowError:
            raise errors.UnavailableError(503, 14, "no leader") from None

    async def _propose(self, command: commands.Admissible | commands.Compact, seconds: float | None = None) -> Any:
        """The outcome of a command. What had no leader to go to is tried again while there is time."""
        deadline = trio.current_time() + min(self._seconds, seconds or self._seconds)
        while True:
            try:
                with trio.fail_at(deadline):
                    outcome = await self._proposed(command)
            except trio.TooSlowError:
                words = f"no outcome within {self._seconds:g} s: whether it took effect is not known"
                raise errors.OutcomeUnknownError(words) from None
            if isinstance(outcome, kv.StaleAccessError):
                continue  # nothing was done; it is allowed by what they are now
            if isinstance(outcome, node.NoLeaderError) and trio.current_time() + RETRY_SECONDS < deadline:
                await trio.sleep(RETRY_SECONDS)
                continue
            if isinstance(outcome, kv.KeyspaceError | node.ProposalError):
                raise translation.refusal(outcome)
            return outcome

    async def _proposed(self, command: commands.Admissible | commands.Compact) -> Any:
        switch = self._node.switch
        asked: commands.Command = command
        if switch.enabled and not isinstance(command, commands.Compact):
            asked = commands.Admitted(switch.revision, command)
        try:
            return await _called(lambda done: self._node.propose(asked, done))
        except node.ProposalError as error:
            return error


async def _called(begin: Callable[[Callable[[Any], None]], None]) -> Any:
    """What the callback is given. Cancelled, nobody waits for it any more; what was begun goes on."""
    answers: list[Any] = []
    answered = trio.Event()

    def done(answer: Any) -> None:
        answers.append(answer)
        answered.set()

    begin(done)
    await answered.wait()
    return answers[0]


def _lease(done: Any) -> outcomes.LeaseDone:
    if not isinstance(done, outcomes.LeaseDone):
        raise errors.StrangeAnswerError(f"a {type(done).__name__} is no outcome for a lease")
    return done
