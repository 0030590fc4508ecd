"""Naming the cause when something was slow: the disk, the processors, a peer, or this program's own loop; and counting
how long the loop is held."""

import logging
import time
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec
import trio

from core.api.figures import Figure
from core.node.latency import Latency

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.1
LIMIT_SECONDS = 0.2
HOLD_SECONDS = 0.005
"""What keeps the loop for less than this is no hold."""
WINDOW_SECONDS = 60.0
"""The longest hold is remembered at least so long, so that no scrape misses it, and at most twice as long."""


class Cause(StrEnum):
    """Who kept us waiting."""

    DISK = "disk"
    CPU = "cpu"
    """The processors were busy with others, or this process was stopped."""
    PEER = "peer"
    LOOP = "loop"
    """This program's own code ran for too long without yielding."""


_WORDS = {
    Cause.DISK: "the disk is slow",
    Cause.CPU: "the processors are busy",
    Cause.PEER: "a peer is slow",
    Cause.LOOP: "own work held up the loop",
}


def report(cause: Cause, what: str, seconds: float, limit: float, **more: object) -> None:
    """Warn that `what` took `seconds`, if that is more than `limit`; `more` are further fields, such as the peer."""
    if seconds > limit:
        extra = {"cause": cause, "what": what, "ms": round(seconds * 1e3), "limit_ms": round(limit * 1e3)}
        log.warning(_WORDS[cause], extra={**extra, **more})


class Usage(msgspec.Struct, frozen=True):
    """Where this thread's time went so far, in seconds."""

    running: float
    waiting: float
    """Ready to run, but no processor was free."""


def usage() -> Usage:
    """From the scheduler's own account of this thread, or without the waiting where the kernel keeps none."""
    try:
        running, waiting, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except (OSError, ValueError):
        return Usage(time.thread_time(), 0.0)
    return Usage(int(running) / 1e9, int(waiting) / 1e9)


def diagnose(late: float, ran: float, waited: float) -> Cause:
    """Why a loop was `late` seconds, of which its thread ran and waited for a processor so long.

    What is left was sleep inside a blocking call; the loop makes only disk calls that block.
    """
    slept = max(late - ran - waited, 0.0)
    return max(((ran, Cause.LOOP), (waited, Cause.CPU), (slept, Cause.DISK)), key=lambda pair: pair[0])[1]


async def watch_loop(limit: float = LIMIT_SECONDS) -> None:
    """Run beside everything else and warn, with the cause, when the loop came late by more than `limit` seconds."""
    while True:
        before, start = usage(), time.monotonic()
        await trio.sleep(INTERVAL_SECONDS)
        late = time.monotonic() - start - INTERVAL_SECONDS
        if late > limit:
            after = usage()
            ran, waited = after.running - before.running, after.waiting - before.waiting
            more = {"ran_ms": round(ran * 1e3), "waited_ms": round(waited * 1e3)}
            report(diagnose(late, ran, waited), "loop", late, limit, **more)


class Longest:
    """The largest of what was added lately."""

    def __init__(self) -> None:
        self._since = -WINDOW_SECONDS
        self._now = self._before = 0.0

    def add(self, seconds: float, now: float) -> None:
        """Count one."""
        self._turn(now)
        self._now = max(self._now, seconds)

    def seen(self, now: float) -> float:
        """In the last WINDOW_SECONDS, and some before."""
        self._turn(now)
        return max(self._now, self._before)

    def _turn(self, now: float) -> None:
        if now - self._since >= WINDOW_SECONDS:
            self._before = self._now if now - self._since < 2 * WINDOW_SECONDS else 0.0
            self._now, self._since = 0.0, now


class Holds(trio.abc.Instrument):
    """Measures each pass of the loop, from where it learns what has come to where it looks again: nothing else is
    served meanwhile. To be added to the loop as an instrument.

    A long pass on the wall may be the machine's doing; the processor time of its thread is the program's own. That is
    read at most every HOLD_SECONDS, since it costs a system call, so a hold shows up to so much too much of it.
    """

    def __init__(self) -> None:
        self.wall, self.processor = Latency(), Latency()
        self._longest_wall, self._longest_processor = Longest(), Longest()
        self._began = self._read = time.perf_counter()
        self._used = time.thread_time()

    def after_io_wait(self, timeout: float) -> None:
        """A pass begins."""
        now = self._began = time.perf_counter()
        if now - self._read > HOLD_SECONDS:
            self._read = now
            self._used = time.thread_time()

    def before_io_wait(self, timeout: float) -> None:
        """A pass has ended."""
        now = time.perf_counter()
        wall = now - self._began
        if wall > HOLD_SECONDS:
            before, self._used = self._used, time.thread_time()
            self._read = now
            processor = min(self._used - before, wall)
            self.wall.observe(int(wall * 1e9))
            self.processor.observe(int(processor * 1e9))
            self._longest_wall.add(wall, now)
            self._longest_processor.add(processor, now)

    def figures(self) -> Iterator[Figure]:
        """What `/metrics` shows of them."""
        now = time.perf_counter()
        for kind, counted, longest in (
            ("wall", self.wall, self._longest_wall),
            ("processor", self.processor, self._longest_processor),
        ):
            labels = {"time": kind}
            text = f"Passes of the loop longer than {HOLD_SECONDS * 1e3:g} ms, each by both clocks."
            yield Figure("corenode_loop_hold_duration_seconds", text, counted, labels=labels)
            text = f"The longest of the last {WINDOW_SECONDS:g} s or somewhat more."
            yield Figure("corenode_loop_hold_longest_seconds", text, longest.seen(now), labels=labels)
