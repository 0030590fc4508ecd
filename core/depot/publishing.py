"""Publishing: what people have signed becomes what the cluster serves, once a majority has it."""

import hashlib
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime

import msgspec
import trio
from tuf.api.metadata import Root, Targets

from core.client import Compare, Delete, Operation, Put, Store
from core.client.errors import ClientError
from core.depot import catalogue as records
from core.depot.catalogue import SERVED, STAGED, Catalogue, Held, Package
from core.depot.keeper import Keeper, inside_manifest, inside_package
from core.depot.shelf import Shelf
from core.depot.signing import Keyring, Signed, renewed
from core.images.manifest import MANIFEST_MAX, Blob, ImageError
from core.trust.client import root_chain
from core.trust.metadata import LIMITS, ROOT, TARGETS, check_root, enough, progress, read
from core.trust.releases import releases_in

ATTEMPTS = 4
PATIENCE_SECONDS = 900.0
"""How long a majority may take to fetch what is published."""

log = logging.getLogger(__name__)


class Publication(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be served from now on, beside what is already. Its chunks are uploaded before it."""

    roots: tuple[Blob, ...] = ()
    """All versions from the first; none: as before."""
    targets: Blob | None = None
    """None: as before."""
    manifests: dict[str, Blob] = {}
    """Of releases that are new, by path."""
    packages: tuple[Package, ...] = ()
    dropped: tuple[str, ...] = ()
    """Names of packages that go."""


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the answer."""

    members: int
    """How many voters have all of it."""
    needed: int
    done: bool = False
    targets_version: int = 0
    expires: int = 0


class RefusedPublicationError(Exception):
    """It is not served. The text says why, and what to do."""


class Publisher:
    """Of one member. Any number may publish at once; who comes later makes the earlier begin anew, or fail."""

    def __init__(
        self,
        store: Store,
        keeper: Keeper,
        keyring: Keyring,
        voters: Callable[[], Sequence[str]],
        now: Callable[[], datetime],
    ) -> None:
        """`voters` are the ids of the members that vote."""
        self._store = store
        self._keeper = keeper
        self._keyring = keyring
        self._voters = voters
        self._now = now

    async def publish(self, wanted: Publication) -> AsyncGenerator[Progress, None]:
        """How far it is, and at last that it is done. RefusedPublicationError, TrustError, ImageError, ClientError,
        OSError; then what was served still is. Given up, it may be repeated."""
        for _ in range(ATTEMPTS):
            keeper = self._keeper
            served, revision = keeper.served, keeper.served_revision
            ready = await trio.to_thread.run_sync(prepared, keeper.shelf, self._keyring, served, wanted, self._now())
            unchanged = Compare(SERVED, "mod", "=", revision)
            done = await self._store.txn([unchanged], [Put(STAGED, records.encode(ready))])
            if not done.succeeded:
                await self._overtaken(revision)
                continue
            staged = done.revision
            try:
                async with aclosing(self._majority(staged)) as steps:
                    async for step in steps:
                        yield step
                final: list[Operation] = [Put(SERVED, records.encode(ready)), Delete(STAGED)]
                compare = [unchanged, Compare(STAGED, "mod", "=", staged)]
                if (await self._store.txn(compare, final)).succeeded:
                    log.info("images were published", extra={"targets": ready.targets_version})
                    yield Progress(self._count(staged), self._needed(), True, ready.targets_version, ready.expires)
                    return
            finally:
                with trio.move_on_after(2) as leaving:
                    leaving.shield = True
                    await self._withdraw(staged)
        raise RefusedPublicationError("others publish at the same time; try again when they are done")

    async def _majority(self, staged: int) -> AsyncGenerator[Progress, None]:
        """Return when a majority of the voters has what is staged."""
        deadline = trio.current_time() + PATIENCE_SECONDS
        told = -1
        while True:
            waiting = self._keeper.change
            count = self._count(staged)
            if count != told:
                told = count
                yield Progress(count, self._needed())
            if count >= self._needed():
                return
            if self._keeper.staged_revision > staged:
                raise RefusedPublicationError("somebody else publishes at the same time; try again when that is done")
            with trio.move_on_at(deadline) as patience:
                await waiting()
            if patience.cancelled_caught:
                raise RefusedPublicationError(
                    f"only {count} of the {self._needed()} members that are needed have all of it: "
                    f"{self._lacking(staged)}"
                )

    def _lacking(self, staged: int) -> str:
        """Who has not all of it, and why as far as they say so."""
        held = {voter: self._keeper.held.get(voter, Held()) for voter in self._voters()}
        return "; ".join(
            f"{voter}: {found.trouble or 'it is away, or slow; see corenode member list, and its log'}"
            for voter, found in held.items()
            if found.staged < staged
        )

    def _count(self, staged: int) -> int:
        held = self._keeper.held
        return sum(held.get(voter, Held()).staged >= staged for voter in self._voters())

    def _needed(self) -> int:
        return len(self._voters()) // 2 + 1

    async def _overtaken(self, revision: int) -> None:
        """Return when another catalogue than that of `revision` is known, or it takes too long."""
        with trio.move_on_after(5):
            while self._keeper.served_revision == revision:
                await self._keeper.change()

    async def _withdraw(self, staged: int) -> None:
        try:
            await self._store.txn([Compare(STAGED, "mod", "=", staged)], [Delete(STAGED)])
        except ClientError as error:
            log.warning("what was to be published stays noted: %s", error)


def prepared(shelf: Shelf, keyring: Keyring, served: Catalogue, wanted: Publication, now: datetime) -> Catalogue:
    """The catalogue that is to follow, all of it checked as a host would. Blocks. TrustError, ImageError, OSError,
    RefusedPublicationError."""
    found = _with_packages(shelf, served, wanted)
    if not wanted.roots and wanted.targets is None:
        return found
    roots = _roots(shelf, served, wanted)
    root = read(Root, roots[-1], "the newest root").signed
    check_root(root, "the newest root")
    blob = wanted.targets or served.targets
    if blob is None:
        raise RefusedPublicationError("there are no targets yet; upload the repository first, with its targets")
    data = shelf.whole(blob, LIMITS[TARGETS])
    metadata = read(Targets, data, "the targets")
    enough(progress(metadata, [root]))
    targets = metadata.signed
    fresh = served.targets is None or blob.sha256 != served.targets.sha256
    if fresh and targets.version <= served.targets_version:
        raise RefusedPublicationError(
            f"version {targets.version} of the targets was signed, but version {served.targets_version} is served: "
            "get that with corenode image trust download REPO-DIR, and sign anew on top of it"
        )
    if not keyring.suffices(root):
        raise RefusedPublicationError(
            "this member has not the keys for snapshot and timestamp that the root names: hand them over with "
            "corenode image trust upload REPO-DIR --online DIR"
        )
    found = msgspec.structs.replace(
        found,
        roots=wanted.roots or served.roots,
        targets=blob,
        targets_version=targets.version,
        targets_before=served.targets if fresh else served.targets_before,
        manifests=_manifests(shelf, targets, served, wanted),
    )
    return renewed(found, Signed(root, data), keyring.signers(root), now)


def _roots(shelf: Shelf, served: Catalogue, wanted: Publication) -> list[bytes]:
    """The chain of roots. The first one ever is believed, because an operator brings it; each other follows."""
    chain = wanted.roots or served.roots
    if not chain:
        raise RefusedPublicationError("there is no root of trust yet; upload the repository first")
    if [blob.sha256 for blob in chain[: len(served.roots)]] != [blob.sha256 for blob in served.roots]:
        raise RefusedPublicationError(
            f"the cluster serves {len(served.roots)} versions of another root, or a newer one than this; its hosts "
            "would not follow"
        )
    roots = [shelf.whole(blob, LIMITS[ROOT]) for blob in chain]
    root_chain(roots[0], roots[1:])
    return roots


def _manifests(shelf: Shelf, targets: Targets, served: Catalogue, wanted: Publication) -> dict[str, Blob]:
    """Of all releases that are signed, each with all of its chunks here."""
    found = {}
    for release in releases_in(targets):
        blob = served.manifests.get(release.path)
        if blob is None:
            blob = wanted.manifests.get(release.path)
            if blob is None:
                raise RefusedPublicationError(f"{release.target} is signed, but its manifest was not uploaded")
            release.check(shelf.whole(blob, MANIFEST_MAX))
            _check_here(shelf, release.target, inside_manifest(shelf, blob))
        found[release.path] = blob
    return found


def _with_packages(shelf: Shelf, served: Catalogue, wanted: Publication) -> Catalogue:
    packages = {name: package for name, package in served.packages.items() if name not in wanted.dropped}
    for package in wanted.packages:
        (blob,) = inside_package(shelf, package.index)
        _check_here(shelf, package.key, [blob])
        first, second = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
        size = 0
        for chunk in blob.chunks:
            data = shelf.plain(chunk)
            first.update(data)
            second.update(data)
            size += len(data)
        if (size, first.hexdigest(), second.hexdigest()) != (package.size, package.sha1, package.sha256):
            raise ImageError(f"the chunks of {package.key} do not make up the file that was announced")
        packages[package.key] = package
    return msgspec.structs.replace(served, packages=packages)


def _check_here(shelf: Shelf, what: str, blobs: Sequence[Blob]) -> None:
    missing = {chunk.sha256 for blob in blobs for chunk in blob.chunks if not shelf.want(chunk.sha256)}
    if missing:
        raise RefusedPublicationError(f"{len(missing)} chunks of {what} were not uploaded, or were lost; publish again")
