"""Work in several threads: in order, bounded, and at an end when it fails."""

import threading
import time
from collections.abc import Iterator

import pytest

from core.images.lanes import in_order


def test_results_come_in_the_order_of_items() -> None:
    first_may_end = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert first_may_end.wait(10)
        if item == 1:
            first_may_end.set()
        return item

    found: list[int] = []
    in_order(work, range(20), found.append, 2)
    assert found == list(range(20))


def test_no_more_is_taken_than_can_be_under_way() -> None:
    ahead: list[int] = []
    given, done = 0, 0

    def items() -> Iterator[int]:
        nonlocal given
        for item in range(100):
            given += 1
            ahead.append(given - done)
            yield item

    def take(_: int) -> None:
        nonlocal done
        done += 1

    in_order(lambda item: item, items(), take, 2)
    assert (done, max(ahead)) == (100, 5)


@pytest.mark.parametrize("place", ["work", "items", "take"])
def test_after_the_first_failure_nothing_goes_on(place: str) -> None:
    """Whoever catches it may close what the threads wrote to."""
    working = 0
    found: list[int] = []
    lock = threading.Lock()

    def fail(where: str, item: int) -> None:
        if where == place and item == 3:
            raise ValueError("three")

    def items() -> Iterator[int]:
        for item in range(1000):
            fail("items", item)
            yield item

    def work(item: int) -> int:
        nonlocal working
        with lock:
            working += 1
        time.sleep(0.01)  # so that others are under way when one fails
        with lock:
            working -= 1
        fail("work", item)
        return item

    def take(item: int) -> None:
        fail("take", item)
        found.append(item)

    before = threading.active_count()
    with pytest.raises(ValueError, match="three"):
        in_order(work, items(), take, 2)
    assert working == 0
    assert found in ([], [0], [0, 1], [0, 1, 2])
    assert threading.active_count() == before


def test_one_thread_takes_items_in_the_caller_and_works_beside_it() -> None:
    taken_by = set()
    workers: list[threading.Thread] = []

    def items() -> Iterator[int]:
        taken_by.add(threading.current_thread())
        yield 1

    def work(_: int) -> threading.Thread:
        return threading.current_thread()

    in_order(work, items(), workers.append, 1)
    assert taken_by == {threading.current_thread()}
    assert workers[0] is not threading.current_thread()
