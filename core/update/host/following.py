"""A host's way from what it trusts to what the members serve: from one member at a time, until one can be believed.

Metadata are small and must fit together, so each attempt takes all of them from one member. A member that is behind,
stopped in time, or hostile costs an attempt and is asked last the next time; only if no member is better is that what
the host is told.
"""

from collections.abc import Callable
from datetime import datetime

import trio

from core.client.errors import ClientError, UnreachableError
from core.client.images import FileAbsentError, Images, Source
from core.images.manifest import ImageError
from core.trust.client import Trusted, Verified
from core.trust.errors import NotFoundError, TrustError
from core.trust.releases import Release


async def follow(trusted: Trusted, images: Images, now: Callable[[], datetime]) -> Verified:
    """What is released, by the first member that proves it.

    If none does: the error of the only one, or a TrustError with what is wrong with each; UnreachableError if nobody
    gave anything. BlockingIOError if another update is under way.
    """
    refused: dict[str, TrustError] = {}
    silent: dict[str, str] = {}
    for source in images.sources():

        def fetch(path: str, limit: int, source: Source = source) -> bytes:
            try:
                return trio.from_thread.run(source.fetch, path, limit)
            except FileAbsentError as error:
                raise NotFoundError(str(error)) from None

        try:
            return await trio.to_thread.run_sync(lambda fetch=fetch: trusted.update(fetch, now()))  # type: ignore[misc]
        except TrustError as error:
            refused[source.name] = error
        except ClientError as error:
            silent[source.name] = str(error)
        source.blame()
    if len(refused) == 1 and not silent:
        raise next(iter(refused.values()))
    if refused:
        told = {name: str(error) for name, error in refused.items()} | silent
        raise TrustError("; ".join(why if name in why else f"{name}: {why}" for name, why in told.items()))
    raise UnreachableError(silent)


async def manifest_of(images: Images, release: Release) -> bytes:
    """The manifest of a release, from the first member that gives the one that was signed. FileAbsentError,
    ClientError."""

    def check(data: bytes) -> None:
        try:
            release.check(data)
        except TrustError as error:
            raise ImageError(str(error)) from None

    return await images.fetch(release.path, release.size, check)
