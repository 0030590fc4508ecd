"""The range index against looking at every range."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from core.watch.index import DEEPEST, RangeIndex

# Few different bytes, so that ranges share prefixes, nest, touch and cross.
keys = st.lists(st.sampled_from([b"\0", b"/", b"0", b"a", b"b", b"\x7f", b"\x80", b"\xff"]), max_size=5).map(b"".join)
long = st.tuples(st.just(b"p" * (DEEPEST - 1)), keys).map(b"".join)
some = st.one_of(keys, long)
ranges = st.one_of(
    st.tuples(some, st.none()),
    st.tuples(some, st.just(b"\0")),
    st.tuples(some, some).filter(lambda ends: ends[0] < ends[1] and ends[1] != b"\0"),
)


def holds(key: bytes, end: bytes | None, asked: bytes) -> bool:
    """Whether a range holds a key, in the plainest words."""
    if end is None:
        return asked == key
    return key <= asked and (end == b"\0" or asked < end)


@settings(max_examples=150, deadline=None)
@given(st.lists(ranges, max_size=40), st.lists(st.integers(0, 60)), st.lists(some, min_size=1, max_size=20))
def test_it_finds_who_watches_a_key(
    opened: list[tuple[bytes, bytes | None]], closed: list[int], asked: list[bytes]
) -> None:
    index: RangeIndex[int] = RangeIndex()
    watched = dict(enumerate(opened))
    for member, (key, end) in watched.items():
        index.add(member, key, end)
    for member in closed:
        found = watched.pop(member, None)
        if found is not None:
            assert index.discard(member, *found)
            assert not index.discard(member, *found)
    assert set(index.members()) == set(watched)
    for key in asked + [key for key, _ in opened] + [end for _, end in opened if end]:
        hits = [member for group in index.find(key) for member in group.members]
        assert sorted(hits) == [member for member, ends in watched.items() if holds(*ends, key)]
    for member, (key, end) in watched.items():
        index.discard(member, key, end)
    assert not index
    assert not index._places, "it keeps nothing of those who have gone"
    assert not index._lengths


def test_ten_thousand_ranges_cost_little_each() -> None:
    """A thousand prefixes, and nine thousand ranges that overlap in all ways: a look-up does not look at them all."""
    index: RangeIndex[int] = RangeIndex()
    for number in range(1000):
        index.add(number, b"/app/%03d/" % number, b"/app/%03d0" % number)
    for number in range(1000, 10_000):
        index.add(number, b"/b/%05d" % number, b"/b/%05d" % (number + 1 + number % 7))
    began = time.process_time()
    for number in range(1000):
        assert sum(len(group.members) for group in index.find(b"/app/%03d/x" % number)) == 1
        assert 1 <= sum(len(group.members) for group in index.find(b"/b/%05d" % (2000 + number))) <= 7
    assert time.process_time() - began < 1, "ten times what it takes"
