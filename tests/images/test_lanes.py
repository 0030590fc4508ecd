"""Work in several threads: in order, bounded, and at an end when it fails."""

import threading
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

    assert list(in_order(work, range(20), 2)) == list(range(20))


def test_no_more_is_taken_than_can_be_under_way() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = in_order(lambda item: item, items(), 2)
    assert next(results) == 0
    assert len(taken) == 5
    results.close()
    assert len(taken) == 5


def test_the_first_failure_ends_it_and_the_threads_end_with_it() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    before = threading.active_count()
    results = in_order(work, range(1000), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
    assert threading.active_count() == before


def test_one_thread_takes_items_in_the_caller_and_works_beside_it() -> None:
    threads = set()

    def items() -> Iterator[int]:
        threads.add(threading.current_thread())
        yield 1

    def work(_: int) -> threading.Thread:
        return threading.current_thread()

    (worker,) = in_order(work, items(), 1)
    assert threads == {threading.current_thread()}
    assert worker is not threading.current_thread()
