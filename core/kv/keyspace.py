"""The state machine: batches of commands in, outcomes and events out; and the reads of both dialects."""

from collections.abc import Collection, Iterator
from itertools import islice
from types import GeneratorType
from typing import Any

from core.kv import (
    accounts,
    compaction,
    flat,
    hosts,
    leases,
    membership,
    reading,
    records,
    revocations,
    suspicion,
    tokens,
    trail,
    tree,
    versions,
)
from core.kv.access import Span
from core.kv.accounts import Accounts
from core.kv.commands import (
    Accuse,
    Admitted,
    Advance,
    AuthSwitch,
    Batch,
    Command,
    Compact,
    CompareAndDelete,
    CompareAndSwap,
    CompareStates,
    Create,
    Delete,
    DeleteRange,
    Expire,
    HostBind,
    HostForget,
    LeaseGrant,
    LeaseKeepAlive,
    LeaseRevoke,
    Operation,
    Publish,
    Put,
    Range,
    Revoke,
    RoleChange,
    RoleCreate,
    RoleDelete,
    Set,
    TokenCreate,
    TokenRevoke,
    TokenUse,
    Txn,
    Update,
    UserChange,
    UserCreate,
    UserDelete,
)
from core.kv.errors import KeyspaceError, StaleAccessError
from core.kv.hashing import Hashing
from core.kv.ledger import Ledger, Numbers
from core.kv.outcomes import (
    AccessDone,
    Accused,
    Compacted,
    DeleteDone,
    Expired,
    LeaseDone,
    Marked,
    Published,
    PutDone,
    RangeDone,
    Revoked,
    TxnDone,
)
from core.kv.records import POSITION, Event, Record
from core.kv.steps import Steps, finish
from core.kv.tokens import Token, TokenDone
from core.kv.transaction import Table, Transaction

Outcome = (
    Event
    | PutDone
    | DeleteDone
    | RangeDone
    | TxnDone
    | LeaseDone
    | Compacted
    | Expired
    | AccessDone
    | Revoked
    | Published
    | Marked
    | Accused
    | TokenDone
    | KeyspaceError
)

_OPERATIONS: dict[type, Any] = {
    Set: tree.set_,
    Create: tree.create,
    Update: tree.update,
    CompareAndSwap: tree.compare_and_swap,
    Delete: tree.delete,
    CompareAndDelete: tree.compare_and_delete,
    Expire: leases.expire,
    Put: flat.put,
    DeleteRange: flat.delete_range,
    Txn: flat.txn,
    LeaseGrant: leases.grant,
    LeaseRevoke: leases.revoke,
    LeaseKeepAlive: leases.keep_alive,
    Compact: compaction.compact,
    Advance: compaction.advance,
    AuthSwitch: accounts.switch,
    UserCreate: accounts.create_user,
    UserChange: accounts.change_user,
    UserDelete: accounts.delete_user,
    RoleCreate: accounts.create_role,
    RoleChange: accounts.change_role,
    RoleDelete: accounts.delete_role,
    Revoke: revocations.revoke,
    Publish: membership.publish,
    CompareStates: suspicion.mark,
    Accuse: suspicion.accuse,
    TokenCreate: tokens.create,
    TokenUse: tokens.use,
    TokenRevoke: tokens.revoke,
    HostBind: hosts.bind,
    HostForget: hosts.forget,
}


def _admitted(ledger: Ledger, command: Admitted) -> Outcome | Steps[Outcome]:
    """Carry out a command if the records that allowed it are the present ones, or if nothing is restricted."""
    if ledger.access.enabled and command.access != ledger.access.revision:
        raise StaleAccessError
    outcome: Outcome | Steps[Outcome] = _OPERATIONS[type(command.command)](ledger, command.command)
    return outcome


def _unadmitted(ledger: Ledger, command: Command) -> Outcome:
    """Refuse a command that was allowed when nothing was restricted."""
    raise StaleAccessError


_OPERATIONS[Admitted] = _admitted
_BY_OFFICE = frozenset(
    (
        Accuse,
        Admitted,
        Advance,
        Compact,
        CompareStates,
        Expire,
        HostBind,
        HostForget,
        Publish,
        Revoke,
        TokenCreate,
        TokenRevoke,
        TokenUse,
    )
)
_RESTRICTED: dict[type, Any] = {
    command: operation if command in _BY_OFFICE else _unadmitted for command, operation in _OPERATIONS.items()
}
"""In place of `_OPERATIONS` while access is restricted: what somebody asked for must come as `Admitted`, but for what
an office alone allows. A certificate can be revoked while roles change: that only takes rights away."""


def _may_be_long(command: Command | Operation) -> bool:
    """Whether there is no telling beforehand how many keys a command changes or looks at."""
    match command:
        case DeleteRange() | Range():
            return command.end is not None
        case Txn():
            parts = (*command.success, *command.failure)
            return any(each.end is not None for each in command.compare) or any(map(_may_be_long, parts))
        case Delete():
            return command.recursive
        case Admitted():
            return _may_be_long(command.command)
    return isinstance(command, (Expire, LeaseRevoke))


_MAYBE_LONG = frozenset((DeleteRange, Txn, Delete, Admitted, Expire, LeaseRevoke))


class Keyspace:
    """One member's copy of the keyspace, over the maps of a transaction that it alone writes."""

    def __init__(self, transaction: Transaction) -> None:
        self._ledger = Ledger(transaction)
        self._ahead: Ledger | None = None
        """Where a long batch is carried out, step by step, while all reads show the state before it."""
        self._swept_floor = 0
        """All that this floor hides is removed; what is written later lies behind it."""
        self.access = Accounts(self._ledger)
        """Users and roles."""
        self.memo = self._ledger.memo
        """For whoever reads files again and again."""
        self.numbers: Numbers = self._ledger
        """`revision` and the index of `applied`, without a call for each."""

    @property
    def applied(self) -> tuple[int, int]:
        """Index and term of the last log entry applied."""
        return self._ledger.applied_index, self._ledger.applied_term

    @property
    def revision(self) -> int:
        """The last index consumed; 1 in an empty keyspace."""
        return self._ledger.revision

    @property
    def floor(self) -> int:
        """The oldest revision that can be read."""
        return self._ledger.floor

    @property
    def time(self) -> int:
        """Cluster time of the last batch, in ns."""
        return self._ledger.time

    @property
    def expired(self) -> int:
        """How many files, directories and leases expired since this object was made."""
        return self._ledger.expired

    def apply(self, index: int, term: int, batch: Batch | None) -> tuple[list[Outcome], list[Event]]:
        """Apply the log entry at `index`: what each command came to, and the visible changes in order.

        An entry already applied must not come again, and none may be left out: ValueError.
        """
        return finish(self.steps(index, term, batch))

    def steps(self, index: int, term: int, batch: Batch | None) -> Steps[tuple[list[Outcome], list[Event]]]:
        """The same in steps of some milliseconds, if a command may take long. Between them all reads show the state
        before the batch, it alone is in the transaction, and nothing else may be applied; it may be given up only by
        `reload`, or for good."""
        self._check_next(index)
        ledger = self._ledger
        is_long = batch is not None and any(
            map(_may_be_long, [command for command in batch.commands if type(command) in _MAYBE_LONG])
        )
        if is_long:
            ledger = self._ahead = ledger.ahead()
        events: list[Event] = []
        ledger.events = events
        outcomes: list[Outcome] = []
        if batch is not None:
            ledger.time = max(ledger.time, batch.time)
            for command in batch.commands:
                try:
                    operations = _RESTRICTED if ledger.access.enabled else _OPERATIONS
                    outcome = operations[type(command)](ledger, command)
                    if type(outcome) is GeneratorType:
                        outcome = (yield from outcome) if is_long else finish(outcome)
                except KeyspaceError as refusal:
                    outcome = refusal
                outcomes.append(outcome)
                if is_long:
                    yield
            compaction.note_time(ledger)
        ledger.applied_index = index
        ledger.applied_term = term
        ledger.save_numbers()
        if is_long:
            self._ledger.overtake(ledger)
            self._ahead = None
        return outcomes, events

    def apply_members(
        self, index: int, term: int, counted: bytes, left: Collection[int], change: membership.Change
    ) -> None:
        """Apply the log entry at `index`, a change of the members: `core.kv.membership.settle`. ValueError as above."""
        self._check_next(index)
        membership.settle(self._ledger, counted, left, change)
        self._ledger.applied_index = index
        self._ledger.applied_term = term
        self._ledger.save_numbers()

    def abandon(self, counted: bytes, left: Collection[int]) -> None:
        """Let go of members without an entry that says so: only for a cluster that can commit none any more."""
        membership.settle(self._ledger, counted, left, membership.Change())
        suspicion.absolve_all(self._ledger)

    def _check_next(self, index: int) -> None:
        if index != self._ledger.applied_index + 1:
            raise ValueError(f"entry {index} cannot follow entry {self._ledger.applied_index}")

    def reload(self, transaction: Transaction) -> None:
        """Go on from another state, which a snapshot brought."""
        self._ahead = None
        self._swept_floor = 0
        self._ledger.open(transaction)
        self._ledger.revocations += 1  # nobody knows how many came with it
        self._ledger.accusations += 1
        self.access.refresh()

    def sweep(self, limit: int = 500) -> int:
        """Remove a slice of what the compaction floor hides; 0 when there is nothing to do now."""
        if self._ahead is not None:
            return 0
        marked = self._ledger.marked
        floor = self._ledger.floor if marked is None else marked.floor
        if floor == self._swept_floor:
            return 0
        walked = compaction.sweep(self._ledger, limit, floor)
        if walked:
            self._ledger.save_numbers()
        else:
            self._swept_floor = floor
        return walked

    def node(self, path: bytes) -> Record:
        """The file or directory at a clean path other than the root; TreeError 100 or 104."""
        return tree.find(self._ledger, path)

    def children(self, path: bytes, after: bytes = b"", limit: int = 1000, at: int | None = None) -> tree.Page:
        """A page of the files and directories directly in a directory; CompactedError if revision `at` is gone."""
        return tree.children(self._ledger, path, after, limit, at)

    def range(self, command: Range) -> RangeDone:
        """Read keys as v3 sees them; CompactedError, FutureRevisionError."""
        return finish(flat.range_(self._ledger, command))

    def key(self, name: bytes, at: int = 0) -> Record | None:
        """A key as revision `at` (0: now) shows it to v3; CompactedError, FutureRevisionError."""
        return reading.key(self._ledger, name, at)

    def page(self, part: Span, at: int = 0, wanted: int = 1000, *, reverse: bool = False) -> reading.RangePage:
        """A page of a range of keys as v3 sees them; CompactedError, FutureRevisionError."""
        return reading.page(self._ledger, part, at, wanted, reverse=reverse)

    def evaluation(self, command: Txn) -> Steps[TxnDone]:
        """What a transaction of reads comes to, without the log, all as of its first step; between two of them anything
        may be applied. ValueError if it can write, KeyspaceError."""
        return flat.evaluation(self._ledger, command)

    @property
    def swept(self) -> bool:
        """Whether all that the compaction floor hides is removed."""
        return compaction.is_swept(self._ledger)

    def record(self, position: bytes) -> Record | None:
        """The record at a position of history, or None if it was compacted."""
        return self._ledger.record(position)

    def history(self, start: int) -> Iterator[Record]:
        """Every record from index `start` on, silent parts (sub-number above 0) included; good until the next
        write. CompactedError if `start` is below the floor."""
        self._ledger.check_readable(start)
        for position, row in self._ledger.rows.scan(Table.REVISION, POSITION.pack(start, 0)):
            yield records.decode(position, row)

    def changes(self, position: bytes) -> Iterator[Record]:
        """Every record from a position on, silent parts included; good until the next write. What the floor hides may
        be missing."""
        for found, row in self._ledger.rows.scan(Table.REVISION, position):
            yield records.decode(found, row)

    def first_of(self, revision: int) -> bytes:
        """The position from which on records have that v3 revision or a later one."""
        return trail.first_of(self._ledger, revision)

    def trail(self, table: Table, key: bytes, position: bytes) -> trail.Trail:
        """The versions of one key or directory from a position on."""
        return trail.Trail(self._ledger, table, key, position)

    def names(self, table: Table, start: bytes, end: bytes | None, limit: int) -> list[bytes]:
        """The first keys or directories of a range that have history, those that are gone included."""
        return [name for name, _ in islice(self._ledger.rows.scan(table, start, end), limit)]

    def deadline(self, record: Record) -> int:
        """Cluster time in ns when a record expires by its own TTL or its lease; 0: never."""
        return leases.deadline(self._ledger, record)

    def lease(self, lease: int) -> tuple[leases.Lease, list[bytes]] | None:
        """The terms and keys of a lease."""
        found = leases.find(self._ledger, lease)
        return None if found is None else (found, list(leases.attached(self._ledger, lease)))

    def host_key(self, lease: int) -> bytes | None:
        """The first reserved key of a lease."""
        return leases.host_key(self._ledger, lease)

    def leases(self, after: int = 0, limit: int = 1000) -> list[int]:
        """The ids of the leases behind `after`, in order."""
        return leases.ids(self._ledger, after, limit)

    def hashing(self, revision: int = 0, floor: int = 0) -> Hashing:
        """A hash of all as of a revision (0: now), as a floor (0: the present one) leaves it, to be made step by step;
        CompactedError, FutureRevisionError."""
        return Hashing(self._ledger, revision, floor)

    def next_deadline(self) -> int | None:
        """Cluster time in ns when something expires next."""
        return leases.next_deadline(self._ledger)

    @property
    def revocations(self) -> int:
        """How many certificates were revoked since this object was made."""
        return self._ledger.revocations

    def is_revoked(self, serial: int) -> bool:
        """Whether the certificate of that serial number was revoked."""
        return revocations.is_revoked(self._ledger, serial)

    def revoked(self) -> list[int]:
        """The serial numbers of all revoked certificates."""
        return revocations.revoked(self._ledger)

    def token(self, name: str) -> Token | None:
        """The token of that id by which hosts join."""
        return tokens.find(self._ledger, name)

    def tokens(self) -> list[Token]:
        """All tokens that are known, those that ended lately too."""
        return tokens.tokens(self._ledger)

    def came_by_token(self, member: int) -> bool:
        """Whether a token that is still known let this member in."""
        return tokens.came_by_token(self._ledger, member)

    def holders(self) -> list[hosts.Holder]:
        """Whose machine ids are."""
        return list(hosts.holders(self._ledger))

    @property
    def counted_members(self) -> bytes | None:
        """The members as of the applied entry, in raft's encoding; None in a state that is older than they are."""
        return membership.counted(self._ledger)

    def members(self) -> list[membership.Member]:
        """What is known of each member, by id."""
        return membership.members(self._ledger)

    def removed_members(self) -> list[int]:
        """Ids of all that were removed."""
        return membership.removed(self._ledger)

    def was_removed(self, member: int) -> bool:
        """Whether that member was removed from the cluster."""
        return membership.was_removed(self._ledger, member)

    @property
    def marked(self) -> Marked | None:
        """Where states are to be compared; nothing that its floor shows is swept before `unmark`."""
        return self._ledger.marked

    def unmark(self) -> None:
        """The hash is made, or will not be."""
        if self._ahead is not None and self._ahead.marked is self._ledger.marked:
            self._ahead.marked = None
        self._ledger.marked = None

    @property
    def cluster_version(self) -> versions.Version:
        """What all members understand: `core.kv.versions`."""
        return versions.cluster(self._ledger)

    @property
    def accusations(self) -> int:
        """Moves when `suspicions` may have changed."""
        return self._ledger.accusations

    def suspicions(self) -> list[suspicion.Suspicion]:
        """The members whose state differs from that of others."""
        return suspicion.suspicions(self._ledger)

    def suspicion_of(self, member: int) -> suspicion.Suspicion | None:
        """What that member is suspected of."""
        return suspicion.find(self._ledger, member)

    def revision_at(self, time: int) -> int:
        """The last noted revision that was reached by cluster time `time`; 0 if none is noted."""
        return compaction.revision_at(self._ledger, time)
