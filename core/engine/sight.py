"""The present view of all records, for whoever asks now and then, on any member."""

import logging
import time
from collections.abc import Callable

import trio

from core.client import Store
from core.client.errors import ClientError, CompactedError
from core.engine.mirror import Mirror
from core.sched import keys
from core.sched.view import View

log = logging.getLogger(__name__)

KEEP_SECONDS = 300.0
"""How long a mirror is kept up to date behind the last question."""
RETRY_SECONDS = 1.0
LOOK_SECONDS = 0.05
"""How often it is looked whether a mirror has come far enough, while nothing is told."""


class Sight:
    """The mirror of this member's engine where that leads. Elsewhere one of its own, which the first question has read
    (some tenths of a second of work for 10,000 units, in slices) and which then follows the changes for a while."""

    def __init__(
        self, store: Store, leading: Callable[[], Mirror | None], now: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self.leading = leading
        """The mirror of the engine here, if it leads."""
        self._now = now
        self._own: Mirror | None = None
        self._asked = trio.Event()
        self._kept = trio.CancelScope()

    async def run(self) -> None:
        """Keep a mirror while it is asked for; never returns."""
        while True:
            await self._asked.wait()
            self._asked = trio.Event()
            self._own = Mirror(self._store, lambda: None)
            try:
                with trio.move_on_after(KEEP_SECONDS) as self._kept:
                    await self._own.read()
                    await self._own.follow(lambda _: None)
            except CompactedError:
                log.info("changes of the records are no longer kept; they are read again when somebody asks")
            except ClientError as error:
                log.warning("the records cannot be read: %s", error)
                await trio.sleep(RETRY_SECONDS)
            finally:
                self._own = None

    async def view(self) -> View:
        """All that was written before this call, and maybe more: only to look at. It changes at the next checkpoint.
        ClientError."""
        least = (await self._store.range(keys.GENERATION, count_only=True)).revision
        while True:
            mirror = self.leading() or self._mine()
            if mirror is not None and mirror.complete >= least:
                for _ in mirror.view.take_in():
                    await trio.lowlevel.checkpoint()
                if mirror is self._own:
                    mirror.view.pass_over()
                    mirror.view.advance(int(self._now()))
                return mirror.view
            if mirror is None:
                await trio.sleep(LOOK_SECONDS)
                continue
            with trio.move_on_after(LOOK_SECONDS):
                await mirror.stirred()

    def _mine(self) -> Mirror | None:
        """The mirror of its own, for a while from now on."""
        self._kept.deadline = trio.current_time() + KEEP_SECONDS
        if self._own is None:
            self._asked.set()
        return self._own
