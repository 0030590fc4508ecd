"""What this host trusts, and the manifests that this gives it: asked of the cluster, verified here, in a thread."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import trio

from core.client.errors import ClientError
from core.client.images import FileAbsentError, Images
from core.images.manifest import ImageError, Manifest, decode
from core.trust.client import Fetch, Trusted, Verified, manifest
from core.trust.errors import NotFoundError, TrustError
from core.update.host.journal import Image
from core.update.host.ports import UpdateError

T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class Releases:
    """Of one host. What protects against old releases lies in a directory outside of the slots."""

    def __init__(self, directory: Path, root: bytes, images: Images, now: Callable[[], datetime] = _now) -> None:
        """`root` is the root of trust that came with the image; it counts only until the directory holds one."""
        self._trusted = Trusted(directory, root)
        self._images = images
        self._now = now
        self._turn = trio.Lock()

    async def verified(self) -> Verified:
        """What the cluster serves now, as far as it is signed. UpdateError."""
        return await self._carry_out(lambda fetch: self._trusted.update(fetch, self._now()))

    async def manifest(self, image: Image) -> Manifest:
        """Of a release that is signed, and that is served now. UpdateError."""

        def work(fetch: Fetch) -> Manifest:
            found = self._trusted.update(fetch, self._now()).find(image.product, image.version, image.architecture)
            if found.sha256 != image.sha256:
                raise TrustError(f"{image.version} was offered with another content than is signed")
            return decode(manifest(fetch, found))

        return await self._carry_out(work)

    async def _carry_out(self, work: Callable[[Fetch], T]) -> T:
        def fetch(path: str, limit: int) -> bytes:
            try:
                return trio.from_thread.run(self._images.fetch, path, limit)
            except FileAbsentError as error:
                raise NotFoundError(str(error)) from None

        async with self._turn:
            try:
                return await trio.to_thread.run_sync(work, fetch)
            except NotFoundError as error:
                raise UpdateError(f"the cluster serves no images, or not all of one ({error})") from error
            except (TrustError, ImageError, ClientError) as error:
                raise UpdateError(str(error)) from error
            except OSError as error:
                raise UpdateError(f"what this host trusts cannot be kept: {error}") from error
