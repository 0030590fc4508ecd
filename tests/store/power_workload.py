"""A run over log and state to be recorded, and what must be true of any directory that a cut leaves of it.

Batch by batch: append entries, say so, apply, sometimes flush, sometimes drop a prefix, read a snapshot meanwhile or
begin anew from one.
`FAULTS` are the same run done wrong; a check that does not catch them proves nothing.
"""

import functools
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Thread
from typing import Any

import lmdb

from core.kv.transaction import Reader, Table
from core.raft.messages import Entry, HardState
from core.store_lmdb import journal, log
from core.store_lmdb.creation import Beginning, Identity
from core.store_lmdb.directory import DataDirectory
from core.store_lmdb.errors import DirectoryError
from core.store_lmdb.state import StateStore
from tests.store.power_cut import Cut

BATCHES = 60
KEYS = 25
APPLIED = b"applied"
JOURNAL = 16 << 10
"""Bytes to which the journal grows, so that LMDB takes over often."""
LARGE = 12 << 10
"""Bytes of an append that go to LMDB at once."""
FAULTS = ("no sync", "no meta sync", "no journal sync", "acknowledged early", "state ahead", "snapshot unsynced")


def batch(number: int) -> range:
    """The indexes of the entries of a batch, which has one to three."""
    first = 1 + sum(1 + earlier % 3 for earlier in range(number))
    return range(first, first + 1 + number % 3)


def payload(index: int) -> bytes:
    return b"%d:" % index + bytes([index % 251]) * (index * 97 % 6000)


def key(index: int) -> bytes:
    return b"/key/%d" % (index % KEYS) + b"/long" * (index % KEYS % 2 * 200)


def apply(state: StateStore, index: int) -> None:
    state.put(Table.KEY, key(index), b"%d" % index)
    state.put(Table.REVISION, index.to_bytes(12, "big"), payload(index)[:300])
    if index > KEYS:
        state.delete(Table.REVISION, (index - KEYS).to_bytes(12, "big"))
    state.put(Table.META, APPLIED, b"%d" % index)


def beside(work: Callable[[], None]) -> Thread:
    thread = Thread(target=work)
    thread.start()
    return thread


def run(path: Path, fault: str) -> None:
    unsafe: dict[str, Any] | None = {"no sync": {"sync": False}, "no meta sync": {"metasync": False}}.get(fault)
    if unsafe:
        setattr(lmdb, "open", functools.partial(lmdb.open, **unsafe))  # noqa: B010
    if fault == "no journal sync":
        setattr(journal.Journal, "_sync", lambda _: None)  # noqa: B010
    setattr(journal, "LARGEST", JOURNAL)  # noqa: B010
    directory = DataDirectory.open(path, Beginning(Identity(1, 2)), reserve=4096, low_water=4096)
    leaving = 0
    snapshot = Reading()
    for number in range(BATCHES):
        if number % 9 == 2:
            snapshot = Reading(directory.state)
        elif number % 9 == 7 or number == BATCHES // 2:
            snapshot.end()
        indexes = batch(number)
        entries = [Entry(index, number + 1, 0, payload(index)) for index in indexes]
        hard_state = HardState(number + 1, 1, indexes[0] - 1)
        if fault == "acknowledged early":
            print("acknowledged", indexes[-1], flush=True)
        if fault == "state ahead":
            for index in indexes:
                apply(directory.state, index)
            directory.state.flush()
        if number % 5 == 4:  # entries that a new leader replaces at once
            wrong = [Entry(index, number, 0, b"never committed") for index in range(indexes[0], indexes[0] + 4)]
            setattr(log, "_LARGE", LARGE * (number % 2))  # noqa: B010 - half of them go to LMDB at once
            directory.log.append(wrong)
            setattr(log, "_LARGE", LARGE)  # noqa: B010
        directory.log.append(entries, hard_state)
        print("acknowledged", indexes[-1], flush=True)
        if fault != "state ahead":
            for index in indexes:
                apply(directory.state, index)
        if directory.state.settle(wait=number % 2 == 0) and leaving:
            directory.log.drop_until(leaving)
            leaving = 0
        if number % 14 == 6:
            directory.state.flush()
            directory.log.drop_until(indexes[-1])
        elif number % 7 == 6:
            directory.state.begin_flush(beside)
            leaving = indexes[-1]
        if number == BATCHES // 2:
            _install(directory, indexes[-1], number + 1, fault)
    directory.close()


class Reading:
    """A snapshot that is read while the state goes on. RuntimeError if it is not of one moment."""

    def __init__(self, state: StateStore | None = None) -> None:
        self._scope = ExitStack()
        self._rows: list[tuple[bytes, bytes]] = []
        self._view: Reader | None = None
        if state is not None:
            self._rows = list(state.scan(Table.KEY))
            self._view = self._scope.enter_context(state.frozen())

    def end(self) -> None:
        if self._view is not None and list(self._view.scan(Table.KEY)) != self._rows:
            raise RuntimeError("the snapshot shows what was written later")
        self._view = None
        self._scope.close()


def _install(directory: DataDirectory, index: int, term: int, fault: str) -> None:
    """Begin anew from a snapshot of what is there, much of it not on the disk yet."""
    state = directory.begin_state()
    with directory.state.frozen() as view:
        for table in Table:
            for row in view.scan(table):
                state.put(table, *row)
    if fault == "snapshot unsynced":
        state.flush = lambda: None  # type: ignore[method-assign]
    directory.install(state, index, term, b"members", HardState(term, 1, index))


def check(cut: Cut) -> str:
    """What is wrong with what a cut left; empty if all is well."""
    *lines, _ = b"".join(cut.marks).split(b"\n")
    least = max((int(line.split()[1]) for line in lines), default=0)
    try:
        directory = DataDirectory.open(cut.root, reserve=4096, low_water=4096)
    except DirectoryError as error:
        return f"{cut.place}: {error}" if least else ""
    except Exception as error:
        return f"{cut.place}: {type(error).__name__}: {error}"
    try:
        problem = _problem(directory, least)
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
    finally:
        directory.close()
    return f"{cut.place}: {problem}" if problem else ""


def _problem(directory: DataDirectory, least: int) -> str:
    kept, state = directory.log, directory.state
    ends = {batch(number)[-1] for number in range(BATCHES)} | {0}
    last = kept.last.index
    if last < least:
        return f"entry {least} was acknowledged, the log ends at {last}"
    if last > kept.floor.index:
        entries = kept.read(kept.floor.index + 1, last, 1 << 30)
        replaced = [entry for entry in entries if entry.data == b"never committed"]
        for entry in entries:
            if entry not in replaced and entry.data != payload(entry.index):
                return f"entry {entry.index} is not what was appended"
        if replaced and (len(replaced) != 4 or replaced[0].index <= least):
            return f"half an append: {replaced}"
        if not replaced and last not in ends:
            return f"half an append: the log ends at {last}"
    applied = int(state.get(Table.META, APPLIED) or b"0")
    directory.check_applied(applied)
    if applied not in ends:
        return f"half a flush: applied {applied}"
    state.count()
    keys = sorted({key(index): b"%d" % index for index in range(1, applied + 1)}.items())
    if list(state.scan(Table.KEY)) != keys:
        return f"the keys are not those of entry {applied}"
    history = range(max(1, applied - KEYS + 1), applied + 1)
    if list(state.scan(Table.REVISION)) != [(index.to_bytes(12, "big"), payload(index)[:300]) for index in history]:
        return f"the history is not that of entry {applied}"
    return ""


if __name__ == "__main__":
    run(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "")
