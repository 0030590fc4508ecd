"""Makes a member hold all that the catalogue names, says so in the store, and lets go of what nothing names."""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import msgspec
import trio

from core.client import KeyValue, Store, prefix
from core.client.errors import ClientError, CompactedError
from core.client.images import Images
from core.depot import catalogue as records
from core.depot.catalogue import HELD, SERVED, STAGED, Catalogue, CatalogueError, Held, held_key
from core.depot.shelf import Shelf, check
from core.images import manifest as manifests
from core.images.manifest import MANIFEST_MAX, Blob, ImageError
from core.update import keys

AT_ONCE = 8
"""Chunks fetched at the same time."""
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 30.0
COLLECT_SECONDS = 3600.0
TROUBLE_MAX = 300
"""Characters of what is told of a trouble."""

log = logging.getLogger(__name__)


class Keeper:
    """`run` is a task of the member; the rest is read on the loop by the doors, the publisher and the signer."""

    def __init__(self, store: Store, shelf: Shelf, images: Images, member: str) -> None:
        """`images` asks the other members; `member` is the id of this one, hexadecimal."""
        self.shelf = shelf
        self.served = Catalogue()
        self.served_revision = 0
        """Of its record; 0: there is none."""
        self.staged: Catalogue | None = None
        self.staged_revision = 0
        self.held: dict[str, Held] = {}
        """What each member says it has."""
        self.trouble = ""
        """Why this member lacks something; empty: it does not, or nothing was tried."""
        self.collected = 0
        self.fetched = 0
        self._store = store
        self._images = images
        self._member = member
        self._complete: set[str] = set()
        """Hashes of blobs of which everything is here, themselves included, as long as they are named."""
        self._changed = trio.Event()

    async def change(self) -> None:
        """Wait until any of it is another."""
        await self._changed.wait()

    def doubt(self) -> None:
        """Something that should be here was not: look at everything again."""
        self._complete.clear()
        self._tell()

    async def run(self) -> None:
        """Never returns. A store that is away is waited for."""
        async with self._images, trio.open_nursery() as nursery:
            nursery.start_soon(self._follow)
            nursery.start_soon(self._work)

    # The records

    async def _follow(self) -> None:
        while True:
            try:
                found = await self._store.range(prefix(keys.IMAGES))
                self._forget()
                for kv in found.kvs:
                    self._apply(kv.key, kv)
                self._tell()
                async with self._store.watch(prefix(keys.IMAGES), start=found.revision + 1) as watch:
                    async for batch in watch:
                        for event in batch.events:
                            self._apply(event.kv.key, event.kv if event.kind == "put" else None)
                        self._tell()
            except CompactedError:
                continue
            except ClientError as error:
                log.warning("the records of images cannot be followed: %s", error)
                await trio.sleep(RETRY_SECONDS)

    def _forget(self) -> None:
        self.served, self.served_revision = Catalogue(), 0
        self.staged, self.staged_revision = None, 0
        self.held = {}

    def _apply(self, key: bytes, kv: KeyValue | None) -> None:
        try:
            if key == SERVED:
                self.served = records.decode(None if kv is None else kv.value)
                self.served_revision = 0 if kv is None else kv.mod_revision
            elif key == STAGED:
                self.staged = None if kv is None else records.decode(kv.value)
                self.staged_revision = 0 if kv is None else kv.mod_revision
            elif key.startswith(HELD):
                self.held.pop(key[len(HELD) :].decode(errors="replace"), None)
                if kv is not None:
                    self.held[key[len(HELD) :].decode(errors="replace")] = records.decode_held(kv.value)
        except CatalogueError as error:
            log.error("a record of images is not understood: %s", error)

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    # What they name

    async def _work(self) -> None:
        pause, collected = RETRY_SECONDS, -COLLECT_SECONDS
        while True:
            changed = self._changed
            try:
                await self._hold()
                pause, wait = RETRY_SECONDS, COLLECT_SECONDS
                self.trouble = ""
                if trio.current_time() >= collected + COLLECT_SECONDS:
                    await self._collect()
                    collected = trio.current_time()
            except (ClientError, ImageError, OSError) as error:
                await self._complain(error)
                wait, pause = pause, min(pause * 2, LONGEST_RETRY_SECONDS)
            with trio.move_on_after(wait):
                await changed.wait()

    async def _hold(self) -> None:
        """Fetch what is missing, and say what is held."""
        served, staged = self.served_revision, self.staged_revision
        if self.staged is not None:
            await self._fill(self.staged)
            await self._say(msgspec.structs.replace(self._own, staged=staged))
        await self._fill(self.served)
        await self._say(Held(served, self._own.staged))

    @property
    def _own(self) -> Held:
        return self.held.get(self._member, Held())

    async def _say(self, held: Held) -> None:
        if held != self._own:
            await self._store.put(held_key(self._member), records.encode(held))
            self.held[self._member] = held

    async def _complain(self, error: Exception) -> None:
        """Let the log know, and whoever publishes through another member."""
        told = f"its disk says: {error.strerror}" if isinstance(error, OSError) else str(error)
        if told == self.trouble:
            return
        log.warning("this member lacks images: %s", told)
        self.trouble = told
        try:
            await self._say(msgspec.structs.replace(self._own, trouble=told[:TROUBLE_MAX]))
        except ClientError as away:
            log.info("that cannot be noted: %s", away)

    async def _fill(self, catalogue: Catalogue) -> None:
        await self._fetch_all(catalogue.blobs())
        inner: list[Callable[[], list[Blob]]] = [
            partial(inside_manifest, self.shelf, blob)
            for blob in catalogue.manifests.values()
            if blob.sha256 not in self._complete
        ]
        inner += [
            partial(inside_package, self.shelf, package.index)
            for package in catalogue.packages.values()
            if package.index.sha256 not in self._complete
        ]
        for look in inner:
            await self._fetch_all(await trio.to_thread.run_sync(look))
        self._complete.update(blob.sha256 for blob in catalogue.blobs())

    async def _fetch_all(self, blobs: Iterable[Blob]) -> None:
        """Fetch the chunks of blobs that are not here."""
        wanted = list({chunk.sha256 for blob in blobs if blob.sha256 not in self._complete for chunk in blob.chunks})
        missing = await trio.to_thread.run_sync(lambda: [name for name in wanted if not self.shelf.has(name)])
        if missing:
            log.info("fetching %d chunks of images from other members", len(missing))
            await _each(missing, self._fetch_one)

    async def _fetch_one(self, name: str) -> None:
        packed = await self._images.packed(name, partial(check, name))
        await trio.to_thread.run_sync(self.shelf.keep, name, packed)
        self.fetched += 1

    # What they do not name

    async def _collect(self) -> None:
        catalogues = [self.served, *([self.staged] if self.staged is not None else [])]
        count = await trio.to_thread.run_sync(_collected, self.shelf, catalogues)
        self.collected += count
        self._complete &= {blob.sha256 for catalogue in catalogues for blob in catalogue.blobs()}
        if count:
            log.info("%d chunks that no release names were removed", count)


def inside_manifest(shelf: Shelf, blob: Blob) -> list[Blob]:
    """What a manifest names. ImageError."""
    return list(manifests.decode(shelf.whole(blob, MANIFEST_MAX)).blobs().values())


def inside_package(shelf: Shelf, index: Blob) -> list[Blob]:
    """The file that a package is. ImageError."""
    try:
        return [msgspec.json.decode(shelf.whole(index, MANIFEST_MAX), type=Blob)]
    except msgspec.DecodeError as error:
        raise ImageError(f"the index of a package cannot be read: {error}") from None


def _collected(shelf: Shelf, catalogues: list[Catalogue]) -> int:
    """In a thread. ImageError if it cannot be known what is named; then nothing goes."""
    named: set[str] = set()
    for catalogue in catalogues:
        blobs = list(catalogue.blobs())
        for blob in catalogue.manifests.values():
            blobs += inside_manifest(shelf, blob)
        for package in catalogue.packages.values():
            blobs += inside_package(shelf, package.index)
        named.update(chunk.sha256 for blob in blobs for chunk in blob.chunks)
    return shelf.collect(named.__contains__, time.time())


async def _each(names: list[str], work: Callable[[str], Awaitable[None]]) -> None:
    """Do all of it, some at the same time; the first failure ends it, by itself instead of in a group."""
    waiting = iter(names)
    failure: list[Exception] = []

    async def worker(scope: trio.CancelScope) -> None:
        for name in waiting:
            try:
                await work(name)
            except (ClientError, ImageError, OSError) as error:
                failure.append(error)
                scope.cancel()
                return

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(worker, nursery.cancel_scope)
    if failure:
        raise failure[0]
