"""Keeps snapshot and timestamp from expiring: signed anew when half of their life is over, by one member for all."""

import logging
from collections.abc import Awaitable, Callable
from datetime import datetime

import trio

from core.client import Compare, Put, Store
from core.client.errors import ClientError
from core.depot import catalogue as records
from core.depot.catalogue import SERVED, Catalogue
from core.depot.keeper import Keeper
from core.depot.signing import FALLBACK, HALF, KeyFiles, Keyring, due, opened, renewed
from core.images.manifest import ImageError
from core.trust.errors import TrustError

LOOK_SECONDS = 60.0

log = logging.getLogger(__name__)


class Resigner:
    """`run` is a task of every member. The leader signs at half of the life; any other that has the keys, later. One
    transaction decides whose signature counts, so two at the same time do no harm."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        keyring: Keyring,
        leads: Callable[[], bool],
        others: Callable[[], Awaitable[KeyFiles | None]],
        now: Callable[[], datetime],
    ) -> None:
        """`leads`: whether this member leads the cluster; `others` asks the other members for the keys."""
        self._store = store
        self._keeper = keeper
        self._keyring = keyring
        self._leads = leads
        self._others = others
        self._now = now
        self.trouble = ""
        """Why nothing is signed although it is due; empty: all is well."""

    async def run(self) -> None:
        """Never returns."""
        while True:
            try:
                await self.look()
                self.trouble = ""
            except (ClientError, TrustError, ImageError, OSError) as error:
                if str(error) != self.trouble:
                    log.warning("the metadata of images cannot be signed anew: %s", error)
                self.trouble = str(error)
            with trio.move_on_after(LOOK_SECONDS):
                await self._keeper.change()

    async def look(self) -> bool:
        """Get keys that are missing, and sign if it is due; whether it did. TrustError, ImageError, ClientError,
        OSError."""
        served, revision = self._keeper.served, self._keeper.served_revision
        if not served.roots:
            return False
        keeps = await trio.to_thread.run_sync(self._keeps, served)
        if not keeps:
            given = await self._others()
            if given is not None:
                await trio.to_thread.run_sync(self._keyring.take, given)
        moment = due(served, HALF if self._leads() else FALLBACK)
        if moment is None or self._now() < moment:
            return False
        fresh = await trio.to_thread.run_sync(self._signed, served)
        compare = Compare(SERVED, "mod", "=", revision)
        done = await self._store.txn([compare], [Put(SERVED, records.encode(fresh))])
        if done.succeeded:
            log.info("snapshot and timestamp were signed anew", extra={"version": fresh.timestamp_version})
        return done.succeeded

    def _keeps(self, served: Catalogue) -> bool:
        return self._keyring.suffices(opened(self._keeper.shelf, served).root)

    def _signed(self, served: Catalogue) -> Catalogue:
        signed = opened(self._keeper.shelf, served)
        return renewed(served, signed, self._keyring.signers(signed.root), self._now())
