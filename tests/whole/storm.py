"""A storm of watches: many clients that each note every event they are given, while writers write.

The tree is `/storm/DIRECTORY/KEY`. Removing `/storm` is the last event, and every watch below is told of it, so each
watch knows by itself when it is done.
"""

import json
import random
from dataclasses import dataclass, field
from typing import Any

import trio

from tests.whole.wire import Wire

ROOT = "/storm"
NAMES = ("0", "1", "2", "due")
"""The keys of a directory; `due` is the one with a TTL."""
Note = tuple[int, str, str]
"""An event as far as it is compared: index, action, key."""


@dataclass
class Watcher:
    """One watch: what it is on, how it waits, and all it was told."""

    path: str
    recursive: bool
    stream: bool
    notes: list[Note] = field(default_factory=list)
    _expired: trio.Event = field(default_factory=trio.Event)
    _expiries: int = 0
    _expiries_awaited: int = -1

    async def run(self, port: int, start: int, opened: trio.MemorySendChannel[None]) -> None:
        """Wait from index `start` until the tree is removed; says on `opened` when the watch stands."""
        async with Wire(port) as wire:
            if self.stream:
                await self._head(wire, start)
                await opened.send(None)
                while self._note(await wire.chunk()):
                    pass
                return
            await wire.send("GET", self._target(start))
            await _expect_head(wire)
            await opened.send(None)
            while self._note(await _rest_of_body(wire)):
                await self._head(wire, self.notes[-1][0] + 1)

    async def saw_expiries(self, count: int) -> None:
        """Wait until it was told of so many expiries."""
        self._expiries_awaited = count
        if self._expiries < count:
            await self._expired.wait()

    async def _head(self, wire: Wire, index: int) -> None:
        await wire.send("GET", self._target(index))
        await _expect_head(wire)

    def _target(self, index: int) -> str:
        more = "&recursive=true" * self.recursive + "&stream=true" * self.stream
        return f"/v2/keys{self.path}?wait=true&waitIndex={index}{more}"

    def _note(self, text: bytes) -> bool:
        """Note the events of one piece; False when the tree is gone."""
        for line in text.splitlines():
            event = json.loads(line)
            key = event["node"]["key"]
            self.notes.append((event["node"]["modifiedIndex"], event["action"], key))
            self._expiries += event["action"] == "expire"
            if self._expiries == self._expiries_awaited:
                self._expired.set()
            if key == ROOT and event["action"] == "delete":
                return False
        return True

    def due(self, history: list[Note]) -> list[Note]:
        """What it must have been told, and nothing else."""
        below = f"{self.path}/"
        return [
            (index, action, key)
            for index, action, key in history
            if key == self.path
            or (self.recursive and key.startswith(below))
            or (action in ("delete", "expire") and self.path.startswith(f"{key}/"))
        ]

    def problem(self, history: list[Note]) -> str:
        """What was lost, repeated or out of order; empty if nothing was."""
        due = self.due(history)
        if self.notes == due:
            return ""
        lost = sorted(set(due) - set(self.notes))
        extra = sorted(set(self.notes) - set(due))
        repeated = len(self.notes) - len(set(self.notes))
        return f"{self}: lost {lost[:5]} ({len(lost)}), not due {extra[:5]} ({len(extra)}), repeated {repeated}"

    def __str__(self) -> str:
        return f"{'stream' if self.stream else 'poll'} on {self.path}{' and below' if self.recursive else ''}"


async def _expect_head(wire: Wire) -> None:
    status, headers = await wire.head()
    if status != 200:
        raise AssertionError(f"a watch was answered with {status}, {headers}")


async def _rest_of_body(wire: Wire) -> bytes:
    body = b""
    while piece := await wire.chunk():
        body += piece
    return body


async def write(port: int, count: int, directories: int, seed: int, written: list[Note]) -> None:
    """Write `count` keys one after the other on one connection; notes each as it was acknowledged."""
    chance = random.Random(seed)
    async with Wire(port) as wire:
        for number in range(count):
            key = f"{ROOT}/{chance.randrange(directories)}/{chance.choice(NAMES[:3])}"
            status, event = await wire.ask("PUT", f"/v2/keys{key}", f"value={number}".encode())
            if status not in (200, 201):
                raise AssertionError(f"{key}: {status} {event}")
            written.append((event["node"]["modifiedIndex"], "set", key))


async def fill(port: int, directories: int, written: list[Note]) -> None:
    """Write every key of every directory once."""
    async with Wire(port) as wire:
        for key in (f"{ROOT}/{number}/{name}" for number in range(directories) for name in NAMES):
            _, event = await wire.ask("PUT", f"/v2/keys{key}", b"value=there")
            written.append((event["node"]["modifiedIndex"], "set", key))


async def write_ttls(port: int, count: int, seconds: int, written: list[Note]) -> None:
    """Write `count` keys that fall due together, as good as at once."""
    async with Wire(port) as wire:
        for number in range(count):
            key = f"{ROOT}/{number}/due"
            _, event = await wire.ask("PUT", f"/v2/keys{key}", f"value=x&ttl={seconds}".encode())
            written.append((event["node"]["modifiedIndex"], "set", key))


async def current_index(port: int) -> int:
    async with Wire(port) as wire:
        await wire.send("GET", "/v2/keys/")
        _, headers, _ = await wire.answer()
        return int(headers["x-etcd-index"])


async def pipeline(port: int, count: int, batch: int, key: str) -> list[int]:
    """Write `count` times to one key, `batch` requests in one piece; gives the indexes in order."""
    indexes: list[int] = []
    async with Wire(port) as wire:
        for first in range(0, count, batch):
            for number in range(first, min(first + batch, count)):
                await wire.send("PUT", f"/v2/keys{key}", f"value={number}".encode())
            for _ in range(first, min(first + batch, count)):
                status, _, body = await wire.answer()
                event: Any = json.loads(body)
                if status not in (200, 201):
                    raise AssertionError(f"{key}: {status} {event}")
                indexes.append(event["node"]["modifiedIndex"])
    return indexes
