"""What is kept of files is bounded, and never older than they are."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from core.kv import paths
from core.kv.commands import Batch, Command, Delete, DeleteRange, Expire, LeaseGrant, LeaseRevoke, Put, Set, Txn
from core.kv.errors import TreeError
from core.kv.keyspace import Keyspace
from core.kv.memo import LARGEST, Memo
from core.kv.memory import MemoryStore

PATHS = [b"/a", b"/a/b", b"/a/b/c", b"/a/d", b"/e", b"/e/f"]
SECOND = 1_000_000_000

path = st.sampled_from(PATHS)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Set, path, st.binary(max_size=2), st.booleans(), st.sampled_from([None, 0, 1])),
    st.builds(Put, path, st.binary(max_size=2), st.sampled_from([0, 7])),
    st.builds(Delete, path, st.just(True), st.booleans()),
    st.builds(DeleteRange, path, st.sampled_from([None, b"/b", b"\0"])),
    st.builds(lambda key: Txn((), (Put(key, b"t"),)), path),
    st.just(Expire(10)),
    st.just(LeaseGrant(7, 10)),
    st.just(LeaseRevoke(7)),
)


def shown(keyspace: Keyspace, name: bytes) -> bytes | None:
    """All that a read of a file tells, if there is one."""
    try:
        record = keyspace.node(name)
    except TreeError:
        return None
    return None if record.directory else msgspec.json.encode((record.modified, record.created, record.value.hex()))


def compare_and_keep(keyspace: Keyspace) -> None:
    """What is kept is what a read finds; keep the rest."""
    for name in PATHS:
        found = shown(keyspace, name)
        kept = keyspace.memo.get(name)
        assert kept is None or kept == found
        if found is not None:
            keyspace.memo.keep(name, found)


@given(st.lists(commands, max_size=30))
def test_what_is_kept_is_what_a_read_finds_between_all_steps(asked: list[Command]) -> None:
    keyspace = Keyspace(MemoryStore())
    for number, command in enumerate(asked, 1):
        for _ in keyspace.steps(number, 1, Batch(number * SECOND, (command,))):
            compare_and_keep(keyspace)
        compare_and_keep(keyspace)


def test_another_state_begins_with_nothing() -> None:
    keyspace = Keyspace(MemoryStore())
    keyspace.apply(1, 1, Batch(1, (Set(b"/a", b"v"),)))
    keyspace.memo.keep(b"/a", b"made")
    keyspace.reload(MemoryStore())
    assert keyspace.memo.get(b"/a") is None


def test_a_file_over_a_directory_hides_what_was_below() -> None:
    memo = Memo()
    memo.keep(b"/a/b/c", b"made")
    memo.changed(b"/a/b/x")
    assert memo.get(b"/a/b/c") == b"made"
    memo.changed(b"/a")
    assert memo.get(b"/a/b/c") is None


def test_it_is_bounded_and_keeps_what_is_asked_for() -> None:
    memo = Memo(limit=20_000)
    for number in range(2_000):
        memo.keep(b"/k/%d" % number, b"v" * 50)
        if number:
            assert memo.get(b"/k/0") is not None
    kept = sum(memo.get(b"/k/%d" % number) is not None for number in range(2_000))
    assert 20 < kept < 20_000 // 50
    memo.keep(b"/large", b"v" * (LARGEST + 1))
    assert memo.get(b"/large") is None
    nothing = Memo(limit=0)
    nothing.keep(b"/a", b"made")
    assert nothing.get(b"/a") is None


def test_directories_count_too() -> None:
    memo = Memo(limit=20_000)
    for number in range(2_000):
        name = b"/%d/k" % number
        memo.keep(name, b"v")
        memo.changed(name)
    memo.keep(b"/last/k", b"v")
    memo.changed(paths.parent(b"/last/k"))
    assert memo.get(b"/last/k") is None
