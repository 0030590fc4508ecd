"""A lease that is kept alive for as long as a block runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from core.client.errors import ClientError, LeaseLostError, LeaseNotFoundError, OutcomeUnknownError

if TYPE_CHECKING:
    from core.client.store import Store

RENEW_SHARE = 3
"""A lease is renewed each third of its time, so that two renewals may fail."""
RETRY_SECONDS = 0.2
LEAVE_SECONDS = 3.0
"""How long a cancelled block may take to give back what it holds. What it cannot give back ends with its lease."""


class Lease:
    """A lease that is being renewed."""

    def __init__(self, lease: int, ttl: int, asked: float) -> None:
        self.id = lease
        self.ttl = ttl
        """Seconds."""
        self.good_until = asked + ttl
        """Trio's time until which it lasts at the least: the server counts from a later moment than we do."""
        self.lost = trio.Event()
        """Set when it is lost; the block that holds it is cancelled then."""
        self.why = ""


@asynccontextmanager
async def held(store: "Store", ttl: int) -> AsyncIterator[Lease]:
    """Make a lease of `ttl` seconds, renew it while the block runs, revoke it at the end.

    If it is lost the block is cancelled, and LeaseLostError raised. Exceptions of the block come out as they are.
    """
    asked = trio.current_time()
    granted = await store.grant(ttl)
    lease = Lease(granted.id, granted.ttl, asked)
    failure: BaseException | None = None
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_renew, store, lease, nursery.cancel_scope)
            try:
                yield lease
            except trio.Cancelled:
                raise
            except BaseException as error:
                failure = error  # a nursery would wrap it
            nursery.cancel_scope.cancel()
    finally:
        if not lease.lost.is_set():
            await _give_back(store, lease)
    if lease.lost.is_set():
        raise LeaseLostError(lease.id, lease.why) from failure
    if failure is not None:
        raise failure


async def _renew(store: "Store", lease: Lease, block: trio.CancelScope) -> None:
    while True:
        await trio.sleep_until(lease.good_until - lease.ttl + lease.ttl / RENEW_SHARE)
        while True:
            asked = trio.current_time()
            why = "no answer"
            with trio.move_on_at(lease.good_until):
                try:
                    lease.good_until = asked + await store.keep_alive(lease.id, seconds=lease.ttl / RENEW_SHARE)
                    break
                except LeaseNotFoundError:
                    _lose(lease, "the server knows it no more", block)
                    return
                except ClientError as error:
                    why = str(error)
            if trio.current_time() + RETRY_SECONDS >= lease.good_until:
                _lose(lease, f"it could not be renewed for {lease.ttl} s ({why})", block)
                return
            await trio.sleep(RETRY_SECONDS)


def _lose(lease: Lease, why: str, block: trio.CancelScope) -> None:
    lease.why = why
    lease.lost.set()
    block.cancel()


async def _give_back(store: "Store", lease: Lease) -> None:
    """Revoke it, even when cancelled. Done twice it does no more than done once."""
    with trio.move_on_after(LEAVE_SECONDS, shield=True):
        while True:
            try:
                await store.revoke(lease.id)
            except OutcomeUnknownError:
                await trio.sleep(RETRY_SECONDS)
                continue
            except ClientError:
                pass  # it ends by itself
            return
