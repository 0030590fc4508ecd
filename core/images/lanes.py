"""The same work on many things, in several threads, with the results in order.

What takes time here (hashing, unpacking, reading and writing) lets go of the interpreter's lock, so that threads use
all processors. They belong to one call, and have ended when it returns or fails.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

THREADS = min(4, max(2, len(os.sched_getaffinity(0))))
"""One waits for the disk while another computes; more than four take memory and gain nothing."""

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    work: Callable[[_Item], _Result],
    items: Iterable[_Item],
    take: Callable[[_Result], object],
    threads: int = THREADS,
) -> None:
    """`take` the results of `work`, of which no more than twice as many are under way as there are threads.

    Items and results are taken in the caller's own thread. The first failure, of whichever of the three, is raised when
    what was begun has ended; what was not begun is left.
    """
    under_way: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                if len(under_way) >= 2 * threads:
                    take(under_way.popleft().result())
                under_way.append(pool.submit(work, item))
            while under_way:
                take(under_way.popleft().result())
        finally:
            for future in under_way:
                future.cancel()
