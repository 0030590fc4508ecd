"""Is there an order of these operations, each between its call and its return, that a single copy could have had?

The method is Lowe's just-in-time form of Wing and Gong's search ("Testing for linearizability", 2017). Events are taken
by time. A configuration is a state and the set of operations under way that have taken effect in it. A call puts an
operation under way. A return wants it to have taken effect: configurations in which it has not are carried on by every
order of operations under way that ends with it; those that cannot be are dropped. No configuration left: not
linearizable.

Equal configurations are merged, which is the memo. Operations with unknown outcome stay under way to the end and never
have to take effect, so of two configurations that are otherwise equal the one in which fewer of them have is as good:
only that is kept. And an operation that may take effect now and changes nothing, such as a read, does so at once: later
it would at best do the same. Without these two the work would double with each operation under way.
"""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

from tests.chaos.history import Operation, by_key
from tests.chaos.models import Model, Specify

LIMIT = 1_000_000
"""Steps of the model a key may take; beyond, nothing was decided."""


class UndecidedError(Exception):
    """The search was given up: the history has too many operations at once."""


@dataclass(frozen=True)
class Violation:
    """A key whose history no single copy could have had."""

    key: str
    at: Operation
    """The first operation whose result cannot be explained, in order of return."""
    states: tuple[Hashable, ...]
    """What the key could have held before."""

    def __str__(self) -> str:
        return f"{self.key} is not linearizable: {self.at}; possible before it: {list(self.states)[:5]}"


def check(history: Iterable[Operation], specify: Specify, initial: Hashable, limit: int = LIMIT) -> list[Violation]:
    """Every key that is not linearizable; UndecidedError if that cannot be told of one."""
    found = [_Search(operations, specify(operations), limit).run(initial) for operations in by_key(history).values()]
    return [violation for violation in found if violation is not None]


class _Search:
    """The search over the history of one key."""

    def __init__(self, operations: Sequence[Operation], model: Model, limit: int) -> None:
        self._operations = operations
        self._model = model
        self._left = limit
        self._under_way: set[int] = set()
        self._optional = 0
        """The bits of the operations under way that need not take effect."""

    def run(self, initial: Hashable) -> Violation | None:
        # At equal times calls come first: that allows more orders, so it accuses nobody wrongly.
        events = [(each.called, 0, number) for number, each in enumerate(self._operations)]
        events += [(each.returned, 1, n) for n, each in enumerate(self._operations) if each.returned is not None]
        configurations: set[tuple[Hashable, int]] = {(initial, 0)}
        for _, returns, number in sorted(events):
            if not returns:
                self._under_way.add(number)
                if self._operations[number].returned is None:
                    self._optional |= 1 << number
                continue
            carried = self._until_done(configurations, number)
            if not carried:
                states = tuple(sorted({state for state, _ in configurations}, key=repr))
                return Violation(self._operations[number].key, self._operations[number], states)
            self._under_way.discard(number)
            configurations = self._least({(state, done & ~(1 << number)) for state, done in carried})
        return None

    def _until_done(self, configurations: set[tuple[Hashable, int]], number: int) -> set[tuple[Hashable, int]]:
        """Carry on until operation `number` has taken effect in each; few unknown outcomes before many."""
        wanted = 1 << number
        found: set[tuple[Hashable, int]] = set()
        seen = _Seen(self._optional)
        waiting: list[list[tuple[Hashable, int]]] = [[] for _ in range(self._optional.bit_count() + 1)]
        for each in configurations:
            each = self._settled(*each)
            (found.add if each[1] & wanted else waiting[self._unknown_in(each[1])].append)(each)
        for level in waiting:
            while level:
                state, done = level.pop()
                if not seen.is_new(state, done):
                    continue
                for other in self._under_way:
                    if done >> other & 1:
                        continue
                    for following in self._steps(state, other):
                        reached = self._settled(following, done | 1 << other)
                        (found.add if reached[1] & wanted else waiting[self._unknown_in(reached[1])].append)(reached)
        return found

    def _settled(self, state: Hashable, done: int) -> tuple[Hashable, int]:
        """With all in it that is known and may take effect in this state without changing it."""
        for other in self._under_way:
            if not (done | self._optional) >> other & 1 and state in self._steps(state, other):
                done |= 1 << other
        return state, done

    def _unknown_in(self, done: int) -> int:
        return (done & self._optional).bit_count()

    def _steps(self, state: Hashable, number: int) -> Iterable[Hashable]:
        self._left -= 1
        if self._left < 0:
            raise UndecidedError(f"{self._operations[number].key}: more than is possible to search")
        each = self._operations[number]
        return self._model(state, each.kind, each.argument, each.result, each.returned is not None)

    def _least(self, configurations: set[tuple[Hashable, int]]) -> set[tuple[Hashable, int]]:
        seen = _Seen(self._optional)
        return {
            each for each in sorted(configurations, key=lambda each: self._unknown_in(each[1])) if seen.is_new(*each)
        }


class _Seen:
    """Configurations that were seen, those with few unknown outcomes in them first."""

    def __init__(self, optional: int) -> None:
        self._optional = optional
        self._kept: dict[tuple[Hashable, int], list[int]] = {}

    def is_new(self, state: Hashable, done: int) -> bool:
        """Whether none was seen that is the same with these unknown outcomes in it or fewer; it is seen now."""
        kept = self._kept.setdefault((state, done & ~self._optional), [])
        optional = done & self._optional
        if any(less & ~optional == 0 for less in kept):
            return False
        kept.append(optional)
        return True
