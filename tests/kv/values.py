"""What the state machine and its twin are compared by: versions and outcomes as plain values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from core.kv.errors import CompactedError, KeyspaceError, TreeError
from core.kv.outcomes import Compacted, DeleteDone, Expired, LeaseDone, PutDone, RangeDone, TxnDone
from core.kv.records import Event, Record

Value = tuple[Any, ...]


@dataclass(frozen=True, order=True)
class Version:
    """All that a record says, but where it rests."""

    key: bytes
    directory: bool
    index: int
    gone: bool
    action: str
    value: bytes
    revision: int
    modified: int
    created: int
    create_revision: int
    version: int
    lease: int = 0
    deadline: int = 0
    refresh: bool = False


@dataclass(frozen=True)
class Change:
    """One visible change, what it replaced, and what happened silently with it."""

    version: Version
    previous: Version | None
    parts: frozenset[Version] = frozenset()


def version(record: Record) -> Version:
    """A record as a value."""
    return Version(
        record.key,
        record.directory,
        record.index,
        record.gone,
        record.action.word,
        record.value,
        record.revision,
        record.modified,
        record.created,
        record.create_revision,
        record.version,
        record.lease,
        record.deadline,
        record.refresh,
    )


def version_or_none(record: Record | None) -> Version | None:
    """The same for what may be missing."""
    return None if record is None else version(record)


def versions(records: Iterable[Record]) -> tuple[Version, ...]:
    """The same for many."""
    return tuple(version(record) for record in records)


def outcome(done: object) -> Value:
    """What a command came to, as a value that names its kind."""
    match done:
        case Event():
            return ("event", version(done.record), version_or_none(done.previous))
        case PutDone():
            return ("put", done.revision, version_or_none(done.previous))
        case DeleteDone():
            return ("delete", done.revision, versions(done.previous))
        case RangeDone():
            return ("range", done.revision, versions(done.records), done.count)
        case TxnDone():
            return ("txn", done.revision, done.succeeded, tuple(outcome(response) for response in done.responses))
        case LeaseDone():
            return ("lease", done.revision, done.id, done.ttl)
        case Compacted():
            return ("compacted", done.revision, done.floor)
        case Expired():
            return ("expired", done.count)
        case KeyspaceError():
            return refusal(done)
    raise TypeError(f"no outcome: {done!r}")


def refusal(error: KeyspaceError) -> Value:
    """An error as a value: its name and all it says."""
    match error:
        case TreeError():
            return ("TreeError", error.code, error.cause, error.index)
        case CompactedError():
            return ("CompactedError", error.floor)
    return (type(error).__name__,)


def events(found: Sequence[Event]) -> list[tuple[Version, Version | None]]:
    """What watchers are told, as values."""
    return [(version(event.record), version_or_none(event.previous)) for event in found]
