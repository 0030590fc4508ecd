"""The clients: registers, compare-and-swap, lists and watches, against whichever node chance gives them.

Each key lives for one round only, so a history is short enough to be judged. Every value is written once.
"""

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

import trio

from tests.chaos.cluster import CLIENT_PORT, Node
from tests.chaos.history import Operation
from tests.chaos.requests import Answer, Connection, LostError, NotSentError
from tests.chaos.watches import Seen

SECONDS = 1.5
"""How long a client waits for an answer; then it does not know."""
SILENCE_SECONDS = 2.5
"""How long a watcher hears nothing before it asks another node: somebody writes all the time."""
CELLS, LISTS = 6, 3
"""Keys a round."""
PACE_SECONDS = 0.03
BACK_OFF_SECONDS = 0.1


@dataclass
class Record:
    """What the clients of one round did and saw."""

    directory: str
    operations: list[Operation] = field(default_factory=list)
    written: list[Seen] = field(default_factory=list)
    """Acknowledged, as watchers must see it."""
    possible: set[str] = field(default_factory=set)
    """Every value that was ever sent."""
    watched: list[list[Seen]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    """What a client knew to be wrong at once."""
    refused: int = 0
    """Operations of which the node said that they were not carried out."""
    terms: set[int] = field(default_factory=set)
    """Raft terms in which something was acknowledged."""
    resumed: int = 0
    """Watches that went on at another node."""
    last_write: float = 0.0
    silence: float = 0.0
    """The longest time in which nothing was acknowledged to anybody."""

    @property
    def unknown(self) -> int:
        return sum(each.returned is None for each in self.operations)

    def acknowledged(self, answer: Answer) -> None:
        """A write was: note the term, and for how long none was before."""
        self.terms.add(int(answer.headers.get("x-raft-term", "0")))
        self.breathe()

    def breathe(self) -> None:
        """End a silence."""
        now = time.monotonic()
        if self.last_write:
            self.silence = max(self.silence, now - self.last_write)
        self.last_write = now


class Client:
    """One client: one operation after the other, each at a node chosen by chance."""

    def __init__(self, number: int, nodes: list[Node], record: Record, random: Random) -> None:
        self.number = number
        self._nodes = nodes
        self._record = record
        self._random = random
        self._serial = 0
        self._connections: dict[int, Connection] = {}
        self._known: dict[str, tuple[str, int]] = {}
        """What it last saw of a key: value and index, for its comparisons."""

    async def run(self, stop: trio.Event) -> None:
        """Work until told to stop; what is under way is finished."""
        actions: list[Callable[[str], Awaitable[bool]]] = [self.read, self.write, self.swap_value, self.swap_index]
        try:
            while not stop.is_set():
                if self._random.random() < 0.75:
                    done = await self._random.choice(actions)(f"cell-{self._random.randrange(CELLS)}")
                else:
                    action = self.append if self._random.random() < 0.7 else self.list
                    done = await action(f"list-{self._random.randrange(LISTS)}")
                await trio.sleep(self._random.uniform(0, 2 * PACE_SECONDS) + (0 if done else BACK_OFF_SECONDS))
        finally:
            for connection in self._connections.values():
                connection.close()

    # Each returns whether it was answered.

    async def read(self, key: str) -> bool:
        answer, called = await self._ask("GET", key, "?quorum=true")
        if answer is None or answer.status not in (200, 404):
            return self._unanswered(answer, key, "read", None, None)
        found = _cell_of(answer)
        if found[0] is not None:
            self._known[key] = found[0], found[1]
        return self._done(key, "read", None, found, called)

    async def write(self, key: str) -> bool:
        value = self._value()
        answer, called = await self._ask("PUT", key, "", {"value": value})
        if answer is None or answer.status not in (200, 201):
            return self._unanswered(answer, key, "write", value, called)
        return self._wrote(key, "write", value, answer, called, value)

    async def swap_value(self, key: str) -> bool:
        old = self._known.get(key, ("never", 0))[0]
        return await self._swap(key, "cas_value", old, {"prevValue": old})

    async def swap_index(self, key: str) -> bool:
        old = self._known.get(key, ("never", 1))[1]
        return await self._swap(key, "cas_index", old, {"prevIndex": str(old)})

    async def _swap(self, key: str, kind: str, old: str | int, condition: dict[str, str]) -> bool:
        value = self._value()
        answer, called = await self._ask("PUT", key, "", {"value": value, **condition})
        if answer is None or answer.status not in (200, 404, 412):
            return self._unanswered(answer, key, kind, (old, value), called)
        if answer.status != 200:
            return self._done(key, kind, (old, value), None, called)
        return self._wrote(key, kind, (old, value), answer, called, value)

    async def append(self, key: str) -> bool:
        value = self._value()
        answer, called = await self._ask("POST", key, "", {"value": value})
        if answer is None or answer.status != 201:
            return self._unanswered(answer, key, "append", value, called)
        node = answer.json["node"]
        self._record.acknowledged(answer)
        self._record.written.append(Seen(node["modifiedIndex"], node["key"], value, "create"))
        return self._done(key, "append", value, None, called)

    async def list(self, key: str) -> bool:
        answer, called = await self._ask("GET", key, "?quorum=true&sorted=true&recursive=true")
        if answer is None or answer.status not in (200, 404):
            return self._unanswered(answer, key, "read", None, None)
        nodes = answer.json["node"].get("nodes", []) if answer.status == 200 else []
        return self._done(key, "read", None, tuple(node["value"] for node in nodes), called)

    # What came of it

    async def _ask(
        self, method: str, key: str, query: str, form: dict[str, str] | None = None
    ) -> tuple[Answer | None, float]:
        """The answer, if one came; and when it was asked for. Not sent: as if it was refused."""
        node = self._random.choice(self._nodes)
        connection = self._connections.setdefault(node.number, Connection(node.host, CLIENT_PORT))
        called = time.monotonic()
        try:
            target = f"/v2/keys{self._record.directory}/{key}{query}"
            return await connection.ask(method, target, form, seconds=SECONDS), called
        except NotSentError:
            return Answer(503, {}, b""), called
        except LostError:
            return None, called

    def _unanswered(self, answer: Answer | None, key: str, kind: str, argument: Any, called: float | None) -> bool:
        """A write of which nobody knows is kept (`called` says when); a read of which nobody knows says nothing."""
        if answer is not None and answer.refused:
            self._record.refused += 1
        elif answer is not None and answer.status != 504:
            self._record.violations.append(f"{kind} {key} {argument}: status {answer.status}: {answer.body[:300]!r}")
        elif called is not None:
            path = f"{self._record.directory}/{key}"
            self._record.operations.append(Operation(self.number, path, kind, argument, None, called, None))
        return False

    def _wrote(self, key: str, kind: str, argument: Any, answer: Answer, called: float, value: str) -> bool:
        node = answer.json["node"]
        index = node["modifiedIndex"]
        self._known[key] = value, index
        self._record.acknowledged(answer)
        self._record.written.append(Seen(index, node["key"], value, answer.json["action"]))
        return self._done(key, kind, argument, index, called)

    def _done(self, key: str, kind: str, argument: Any, result: Any, called: float) -> bool:
        path = f"{self._record.directory}/{key}"
        now = time.monotonic()
        self._record.operations.append(Operation(self.number, path, kind, argument, result, called, now))
        return True

    def _value(self) -> str:
        self._serial += 1
        value = f"{self._record.directory[-4:]}-{self.number}-{self._serial}"
        self._record.possible.add(value)
        return value


def _cell_of(answer: Answer) -> tuple[str | None, int]:
    if answer.status == 404:
        return None, 0
    node = answer.json["node"]
    return node["value"], node["modifiedIndex"]


class Watcher:
    """Follows a directory from its first index on, at one node after the other, by long polls or by streams."""

    def __init__(self, nodes: list[Node], record: Record, first: int, random: Random, *, streams: bool) -> None:
        self.next = first
        """The index it asks for next."""
        self._nodes = nodes
        self._record = record
        self._random = random
        self._streams = streams
        self._seen: list[Seen] = []
        record.watched.append(self._seen)

    async def run(self, until: Callable[[], int]) -> None:
        """Watch until all up to the index that `until` gives are seen; 0: not known yet."""
        while not self._is_done(until()):
            node = self._random.choice(self._nodes)
            connection = Connection(node.host, CLIENT_PORT)
            try:
                await (self._stream if self._streams else self._poll)(connection, until)
            except (NotSentError, LostError):
                self._record.resumed += 1
                await trio.sleep(0.02)
            finally:
                connection.close()

    def _is_done(self, last: int) -> bool:
        return bool(last) and self.next > last

    async def _poll(self, connection: Connection, until: Callable[[], int]) -> None:
        while not self._is_done(until()):
            answer = await connection.ask("GET", self._target(""), seconds=SILENCE_SECONDS)
            if answer.refused:
                raise LostError("refused")
            if not answer.body:
                continue  # the answer ended without an event: ask again
            self._take(answer.status, answer.json)

    async def _stream(self, connection: Connection, until: Callable[[], int]) -> None:
        lines = await connection.lines(self._target("&stream=true"), SILENCE_SECONDS)
        leave_after = self._random.randrange(20, 400)
        while leave_after > 0 and not self._is_done(until()):
            events = await lines.next(SILENCE_SECONDS)
            if not events:
                raise LostError("the stream ended")
            for event in events:
                self._take(lines.status, event)
            leave_after -= len(events)

    def _target(self, more: str) -> str:
        return f"/v2/keys{self._record.directory}?wait=true&recursive=true&waitIndex={self.next}{more}"

    def _take(self, status: int, event: Any) -> None:
        if status != 200:
            self._record.violations.append(f"a watch from {self.next} on got status {status}: {event}")
            raise LostError("no event")
        node = event["node"]
        self._seen.append(Seen(node["modifiedIndex"], node["key"], node.get("value"), event["action"]))
        self.next = node["modifiedIndex"] + 1


@contextmanager
def silence_counted(record: Record) -> Iterator[None]:
    """The time from here to the first acknowledgement, and from the last one to the end, counts as silence too."""
    record.last_write = time.monotonic()
    yield
    record.breathe()
