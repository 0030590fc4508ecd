"""What a server has promised: every write as its writer knows it, to be held against what the server shows later.

Each writer owns its keys, so what may stand there is known exactly: the last acknowledged write or, if one came after
it whose answer never arrived, that one. A write whose outcome is unknown is allowed to be there or not, but whole.
"""

from dataclasses import dataclass, field
from typing import Any


class BrokenPromiseError(AssertionError):
    """The server shows something that it cannot show after what it acknowledged."""


@dataclass
class Key:
    """One key of one writer. `value` None: acknowledged as deleted, or never written."""

    value: str | None = None
    index: int = 0
    pending: list[str | None] = field(default_factory=list)
    """Writes since then of unknown outcome, oldest first; None is a delete."""


@dataclass
class Ledger:
    """The keys and the indexes of one writer."""

    keys: dict[str, Key] = field(default_factory=dict)
    indexes: dict[int, tuple[str, str | None]] = field(default_factory=dict)
    """Every index that an answer named, with the key and value it was for."""
    queued: dict[str, str] = field(default_factory=dict)
    """Acknowledged in-order keys and their values."""
    queue_pending: list[str] = field(default_factory=list)

    def about_to_write(self, key: str, value: str | None) -> None:
        self.keys.setdefault(key, Key()).pending.append(value)

    def acknowledged(self, key: str, value: str | None, index: int) -> None:
        if index in self.indexes:
            raise BrokenPromiseError(f"index {index} given to {key} was given to {self.indexes[index][0]} before")
        self.indexes[index] = (key, value)
        self.keys[key] = Key(value, index)

    def acknowledged_in_order(self, key: str, value: str, index: int) -> None:
        self.indexes[index] = (key, value)
        self.queued[key] = value
        self.queue_pending.remove(value)


def check_indexes(ledgers: list[Ledger], shown: int) -> None:
    """No index was given twice, and the server's own (`shown`) is none of the past."""
    seen: dict[int, str] = {}
    for ledger in ledgers:
        for index, (key, _) in ledger.indexes.items():
            if index in seen:
                raise BrokenPromiseError(f"index {index} was given to {key} and to {seen[index]}")
            seen[index] = key
    last = max(seen, default=0)
    if shown < last:
        raise BrokenPromiseError(f"the index went back: {last} was acknowledged, now it is {shown}")


def check_keys(ledger: Ledger, found: dict[str, tuple[str, int]]) -> int:
    """Hold all keys of a writer against what is `found` (value and modifiedIndex by key); gives how many it held.

    What was found becomes the known state: an unknown outcome is known once it has been seen after a restart.
    """
    for name, key in ledger.keys.items():
        value, index = found.get(name, (None, 0))
        if value == key.value and (value is None or index == key.index):
            pass
        elif value not in key.pending:
            raise BrokenPromiseError(
                f"{name}: {_short(key.value)} was acknowledged at {key.index}, found {_short(value)} at {index}"
            )
        elif value is not None and (index <= key.index or index in ledger.indexes):
            raise BrokenPromiseError(f"{name}: an unacknowledged write stands at index {index}, which was given before")
        ledger.keys[name] = Key(value, index)
    for name, (value, _) in found.items():
        if name not in ledger.keys:
            raise BrokenPromiseError(f"{name} = {_short(value)} was never written")
    return len(ledger.keys)


def check_queue(ledger: Ledger, found: dict[str, tuple[str, int]]) -> int:
    """Hold the in-order keys of a writer against what is found; gives how many it held."""
    for name, value in ledger.queued.items():
        if found.get(name, (None, 0))[0] != value:
            raise BrokenPromiseError(f"{name} = {_short(value)} was acknowledged, found {found.get(name)}")
    for name, (value, index) in found.items():
        if int(name.rsplit("/", 1)[1]) != index:
            raise BrokenPromiseError(f"{name} has index {index}")
        if name not in ledger.queued:
            if value not in ledger.queue_pending:
                raise BrokenPromiseError(f"{name} = {_short(value)} was never written, or written twice")
            ledger.queue_pending.remove(value)
            ledger.queued[name] = value
    ledger.queue_pending.clear()
    return len(found)


def check_history(ledger: Ledger, events: dict[int, dict[str, Any]]) -> int:
    """Every acknowledged write has its event at its index, with its key and value; gives how many were held."""
    held = 0
    first = min(events, default=0)
    for index, (key, value) in ledger.indexes.items():
        if index < first:
            continue
        event = events.get(index)
        if event is None:
            raise BrokenPromiseError(f"history has nothing at {index}, where {key} was acknowledged")
        node = event["node"]
        if (node["key"], node.get("value")) != (key, value):
            raise BrokenPromiseError(f"history has {node['key']} at {index}, not {key} = {_short(value)}")
        held += 1
    return held


def _short(value: str | None) -> str:
    return "nothing" if value is None else repr(value[:40])
