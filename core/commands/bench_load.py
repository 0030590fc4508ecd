"""The load of `corenode bench`: connections that send request after request, and what came of them."""

import math
import ssl
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.commands.bench_connection import LostError, NotConnectedError, Talk, connect
from core.commands.bench_requests import Request

_BUCKETS_A_FACTOR = 100
"""Of e: neighbouring buckets are 1 % apart."""
_RETRY_SECONDS = 0.1
_REFUSALS = (503, 507)
"""No leader, a full queue, a full disk: nothing was done. Behind any other 5xx a write may still take effect."""


class Latencies:
    """Durations in buckets 1 % apart: as small for a day as for a second."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self._count = 0
        self.longest = 0.0

    def add(self, seconds: float) -> None:
        self._buckets[round(math.log(max(seconds, 1e-6)) * _BUCKETS_A_FACTOR)] += 1
        self._count += 1
        self.longest = max(self.longest, seconds)

    def quantile(self, part: float) -> float:
        """Seconds that this part of all did not exceed; 0 if there are none."""
        left = part * self._count
        for bucket in sorted(self._buckets):
            left -= self._buckets[bucket]
            if left <= 0:
                return min(math.exp(bucket / _BUCKETS_A_FACTOR), self.longest)
        return self.longest


class Tally:
    """What came of a load."""

    def __init__(self) -> None:
        self.done = 0
        """Answers that say success; of watches, events."""
        self.failed: Counter[str] = Counter()
        """Requests of which it is known that they did nothing, by the reason."""
        self.unknown: Counter[str] = Counter()
        """Writes without an answer: they may have been done."""
        self.latencies = Latencies()
        self.seconds = 0.0

    @property
    def rate(self) -> float:
        return self.done / self.seconds if self.seconds else 0.0


class Limit(NamedTuple):
    """When it ends, and how fast it goes."""

    requests: int | None
    seconds: float | None
    rate: float | None
    """Requests a second; without it each connection sends its next request when the last was answered."""


class Ways:
    """The endpoints, one after the other for each new connection."""

    def __init__(self, endpoints: Sequence[Endpoint], tls: ClientCredentials | None) -> None:
        self._endpoints = list(endpoints)
        self._tls = tls
        self._next = 0

    async def open(self) -> Talk:
        """A connection. NotConnectedError."""
        endpoint = self._endpoints[self._next % len(self._endpoints)]
        self._next += 1
        return await connect(endpoint, self._context(endpoint))

    def _context(self, endpoint: Endpoint) -> ssl.SSLContext | None:
        return self._tls.context() if self._tls is not None and endpoint.secure else None


class Turns:
    """When the next request is due. With a rate this does not wait for answers: who is late is measured from there."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self.closed = limit.rate is None
        self._given = 0
        self.begin()

    def begin(self) -> None:
        """Count the time from now on."""
        self._begun = time.perf_counter()

    async def next(self) -> float | None:
        """The time from which the next request counts; None at the end."""
        limit = self._limit
        if limit.requests is not None and self._given >= limit.requests:
            return None
        now = time.perf_counter()
        due = now if limit.rate is None else self._begun + self._given / limit.rate
        if limit.seconds is not None and max(due, now) - self._begun >= limit.seconds:
            return None
        self._given += 1
        if due > now:
            await trio.sleep(due - now)
        return due


class Sender:
    """A connection, and another one when it broke; what comes of each request goes into a tally."""

    def __init__(self, ways: Ways, patience: float, tally: Tally) -> None:
        """`patience`: seconds that a request may take."""
        self._ways, self._patience, self._tally = ways, patience, tally
        self._talk: Talk | None = None

    async def send(self, request: Request, due: float) -> bool:
        """One request, whose time counts from `due`; whether it was done."""
        try:
            self._talk = talk = self._talk or await self._ways.open()
        except NotConnectedError as error:
            self._tally.failed[f"no connection: {error}"] += 1
            await trio.sleep(_RETRY_SECONDS)
            return False
        try:
            with trio.fail_after(self._patience):
                status, _ = await talk.ask(request.data)
        except (LostError, trio.TooSlowError) as error:
            why = str(error) or f"no answer within {self._patience:g} s"
            (self._tally.unknown if request.writes else self._tally.failed)[why] += 1
            await self.aclose()
            return False
        if status in (200, 201):
            self._tally.done += 1
            self._tally.latencies.add(time.perf_counter() - due)
        elif request.writes and status >= 500 and status not in _REFUSALS:
            self._tally.unknown[f"status {status}"] += 1
        else:
            self._tally.failed[f"status {status}"] += 1
        if talk.closed:
            await self.aclose()
        return status in (200, 201)

    async def aclose(self) -> None:
        """Close the connection, if there is one."""
        if self._talk is not None:
            talk, self._talk = self._talk, None
            await talk.aclose()


async def load(
    ways: Ways, patience: float, connections: int, turns: Turns, following: Callable[[], Request | None], tally: Tally
) -> None:
    """Connections that share turns, until these or the requests end."""

    async def converse() -> None:
        sender = Sender(ways, patience, tally)
        try:
            while (due := await turns.next()) is not None and (request := following()) is not None:
                await sender.send(request, due)
        finally:
            await sender.aclose()

    begun = time.perf_counter()
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(connections):
                nursery.start_soon(converse)
    finally:
        tally.seconds = time.perf_counter() - begun
