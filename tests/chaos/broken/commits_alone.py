"""The program with one fault: a leader acknowledges what it alone has saved."""

import sys
from collections.abc import Callable, Sequence

import cli
from core.raft import leader


def _highest(voters: Sequence[int], match: Callable[[int], int]) -> int:
    return max(map(match, voters))


if __name__ == "__main__":
    leader.majority_index = _highest  # type: ignore[attr-defined]
    sys.exit(cli.main())
