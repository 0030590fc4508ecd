"""What clients did and saw, as the checker takes it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Operation:
    """One operation on one key. Times are of one monotonic clock, in any unit.

    `returned` is None where the outcome is unknown: it may take effect at any time after `called`, or never. Whoever
    knows that it did not take effect leaves it out of the history.
    """

    client: int
    key: str
    kind: str
    argument: Any
    result: Any
    called: float
    returned: float | None

    def __str__(self) -> str:
        until = "?" if self.returned is None else f"{self.returned:.4f}"
        answer = "unknown" if self.returned is None else self.result
        return f"{self.called:.4f}..{until} client {self.client} {self.key} {self.kind} {self.argument} -> {answer}"


def unknown(operation: Operation) -> Operation:
    """The same with its outcome forgotten."""
    return replace(operation, result=None, returned=None)


def by_key(operations: Iterable[Operation]) -> dict[str, list[Operation]]:
    """A history is linearizable if and only if the part of each key is (Herlihy and Wing, locality)."""
    found: dict[str, list[Operation]] = {}
    for operation in operations:
        found.setdefault(operation.key, []).append(operation)
    return found
