"""Several members in one process: one store, a shelf each, and one takes from the other without a network."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from unittest.mock import patch

import msgspec
import trio

from core.client import Store
from core.client.errors import StrangeAnswerError
from core.depot import publishing
from core.depot.catalogue import Package
from core.depot.keeper import Keeper
from core.depot.publishing import Progress, Publication, Publisher
from core.depot.shelf import Shelf
from core.depot.signing import KeyFiles, Keyring
from core.images.blobs import packed
from core.images.manifest import Blob
from tests.depot.house import House
from tests.trust.makers import NOW


class Neighbours:
    """What a keeper asks: the shelves of the members that are up."""

    def __init__(self, members: "list[Member]") -> None:
        self._members = members

    async def __aenter__(self) -> "Neighbours":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def packed(self, sha256: str, check: Callable[[bytes], None]) -> bytes:
        await trio.lowlevel.checkpoint()
        for member in self._members:
            data = member.keeper.shelf.packed(sha256) if member.up else None
            if data is not None:
                check(data)
                return data
        raise StrangeAnswerError(f"nobody gives {sha256}")


class Keeping(Keeper):
    """One that collects when the test says so."""

    async def _collect(self) -> None:
        await trio.lowlevel.checkpoint()

    async def collect(self) -> None:
        await super()._collect()


class Member:
    """Its keeper runs while it is up."""

    def __init__(self, name: str, home: Path, store: Store, all_: "list[Member]") -> None:
        self.name = name
        self.up = False
        self.ring = Keyring(home / "keys")
        self.now = NOW
        self.store = store
        self._home = home
        self._all = all_
        self._scope = trio.CancelScope()
        self.begin_anew()

    def begin_anew(self, room: int = 0) -> None:
        """As after a start."""
        shelf = Shelf(self._home, room)
        self.keeper = Keeping(self.store, shelf, Neighbours(self._all), self.name)  # type: ignore[arg-type]

    async def run(self) -> None:
        self.up = True
        with trio.CancelScope() as self._scope:
            await self.keeper.run()

    def stop(self) -> None:
        self.up = False
        self._scope.cancel()

    def publisher(self) -> Publisher:
        names = [member.name for member in self._all]
        return Publisher(self.store, self.keeper, self.ring, lambda: names, lambda: self.now)


class Members:
    """Three of them, the first with the keys and all that was uploaded."""

    def __init__(self, home: Path, store: Store, nursery: trio.Nursery) -> None:
        self.home = home
        self.all: list[Member] = []
        for name in ("1", "2", "3"):
            self.all.append(Member(name, home / name, store, self.all))
        self.house = House(home)
        self.keys: KeyFiles = self.house.given
        self._nursery = nursery

    def start(self, *members: Member) -> None:
        for member in members or self.all:
            self._nursery.start_soon(member.run)

    def upload(self, data: bytes, to: int = 0) -> Blob:
        blob, chunks = packed(data)
        for name, each in chunks.items():
            self.all[to].keeper.shelf.keep(name, each)
        return blob

    def package(self, data: bytes, version: str = "1", to: int = 0) -> Package:
        """Uploaded, not published."""
        blob = self.upload(data, to)
        index = self.upload(msgspec.json.encode(blob), to)
        sums = hashlib.sha1(data, usedforsecurity=False).hexdigest(), hashlib.sha256(data).hexdigest()
        return Package("os", version, "x86_64", len(data), *sums, index)

    async def publish(self, wanted: Publication, patience: float = 60.0) -> list[Progress]:
        """By the first of them. A test that expects a refusal needs little patience."""
        with trio.fail_after(60), patch.object(publishing, "PATIENCE_SECONDS", patience):
            return [step async for step in self.all[0].publisher().publish(wanted)]

    async def until(self, condition: Callable[[], bool]) -> None:
        with trio.fail_after(30):
            while not condition():  # noqa: ASYNC110 (keepers of several members change it)
                await trio.sleep(0.01)

    def has(self, member: int, *blobs: Blob) -> bool:
        shelf = self.all[member].keeper.shelf
        return all(shelf.has(chunk.sha256) for blob in blobs for chunk in blob.chunks)


@asynccontextmanager
async def three(home: Path, store: Store) -> AsyncIterator[Members]:
    async with trio.open_nursery() as nursery:
        yield Members(home, store, nursery)
        nursery.cancel_scope.cancel()
