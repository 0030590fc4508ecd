"""One engine: it stands for election, and while it leads, it runs a term."""

import logging
import time
from collections.abc import Callable

import trio

from core.client import Leadership, Store
from core.client.errors import ClientError, CompactedError, NotLeadingError
from core.engine.figures import Figures
from core.engine.mirror import Mirror
from core.engine.term import LostTouchError, Past, Term
from core.engine.writer import WentBackError
from core.sched import keys

log = logging.getLogger(__name__)

TTL = 10
"""Seconds after which a dead leader is replaced."""
RETRY_SECONDS = 1.0
LONGEST_RETRY_SECONDS = 10.0


class Engine:
    """`run` it on every member; one of them leads at a time."""

    def __init__(
        self,
        store: Store,
        name: str,
        cluster: str,
        *,
        ttl: int = TTL,
        now: Callable[[], float] = time.time,
        term: type[Term] = Term,
    ) -> None:
        """`name` is what others see as the leader; `cluster` is the id of the cluster, for the first generation."""
        self._store = store
        self._value = name.encode()
        self._cluster = cluster
        self._ttl = ttl
        self._now = now
        self._term = term
        self._past = Past()
        self.mirror: Mirror | None = None
        """Of the present term."""
        self.figures = Figures()

    async def run(self) -> None:
        """Stand, lead, stand again; never returns. Cancelled, it resigns."""
        pause = RETRY_SECONDS
        while True:
            began = trio.current_time()
            try:
                async with self._store.election(keys.LEADER).campaign(self._value, ttl=self._ttl) as lead:
                    began = trio.current_time()
                    await self._lead(lead)
            except CompactedError:
                log.info("changes of the records are no longer kept; another term begins")
            except WentBackError as error:
                log.warning("%s; another term begins", error)
            except LostTouchError as error:
                log.info("%s; another term begins", error)
            except NotLeadingError as error:
                log.warning("%s", error)
            except ClientError as error:
                self.figures.engine_reconcile_failure_count_total += 1
                log.warning("the engine cannot work: %s", error)
            if trio.current_time() - began > LONGEST_RETRY_SECONDS:
                pause = RETRY_SECONDS
            await trio.sleep(pause)
            pause = min(pause * 2, LONGEST_RETRY_SECONDS)

    async def _lead(self, lead: Leadership) -> None:
        self.figures.engine_leader_start_time = self._now()
        log.info("this engine leads")
        term = self._term(self._store, lead.claim, self._value, self._cluster, self._past, self._now, self.figures)
        self.mirror = term.mirror
        try:
            await term.run()
        finally:
            self.mirror = None
            self.figures.engine_leader_start_time = 0.0
            self.figures.holding = ""
