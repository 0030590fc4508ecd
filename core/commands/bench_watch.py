"""The load of `corenode bench watch`: one writer, and watchers that measure when each of its values arrives."""

import re
import time
from base64 import b64decode
from collections.abc import Iterator

import trio

from core.commands.bench_connection import LostError, NotConnectedError
from core.commands.bench_load import Sender, Tally, Turns, Ways
from core.commands.bench_requests import V2, Requests

_DIGITS = 12
_VALUE = re.compile(rb'"value":"([^"]*)"')
_PROBE = "probe"
_PROBE_SECONDS = 0.1


class Watching:
    """Watchers of one key, and its writer. Without a rate a put waits until all have the event of the one before."""

    def __init__(self, ways: Ways, patience: float, requests: Requests, tally: Tally) -> None:
        self._ways, self._patience, self._requests, self._tally = ways, patience, requests, tally
        self._writes = Tally()
        self._writer = Sender(ways, patience, self._writes)
        self._open = 0
        self._due: list[float] = []
        """Of each put, by its number."""
        self._puts = 0
        """Those that were done."""
        self._expected = 0
        """Events of these puts, for all watchers that were open."""
        self._caught_up = trio.Event()

    async def run(self, watchers: int, turns: Turns) -> None:
        """Put until the turns end. The tally has the events, and every put that failed."""
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(watchers):
                    nursery.start_soon(self._watch)
                await self._until_open(watchers)
                turns.begin()
                begun = time.perf_counter()
                try:
                    await self._write(turns)
                finally:
                    self._tally.seconds = time.perf_counter() - begun
                nursery.cancel_scope.cancel()
        finally:
            await self._writer.aclose()
            self._tally.failed.update(self._writes.failed)
            self._tally.unknown.update(self._writes.unknown)
        if self._tally.done < self._expected:
            self._tally.failed["event missing"] += self._expected - self._tally.done

    async def _until_open(self, watchers: int) -> None:
        """Puts that do not count, until each watcher has seen one."""
        with trio.move_on_after(self._patience):
            while self._open < watchers - self._tally.failed.total():
                await self._writer.send(self._requests.watched(_PROBE), time.perf_counter())
                await trio.sleep(_PROBE_SECONDS)
        if self._open + self._tally.failed.total() < watchers:
            self._tally.failed[f"watch not open within {self._patience:g} s"] += watchers - self._open

    async def _write(self, turns: Turns) -> None:
        while (due := await turns.next()) is not None:
            number = len(self._due)
            self._due.append(due)
            if await self._writer.send(self._requests.watched(f"{number:0{_DIGITS}}"), due):
                self._puts += 1
                self._expected += self._open
            if turns.closed:
                await self._until_caught_up()
        await self._until_caught_up()

    async def _until_caught_up(self) -> None:
        with trio.move_on_after(self._patience):
            while self._tally.done < self._expected:
                self._caught_up = trio.Event()
                await self._caught_up.wait()

    async def _watch(self) -> None:
        """One watcher."""
        own = 0
        is_open = False
        try:
            talk = await self._ways.open()
        except NotConnectedError as error:
            self._tally.failed[f"no connection: {error}"] += 1
            return
        try:
            async for line in talk.stream(self._requests.watch()):
                now = time.perf_counter()
                for value in self._values(line):
                    if not is_open:
                        is_open = True
                        self._open += 1
                    if value[:_DIGITS].isdigit():
                        own += 1
                        self._tally.done += 1
                        self._tally.latencies.add(now - self._due[int(value[:_DIGITS])])
                if self._tally.done >= self._expected:
                    self._caught_up.set()
        except LostError as error:
            self._tally.failed[f"watch lost: {error}"] += 1
            if is_open:
                self._open -= 1
                self._expected -= self._puts - own
                self._caught_up.set()
        finally:
            await talk.aclose()

    def _values(self, line: bytes) -> Iterator[bytes]:
        """Of the events in a message: one in v2, where a second value is that before; in v3 any number."""
        found = _VALUE.findall(line)
        if self._requests.dialect == V2:
            yield from found[:1]
        else:
            yield from map(b64decode, found)
