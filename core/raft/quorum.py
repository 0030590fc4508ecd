"""The calculations that must not be wrong: majorities."""

from collections.abc import Callable, Collection, Iterable, Sequence


def has_majority(voters: Sequence[int], members: Collection[int]) -> bool:
    """Whether more than half of `voters` are among `members`."""
    return sum(voter in members for voter in voters) > len(voters) // 2


def majority_lost(voters: Sequence[int], against: Iterable[int]) -> bool:
    """Whether those not in `against` can no longer be a majority."""
    opposed = set(against)
    return not has_majority(voters, [voter for voter in voters if voter not in opposed])


def majority_index(voters: Sequence[int], match: Callable[[int], int]) -> int:
    """The highest index that a majority of `voters` has; 0 without voters."""
    if len(voters) == 1:
        return match(voters[0])
    matches = sorted(map(match, voters), reverse=True)
    return matches[len(voters) // 2] if matches else 0
