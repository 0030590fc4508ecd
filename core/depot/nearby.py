"""Images for a host that is a member itself: from its own shelf, and what that lacks from the other members."""

from collections.abc import Callable

import msgspec
import trio

from core.client.errors import ClientError, StrangeAnswerError
from core.client.images import FileAbsentError, Images, Source
from core.depot.keeper import Keeper
from core.depot.serving import AbsentError, NotHereError, find, pieces
from core.images.manifest import Blob, Chunk, ImageError
from core.images.store import unpacked


class Nearby:
    """What `core.client.images.Images` is to a host that is no member: any number of tasks may ask at once."""

    def __init__(self, keeper: Keeper, others: Images) -> None:
        self._keeper = keeper
        self._others = others

    async def fetch(self, path: str, limit: int, check: Callable[[bytes], None] = lambda _: None) -> bytes:
        """A file by its path in the repository, of at most `limit` bytes; `check` raises ImageError for what is not it.
        FileAbsentError, ClientError."""
        try:
            data = await self.own(path, limit)
            check(data)
        except (ClientError, ImageError):
            return await self._others.fetch(path, limit, check)
        return data

    def sources(self) -> "list[Source | Own]":
        """This member, and each other by itself."""
        return [Own(self), *self._others.sources()]

    async def own(self, path: str, limit: int) -> bytes:
        """What is here. FileAbsentError; StrangeAnswerError if it is damaged, or larger."""
        try:
            found = find(self._keeper.served, path)
            data = await trio.to_thread.run_sync(self._read, found, limit)
        except AbsentError:
            raise FileAbsentError(f"this member has no {path}") from None
        except NotHereError:
            self._keeper.doubt()
            raise StrangeAnswerError(f"this member has not got {path} yet") from None
        if len(data) > limit:
            raise StrangeAnswerError(f"{path} has more than the {limit} bytes that are wanted")
        return data

    async def chunk(self, chunk: Chunk) -> bytes:
        """The plain bytes of a chunk, checked. FileAbsentError, ClientError."""
        try:
            return await trio.to_thread.run_sync(self._plain, chunk)
        except ImageError:
            return await self._others.chunk(chunk)

    def _read(self, found: bytes | Blob | str, limit: int) -> bytes:
        data = b""
        for piece in pieces(self._keeper.shelf, found):
            data += piece
            if len(data) > limit:
                break
        return data

    def _plain(self, chunk: Chunk) -> bytes:
        packed = self._keeper.shelf.packed(chunk.sha256)
        if packed is None:
            raise ImageError(f"chunk {chunk.sha256} is not here")
        return unpacked(msgspec.structs.replace(chunk, stored=len(packed)), packed)


class Own:
    """This member alone."""

    name = "this member"

    def __init__(self, nearby: Nearby) -> None:
        self._nearby = nearby

    async def fetch(self, path: str, limit: int) -> bytes:
        """FileAbsentError, ClientError."""
        return await self._nearby.own(path, limit)

    def blame(self) -> None:
        """It goes on to be asked first: what the store says comes to it sooner or later."""
