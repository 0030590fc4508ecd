"""Majorities, against counting."""

from hypothesis import given
from hypothesis import strategies as st

from core.raft.quorum import has_majority, majority_index, majority_lost

VOTERS = st.lists(st.integers(1, 9), unique=True, max_size=7)


@given(VOTERS, st.sets(st.integers(1, 9)))
def test_a_majority_is_more_than_half(voters: list[int], members: set[int]) -> None:
    among = [voter for voter in voters if voter in members]
    assert has_majority(voters, members) is (2 * len(among) > len(voters))


@given(VOTERS, st.sets(st.integers(1, 9)))
def test_it_is_lost_when_the_rest_is_none(voters: list[int], against: set[int]) -> None:
    assert majority_lost(voters, against) is not has_majority(voters, set(voters) - against)


@given(VOTERS, st.lists(st.integers(0, 6), min_size=10, max_size=10))
def test_the_index_is_the_highest_that_a_majority_has(voters: list[int], match: list[int]) -> None:
    having = {index: {voter for voter in voters if match[voter] >= index} for index in range(7)}
    expected = max((index for index in having if has_majority(voters, having[index])), default=0)
    assert majority_index(voters, match.__getitem__) == expected


@given(VOTERS, st.integers(1, 9), st.data())
def test_majorities_of_sets_one_voter_apart_meet(voters: list[int], one: int, data: st.DataObject) -> None:
    """What makes one change at a time safe (dissertation, section 4.1)."""
    other = [voter for voter in voters if voter != one] if one in voters else [*voters, one]
    subsets = st.sets(st.integers(1, 9))
    left, right = data.draw(subsets), data.draw(subsets)
    if has_majority(voters, left & set(voters)) and has_majority(other, right & set(other)):
        assert left & right
