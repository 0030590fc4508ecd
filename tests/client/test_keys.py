"""Keys and transactions, the same on every way to a store."""

import pytest

from core.client import (
    Compare,
    Delete,
    DeleteResult,
    Keys,
    Put,
    PutResult,
    Range,
    RangeResult,
    Store,
    Txn,
    TxnResult,
    from_key,
    prefix,
)
from core.client.errors import (
    CompactedError,
    FutureRevisionError,
    InvalidRequestError,
    KeyNotFoundError,
    LeaseNotFoundError,
)


async def test_put_get_and_delete(store: Store, base: bytes) -> None:
    key = base + b"\x00\xff binary"
    first = await store.put(key, b"\x00\xfe one", previous=True)
    assert first.previous is None
    second = await store.put(key, b"two", previous=True)
    assert second.revision > first.revision
    assert second.previous is not None
    assert (second.previous.value, second.previous.mod_revision) == (b"\x00\xfe one", first.revision)
    found = (await store.range(key)).first
    assert found is not None
    assert (found.key, found.value, found.version) == (key, b"two", 2)
    assert (found.create_revision, found.mod_revision, found.lease) == (first.revision, second.revision, 0)
    gone = await store.delete(key, previous=True)
    assert (gone.deleted, [kv.value for kv in gone.previous]) == (1, [b"two"])
    again = await store.delete(key)
    assert (again.deleted, again.previous, again.revision) == (0, (), gone.revision)
    assert await store.get(key) is None


async def test_an_empty_value_is_a_value(store: Store, base: bytes) -> None:
    await store.put(base)
    assert await store.get(base) == b""


async def test_ranges(store: Store, base: bytes) -> None:
    for letter in (b"d", b"b", b"a", b"c"):
        last = await store.put(base + letter, letter)
    await store.put(base + b"b", b"z")

    async def names(keys: Keys, **options: object) -> list[bytes]:
        found = await store.range(keys, **options)  # type: ignore[arg-type]
        return [kv.key.removeprefix(base) for kv in found.kvs]

    assert await names(prefix(base)) == [b"a", b"b", b"c", b"d"]
    assert await names(Keys(base + b"b", base + b"d")) == [b"b", b"c"]
    assert await names(prefix(base), descending=True) == [b"d", b"c", b"b", b"a"]
    assert await names(prefix(base), sort="create") == [b"d", b"b", b"a", b"c"]
    assert await names(prefix(base), sort="mod", descending=True) == [b"b", b"c", b"a", b"d"]
    assert await names(prefix(base), sort="value") == [b"a", b"c", b"d", b"b"]
    assert await names(prefix(base), sort="version", descending=True, limit=1) == [b"b"]
    assert await names(prefix(base), local=True) == [b"a", b"b", b"c", b"d"]
    assert await names(prefix(base), revision=last.revision - 1) == [b"a", b"b", b"d"]
    assert (await store.range(prefix(base), revision=last.revision)).kvs[1].value == b"b"
    assert base + b"d" in [kv.key for kv in (await store.range(from_key(base + b"d"))).kvs]

    some = await store.range(prefix(base), limit=3)
    assert (len(some.kvs), some.count, some.more) == (3, 4, True)
    whole = await store.range(prefix(base), limit=4)
    assert (len(whole.kvs), whole.count, whole.more) == (4, 4, False)
    counted = await store.range(prefix(base), count_only=True)
    assert (counted.kvs, counted.count) == ((), 4)
    bare = await store.range(prefix(base), keys_only=True)
    assert {kv.value for kv in bare.kvs} == {b""}
    assert all(kv.create_revision for kv in bare.kvs)
    nothing = await store.range(prefix(base + b"nothing"))
    assert (nothing.kvs, nothing.count, nothing.more, nothing.first) == ((), 0, False, None)


async def test_bounds_of_revisions(store: Store, base: bytes) -> None:
    revisions = [(await store.put(base + b"%d" % number)).revision for number in range(5)]
    older = Range(prefix(base), 1, sort="create", descending=True, max_create_revision=revisions[3] - 1)
    found = await store.execute(older)
    assert isinstance(found, RangeResult)
    assert [kv.key for kv in found.kvs] == [base + b"2"]
    between = Range(prefix(base), min_mod_revision=revisions[1], max_mod_revision=revisions[3])
    found = await store.execute(between)
    assert isinstance(found, RangeResult)
    assert [kv.mod_revision for kv in found.kvs] == revisions[1:4]


async def test_pages_are_of_one_revision(store: Store, base: bytes) -> None:
    for number in range(7):
        await store.put(base + b"%d" % number)
    seen = []
    async for page in store.pages(prefix(base), size=3):
        seen.append([kv.key.removeprefix(base) for kv in page.kvs])
        await store.put(base + b"9 too late")
        await store.delete(base + b"5")
    assert seen == [[b"0", b"1", b"2"], [b"3", b"4", b"5"], [b"6"]]


async def test_deleting_a_range(store: Store, base: bytes) -> None:
    for number in range(4):
        await store.put(base + b"%d" % number, b"v%d" % number)
    gone = await store.delete(Keys(base + b"1", base + b"3"), previous=True)
    assert (gone.deleted, [kv.value for kv in gone.previous]) == (2, [b"v1", b"v2"])
    assert (await store.range(prefix(base), count_only=True)).count == 2


async def test_keeping_value_or_lease(store: Store, base: bytes) -> None:
    lease = await store.grant(60)
    await store.put(base, b"1", lease=lease.id)
    await store.execute(Put(base, b"2", keep_lease=True))
    found = (await store.range(base)).first
    assert found is not None
    assert (found.value, found.lease) == (b"2", lease.id)
    await store.execute(Put(base, keep_value=True))
    found = (await store.range(base)).first
    assert found is not None
    assert (found.value, found.lease) == (b"2", 0)
    for put in (Put(base + b"x", keep_value=True), Put(base + b"x", keep_lease=True)):
        with pytest.raises(KeyNotFoundError):
            await store.execute(put)
    await store.revoke(lease.id)


async def test_a_transaction_takes_one_branch_whole(store: Store, base: bytes) -> None:
    a, b = base + b"a", base + b"b"
    done = await store.txn(
        [Compare.absent(a), Compare.absent(b)],
        [Put(a, b"1"), Put(b, b"2", previous=True), Range(prefix(base))],
        [Delete(prefix(base))],
    )
    assert done.succeeded
    put, second, both = done.responses
    assert isinstance(put, PutResult)
    assert isinstance(second, PutResult)
    assert second.previous is None
    assert isinstance(both, RangeResult)
    assert [(kv.key, kv.value) for kv in both.kvs] == [(a, b"1"), (b, b"2")]
    assert {kv.mod_revision for kv in both.kvs} == {done.revision}

    done = await store.txn([Compare.absent(a)], [Put(a)], [Delete(prefix(base), previous=True), Range(a)])
    assert not done.succeeded
    gone, nothing = done.responses
    assert isinstance(gone, DeleteResult)
    assert [kv.value for kv in gone.previous] == [b"1", b"2"]
    assert isinstance(nothing, RangeResult)
    assert nothing.first is None


async def test_what_can_be_compared(store: Store, base: bytes) -> None:
    lease = await store.grant(60)
    await store.put(base, b"5")
    await store.put(base, b"m", lease=lease.id)
    seen = (await store.range(base)).first
    assert seen is not None
    none = base + b"none"
    cases = [
        (Compare(base, "value", "=", b"m"), True),
        (Compare(base, "value", "!=", b"m"), False),
        (Compare(base, "value", "<", b"n"), True),
        (Compare(base, "value", ">", b"n"), False),
        (Compare(base, "version", "=", 2), True),
        (Compare(base, "create", "<", seen.mod_revision), True),
        (Compare(base, "mod", ">", seen.create_revision), True),
        (Compare(base, "lease", "=", lease.id), True),
        (Compare.unchanged(seen), True),
        (Compare.present(base), True),
        (Compare.present(none), False),
        (Compare.absent(none), True),
        (Compare(none, "value", "!=", b"m"), False),
        (Compare(prefix(base), "version", ">", 1), True),
        (Compare(prefix(base), "version", ">", 2), False),
    ]
    for compare, holds in cases:
        assert (await store.txn([compare])).succeeded is holds, compare
    await store.revoke(lease.id)


async def test_transactions_in_transactions(store: Store, base: bytes) -> None:
    inner = Txn((Compare.absent(base),), (Put(base, b"in"),), (Range(base),))
    done = await store.txn([], [inner, Put(base + b"out")])
    first = done.responses[0]
    assert isinstance(first, TxnResult)
    assert first.succeeded
    done = await store.txn([], [inner])
    first = done.responses[0]
    assert isinstance(first, TxnResult)
    assert not first.succeeded
    found = first.responses[0]
    assert isinstance(found, RangeResult)
    assert found.first is not None
    assert found.first.value == b"in"


async def test_compare_and_swap_loses_nothing(store: Store, base: bytes) -> None:
    await store.put(base, b"0")
    for _ in range(5):
        seen = (await store.range(base)).first
        assert seen is not None
        await store.put(base, b"%d" % (int(seen.value) + 10))
        assert not (await store.txn([Compare.unchanged(seen)], [Put(base, b"0")])).succeeded
    assert await store.get(base) == b"50"


async def test_what_is_refused(store: Store, base: bytes) -> None:
    many = [Put(base + b"%d" % number) for number in range(129)]
    with pytest.raises(LeaseNotFoundError):
        await store.put(base, lease=12345)
    with pytest.raises(InvalidRequestError, match="key is not provided"):
        await store.put(b"")
    with pytest.raises(InvalidRequestError, match="key is not provided"):
        await store.range(b"")
    with pytest.raises(InvalidRequestError, match="value is provided"):
        await store.execute(Put(base, b"1", keep_value=True))
    with pytest.raises(InvalidRequestError, match="duplicate key given in txn request"):
        await store.txn([], [Put(base), Put(base)])
    with pytest.raises(InvalidRequestError, match="duplicate key given in txn request"):
        await store.txn([], [Put(base), Delete(prefix(base))])
    with pytest.raises(InvalidRequestError, match="too many operations in txn request"):
        await store.txn([], many)
    with pytest.raises(FutureRevisionError):
        await store.range(base, revision=1 << 40)
    assert (await store.range(prefix(base))).count == 0
    assert (await store.txn([], many[:128])).succeeded


async def test_history_that_is_forgotten(store: Store, base: bytes) -> None:
    first = await store.put(base, b"1")
    last = await store.put(base, b"2")
    await store.compact(last.revision)
    with pytest.raises(CompactedError):
        await store.range(base, revision=first.revision)
    with pytest.raises(CompactedError):
        await store.compact(first.revision)
    with pytest.raises(FutureRevisionError):
        await store.compact(1 << 40)
    assert await store.get(base) == b"2"


def test_prefixes() -> None:
    assert prefix(b"a") == Keys(b"a", b"b")
    assert prefix(b"a\xff\xff") == Keys(b"a\xff\xff", b"b")
    assert prefix(b"\xff") == Keys(b"\xff", b"\0")
    assert prefix(b"") == Keys(b"\0", b"\0")
    assert b"ab" in prefix(b"a")
    assert b"b" not in prefix(b"a")
    assert b"zz" in from_key(b"b")


def test_an_operand_of_the_wrong_kind() -> None:
    with pytest.raises(ValueError, match="version cannot be compared with b'1'"):
        Compare(b"a", "version", "=", b"1")
