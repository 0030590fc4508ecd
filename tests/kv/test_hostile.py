"""Bytes that nobody meant, and commands at the edge of what there is room for."""

from contextlib import suppress
from random import Random

import msgspec
import pytest

from core.kv import commands as c
from core.kv import records, rows
from core.kv.errors import LimitError
from core.kv.flat import DEEPEST_TXN
from core.kv.keyspace import Keyspace, Outcome
from core.kv.ledger import LONGEST_KEY
from core.kv.memory import MemoryStore
from tests.kv.chance import Chance
from tests.kv.model import Model
from tests.kv.trial import dump

SEED = 20261121


def apply(command: c.Command) -> tuple[Outcome, bool]:
    """What a command comes to in a small keyspace, and whether more than the applied row changed."""
    store = MemoryStore()
    keyspace = Keyspace(store)
    keyspace.apply(1, 1, c.Batch(0, (c.Set(b"/a/b", b"1"), c.LeaseGrant(7, 60))))
    before = dump(store)
    outcome = keyspace.apply(2, 1, c.decode(c.encode(c.Batch(0, (command,)))))[0][0]
    after = dump(store)
    changed = {table for table in before if before[table] != after[table]}
    return outcome, changed != {"meta"}


def nested(depth: int) -> bytes:
    """The log entry of a transaction with so many levels, which no encoder would make."""
    put = msgspec.msgpack.encode(c.Put(b"a"))
    return b"\x92\x00\x91" + b"\x94\x13\x90\x91" * depth + put + b"\x90" * depth


class TestLimits:
    @pytest.mark.parametrize("length", [2, 255, 478, 511, 512, LONGEST_KEY - 1, LONGEST_KEY])
    def test_keys_up_to_64_kib_are_stored(self, length: int) -> None:
        key = b"/" + b"x" * (length - 1)
        keyspace = Keyspace(MemoryStore())
        commands = (c.LeaseGrant(1, 60), c.Put(key, b"1", lease=1), c.Set(key, b"2", ttl=5))
        keyspace.apply(1, 1, c.Batch(0, commands))
        found = keyspace.range(c.Range(key)).records[0]
        assert (found.key, found.value) == (key, b"2")
        keyspace.apply(2, 1, c.Batch(6_000_000_000, (c.Expire(10),)))
        assert keyspace.range(c.Range(key)).count == 0

    @pytest.mark.parametrize(
        "command",
        [
            c.Put(b"x" * (LONGEST_KEY + 1)),
            c.Set(b"/" + b"x" * LONGEST_KEY),
            c.Set(b"/" + b"x" * LONGEST_KEY, directory=True),
            c.Create(b"/" + b"x" * (LONGEST_KEY - 10), in_order=True),
            c.Txn(success=(c.Put(b"a"), c.Put(b"x" * (LONGEST_KEY + 1)))),
            c.LeaseGrant(0, 5),
            c.LeaseGrant(-1, 5),
            c.LeaseGrant(2**63, 5),
            c.LeaseGrant(1, -1),
            c.LeaseGrant(1, 9_000_000_001),
            c.Put(b"a", lease=-1),
            c.Put(b"a", lease=2**63),
            c.LeaseRevoke(-1),
            c.LeaseKeepAlive(2**64 - 1),
            c.Compact(-5),
            c.Compact(2**64 - 1),
        ],
        ids=lambda command: f"{type(command).__name__} {str(command)[:40]}",
    )
    def test_what_there_is_no_room_for_is_refused_whole(self, command: c.Command) -> None:
        outcome, changed = apply(command)
        assert isinstance(outcome, Exception)
        assert not changed

    @pytest.mark.parametrize("ttl", [-5, 2**63 - 1, 2**64 - 1])
    def test_a_ttl_beyond_sense_is_cut(self, ttl: int) -> None:
        outcome, _ = apply(c.Set(b"/t", b"1", ttl=ttl))
        assert not isinstance(outcome, Exception)

    def test_nesting_has_an_end(self) -> None:
        def run(depth: int) -> Outcome:
            return Keyspace(MemoryStore()).apply(1, 1, c.decode(nested(depth)))[0][0]

        assert not isinstance(run(DEEPEST_TXN), Exception)
        assert isinstance(run(DEEPEST_TXN + 1), LimitError)

    @pytest.mark.parametrize("compare", [("bogus", "="), ("mod", "~"), ("\udcff", "=")])
    def test_an_unknown_comparison_is_no_batch(self, compare: tuple[str, str]) -> None:
        words = [word.encode(errors="surrogateescape") for word in compare]
        entry = msgspec.msgpack.encode([0, [[19, [[b"k", "mod", "=", 0]], [], []]]])
        for word, known in zip(words, (b"mod", b"="), strict=True):
            entry = entry.replace(bytes([0xA0 + len(known)]) + known, bytes([0xA0 + len(word)]) + word)
        with pytest.raises(msgspec.DecodeError):
            c.decode(entry)

    @pytest.mark.parametrize("depth", [900, 2_000, 100_000])
    def test_nesting_beyond_the_stack_is_no_batch(self, depth: int) -> None:
        with pytest.raises(msgspec.DecodeError):
            c.decode(nested(depth))


class TestDecoders:
    def test_random_bytes_are_no_batch(self) -> None:
        random = Random(SEED)
        for _ in range(20_000):
            with pytest.raises(msgspec.DecodeError):
                c.decode(random.randbytes(random.randrange(1, 60)) + b"\xc1")

    def test_a_batch_cut_short_or_flipped_is_refused_or_another_batch(self) -> None:
        random = Random(SEED)
        model = Model()
        chance = Chance(random, model)
        changed = 0
        for _ in range(600):
            time, commands = chance.batch()
            data = c.encode(c.Batch(time, tuple(commands)))
            assert c.decode(data) == c.Batch(time, tuple(commands))
            for cut in {0, 1, len(data) // 2, len(data) - 1} - {len(data)}:
                with pytest.raises(msgspec.DecodeError):
                    c.decode(data[:cut])
            for _ in range(10):
                flipped = bytearray(data)
                flipped[random.randrange(len(data))] ^= 1 << random.randrange(8)
                with suppress(msgspec.DecodeError):
                    changed += c.decode(bytes(flipped)) != c.decode(data)
        assert changed > 100, "no flip came through: the test says nothing"

    def test_random_bytes_are_no_record(self) -> None:
        random = Random(SEED)
        for _ in range(20_000):
            row = random.randbytes(random.randrange(0, 120))
            try:
                record = records.decode(bytes(12), row)
            except ValueError:
                continue
            assert records.encode(record) == row

    def test_a_record_cut_short_is_refused(self) -> None:
        store = MemoryStore()
        Keyspace(store).apply(1, 1, c.Batch(0, (c.Set(b"/a/b", b""), c.Set(b"/a/b", b""))))
        for table in dump(store):
            for position, row in list(store.scan(table)) if table == "rev" else []:
                assert records.encode(records.decode(position, row)) == row
                for cut in range(len(row)):
                    with pytest.raises(ValueError, match="record"):
                        records.decode(position, row[:cut])

    def test_rows_find_what_a_list_finds(self) -> None:
        random = Random(SEED)
        for _ in range(500):
            row, versions, revision = rows.EMPTY, [], 0
            for _ in range(random.randrange(1, rows.LIMIT + 2)):
                revision += random.randrange(1, 4)
                gone = random.random() < 0.3
                position = random.randbytes(12)
                versions.append((revision, None if gone else position))
                row = rows.appended(row, position, revision, gone)
            assert rows.is_full(row) == (len(versions) >= rows.LIMIT)
            floor = random.randrange(revision + 2)
            pruned = rows.pruned(row, floor)
            for at in range(revision + 2):
                shown = [position for one, position in versions if one <= at]
                expected = shown[-1] if shown else None
                assert rows.find(row, at) == (expected, None)
                if at >= floor:
                    assert rows.find(pruned, at) == (expected, None)
            assert rows.newest_live(row) == versions[-1][1]
