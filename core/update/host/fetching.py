"""Chunks from the cluster for an install: a few ahead of the one that is written, and no faster than allowed."""

from collections.abc import Iterable

import trio

from core.client.errors import ClientError
from core.client.images import Images
from core.images.manifest import Chunk, ImageError

AHEAD = 8
"""Chunks that are fetched or wait at a time; each has at most CHUNK_MAX bytes."""


class Pace:
    """No more than so many bytes a second on average; 0: as fast as it goes."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._next = 0.0

    async def spend(self, size: int) -> None:
        """Return when it is the turn of so many bytes."""
        if self._rate:
            begin = max(self._next, trio.current_time())
            self._next = begin + size / self._rate
            await trio.sleep_until(begin)


class _Fetched:
    """A chunk that was asked for ahead of time."""

    def __init__(self) -> None:
        self.done = trio.Event()
        self.data = b""
        self.failure: ClientError | None = None


class Ahead:
    """A `core.images.store.Source` for one thread, while the tasks of its nursery run on the loop."""

    def __init__(self, images: Images, pace: Pace, wanted: Iterable[Chunk], nursery: trio.Nursery) -> None:
        """`wanted`: what will be asked for, in this order. What is asked for besides is fetched then."""
        self._images = images
        self._pace = pace
        self._wanted = iter(wanted)
        self._nursery = nursery
        self._waiting: dict[str, _Fetched] = {}

    def read(self, chunk: Chunk) -> bytes:
        """In the thread. ImageError if nobody gives it."""
        try:
            return trio.from_thread.run(self._take, chunk)
        except ClientError as error:
            raise ImageError(str(error)) from None

    async def _take(self, chunk: Chunk) -> bytes:
        self._fill()
        found = self._waiting.pop(chunk.sha256, None)
        if found is None:
            return await self._fetch(chunk)
        await found.done.wait()
        if found.failure is not None:
            raise found.failure
        return found.data

    def _fill(self) -> None:
        while len(self._waiting) < AHEAD and (chunk := next(self._wanted, None)) is not None:
            fetched = self._waiting[chunk.sha256] = _Fetched()
            self._nursery.start_soon(self._fetch_ahead, chunk, fetched)

    async def _fetch_ahead(self, chunk: Chunk, fetched: _Fetched) -> None:
        try:
            fetched.data = await self._fetch(chunk)
        except ClientError as error:
            fetched.failure = error
        fetched.done.set()

    async def _fetch(self, chunk: Chunk) -> bytes:
        await self._pace.spend(chunk.stored)
        return await self._images.chunk(chunk)
