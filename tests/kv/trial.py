"""The state machine beside its twin: one log for both, and every comparison that finds them apart."""

from core.kv import commands, rows
from core.kv.errors import KeyspaceError
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.records import SPILLED, Record
from core.kv.transaction import Table, Transaction
from tests.kv.model import Model, RefusedError, is_clean
from tests.kv.values import Value, Version, events, outcome, refusal, version, version_or_none, versions

SYSTEM_ROW = b"\0corenode/secret"
Dump = dict[Table, dict[bytes, bytes]]


def dump(store: Transaction) -> Dump:
    """Every row of every table."""
    return {table: dict(store.scan(table)) for table in Table}


def listing(keyspace: Keyspace, directory: bytes, limit: int = 1000, at: int | None = None) -> list[Record]:
    """All children of a directory, page by page."""
    found: list[Record] = []
    after: bytes | None = b""
    while after is not None:
        page = keyspace.children(directory, after, limit, at)
        assert len(page.records) <= limit
        assert page.more is None or page.more > after, "a page that leads nowhere"
        found += page.records
        after = page.more
    return found


class Trial:
    """Feeds one log to the state machine and to the twin. Every check raises AssertionError."""

    def __init__(self, store: Transaction) -> None:
        self.store = store
        self.keyspace = Keyspace(store)
        self.model = Model()
        self.log: list[bytes] = []
        self._unswept = Keyspace(MemoryStore())
        """The same log, never swept: what there would be to remember."""
        self._unswept_store = self._unswept._ledger.rows

    def step(self, *batch: commands.Command, time: int = 0) -> list[Value]:
        """Apply one batch at a cluster time in ns; the outcomes, proven equal."""
        self.log.append(commands.encode(commands.Batch(time, batch)))
        decoded = commands.decode(self.log[-1])
        assert decoded.commands == batch
        index = len(self.log)
        outcomes, told = self.keyspace.apply(index, 1, decoded)
        self._unswept.apply(index, 1, decoded)
        expected, changes = self.model.apply(decoded)
        found = [outcome(one) for one in outcomes]
        for command, is_so, should_be in zip(batch, found, expected, strict=True):
            assert is_so == should_be, f"{command}\n  came to {is_so}\n  not to  {should_be}"
        assert events([event for event in told if not event.record.silent]) == [
            (change.version, change.previous) for change in changes
        ]
        assert self.keyspace.revision == self.model.revision
        assert self.keyspace.time == self.model.time
        assert self.keyspace.floor == self.model.floor
        assert self.keyspace.applied == (index, 1)
        return found

    def reload(self) -> None:
        """Forget all that is not in the maps, as a crash between batches does."""
        self.keyspace = Keyspace(self.store)

    def sweep(self, limit: int = 100) -> None:
        """Remove all that the floor hides, in slices."""
        while self.keyspace.sweep(limit):
            pass

    def check(self) -> None:
        """Everything at once; slow."""
        self.check_reads(range(self.model.floor, self.model.revision + 1))
        self.check_history()
        self.check_schedule()

    def check_reads(self, revisions: range) -> None:
        """What both dialects see at each revision."""
        for revision in revisions:
            found = self.keyspace.range(commands.Range(b"\0", b"\0", revision))
            expected = tuple(self.model.in_range(b"\0", b"\0", revision))
            assert versions(found.records) == expected, f"v3 at revision {revision}"
            directories = self.model.states[revision][1]
            for directory in [b"/", *directories]:
                listed = listing(self.keyspace, directory, at=revision)
                assert [version(one) for one in listed] == self.model.listing(directory, revision), (
                    f"children of {directory!r} at revision {revision}"
                )
        for path in {*self.model.files, *self.model.directories, b"/missing", b"/a/missing"}:
            if is_clean(path):
                self.check_node(path)

    def check_node(self, path: bytes) -> None:
        """What v2 sees at one path now."""
        found: Value | Version
        expected: Value | Version
        try:
            found = version(self.keyspace.node(path))
        except KeyspaceError as error:
            found = refusal(error)
        try:
            expected = self.model.look(path)
        except RefusedError as error:
            expected = error.args
        assert found == expected, f"{path!r} is {found}, not {expected}"

    def check_history(self) -> None:
        """Every change from the floor on, with what it replaced and its silent parts."""
        start = self.model.floor
        told: dict[int, Version] = {}
        replaced: dict[int, Version | None] = {}
        parts: dict[int, set[Version]] = {}
        for record in list(self.keyspace.history(start)):
            if record.position[8:] == bytes(4):
                told[record.index] = version(record)
                previous = self.keyspace.record(record.previous) if record.previous else None
                assert bool(record.previous) == (previous is not None), f"previous of {record} is lost"
                replaced[record.index] = version_or_none(previous)
            else:
                parts.setdefault(record.index, set()).add(version(record))
        expected = {index: change for index, change in self.model.changes.items() if index >= start}
        assert told == {index: change.version for index, change in expected.items()}
        assert replaced == {index: change.previous for index, change in expected.items()}
        assert parts == {index: set(change.parts) for index, change in expected.items() if change.parts}

    def check_schedule(self) -> None:
        """The tables of what ends with time hold what is live, no less and no more."""
        schedule = self.model.schedule()
        rows_found = [key for key, _ in self.store.scan(Table.EXPIRY)]
        assert rows_found == [due.to_bytes(8, "big") + kind + name for due, kind, name in schedule]
        assert self.keyspace.next_deadline() == (schedule[0][0] if schedule else None)
        attached = {
            lease.to_bytes(8, "big") + one.key
            for lease in self.model.leases
            for one in self.model.files.values()
            if one.lease == lease
        }
        assert {key for key, _ in self.store.scan(Table.ATTACHED)} == attached
        assert {key for key, _ in self.store.scan(Table.LEASE)} == {
            lease.to_bytes(8, "big") for lease in self.model.leases
        }
        for lease, (ttl, deadline) in self.model.leases.items():
            found = self.keyspace.lease(lease)
            assert found is not None
            assert (found[0].ttl, found[0].deadline) == (ttl, deadline)
            assert found[1] == sorted(one.key for one in self.model.files.values() if one.lease == lease)

    def check_swept(self) -> None:
        """After a whole sweep: all that is readable rests there, and nothing else."""
        floor = self.model.floor
        everything = list(self._unswept_records())
        needed = {}
        ended: dict[tuple[bytes, bool], list[tuple[int, int]]] = {}
        for _, record in everything:
            ended.setdefault((record.key, record.directory), []).append((record.index, record.revision))
        for position, record in everything:
            later = [one for index, one in ended[record.key, record.directory] if index > record.index]
            if record.revision >= floor or (not record.gone and all(revision >= floor for revision in later)):
                needed[position] = record
        found = {
            position: version(kept)
            for position in dict(self.store.scan(Table.REVISION))
            if (kept := self.keyspace.record(position)) is not None
        }
        assert found.keys() - needed.keys() == set(), "the sweep left records that nothing can read"
        assert needed.keys() - found.keys() == set(), "the sweep took records that can be read"
        assert found == needed
        self._check_rows(floor)

    def _unswept_records(self) -> list[tuple[bytes, Version]]:
        positions = [position for position, _ in self._unswept_store.scan(Table.REVISION)]
        records = ((position, self._unswept.record(position)) for position in positions)
        return [(position, version(record)) for position, record in records if record is not None]

    def _check_rows(self, floor: int) -> None:
        """A row for each key that is there or was ended since the floor, older rows only where one was filled since."""
        for table, live in ((Table.KEY, self.model.files), (Table.DIRECTORY, self.model.directories)):
            for key, row in self.store.scan(table):
                newest = self.keyspace.record(rows.newest(row))
                assert newest is not None, f"the row of {key!r} names a record that is not there"
                assert newest.key == key
                assert newest.gone == (key not in live)
                assert key in live or newest.revision >= floor, f"the row of {key!r} outlived its end"
        for position, _ in self.store.scan(Table.OLDER):
            record = self.keyspace.record(position)
            assert record is not None
            assert record.flags & SPILLED
            assert record.revision >= floor
