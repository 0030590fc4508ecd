"""What this host trusts, and the manifests that this gives it: asked of the cluster, verified here."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import trio

from core.client.errors import ClientError
from core.client.images import Images
from core.images.manifest import ImageError, Manifest, decode
from core.trust.client import Trusted, Verified
from core.trust.errors import NotFoundError, TrustError
from core.update.host.following import follow, manifest_of
from core.update.host.journal import Image
from core.update.host.ports import UpdateError


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
        async with self._turn:
            with _refused():
                return await follow(self._trusted, self._images, self._now)

    async def manifest(self, image: Image) -> Manifest:
        """Of a release that is signed, and that is served now. UpdateError."""
        found = await self.verified()
        with _refused():
            release = found.find(image.product, image.version, image.architecture)
            if release.sha256 != image.sha256:
                raise TrustError(f"{image.version} was offered with another content than is signed")
            return decode(await manifest_of(self._images, release))


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except NotFoundError as error:
        raise UpdateError(f"the cluster serves no images, or not all of one ({error})") from error
    except (TrustError, ImageError, ClientError) as error:
        raise UpdateError(str(error)) from error
    except OSError as error:
        raise UpdateError(f"what this host trusts cannot be kept: {error}") from error
