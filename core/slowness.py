"""Naming the cause when something was slow: the disk, the processors, a peer, or this program's own loop."""

import logging
import time
from enum import StrEnum
from pathlib import Path

import msgspec
import trio

log = logging.getLogger(__name__)

INTERVAL_SECONDS = 0.1
LIMIT_SECONDS = 0.2


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
