"""Images from the cluster: a file of the repository, or a chunk, from whichever member has it.

A member that does not answer, stalls, says one size and sends another, sends without end, or sends what is not what was
asked for is passed over for the next, and asked last from then on. Chunks are verified here, by their hash. Metadata
are not: whoever verifies them takes all of them from one member at a time (`sources`), and says which of them lied.
"""

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec
import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import ClientError, StrangeAnswerError
from core.client.transport import Stream, Transport
from core.images.manifest import STORED_MAX, Chunk, ImageError
from core.images.store import unpacked

BASE = "/corenode/images"
STALL_SECONDS = 10.0
"""How long a member may be silent."""
RATE = 16 << 10
"""Bytes a second that a member must give on average, beyond that."""


class FileAbsentError(ClientError):
    """The repository has no such file: a member said so, and no other had it."""


class _SourceError(ClientError):
    """This one source cannot give it."""


class Images:
    """Files of the repository that the members serve. Any number of tasks may ask at once."""

    def __init__(
        self,
        endpoints: Callable[[], Sequence[Endpoint]],
        tls: Callable[[], ClientCredentials | None],
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """`endpoints` are asked for anew each time: the members, each once, the best first."""
        self._endpoints = endpoints
        self._tls = tls
        self._stall = stall_seconds
        self._transports: dict[Endpoint, Transport] = {}
        self._bad: dict[Endpoint, int] = {}
        """How often in a row a member did not give what it was asked for."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for transport in self._transports.values():
            await transport.aclose()

    async def fetch(self, path: str, limit: int, check: Callable[[bytes], None] = lambda _: None) -> bytes:
        """A file by its path in the repository, of at most `limit` bytes; `check` raises ImageError for what is not it.
        FileAbsentError, ClientError with what each source said."""

        def checked(data: bytes) -> bytes:
            check(data)
            return data

        return await self._from_any(path, limit, checked)

    def sources(self) -> "list[Source]":
        """Each member by itself, the best first."""
        return [Source(self, endpoint) for endpoint in self._in_order()]

    async def chunk(self, chunk: Chunk) -> bytes:
        """The plain bytes of a chunk, checked. FileAbsentError, ClientError."""

        def plain(packed: bytes) -> bytes:
            # Another release may have had the same bytes, compressed by another version of the library.
            return unpacked(msgspec.structs.replace(chunk, stored=len(packed)), packed)

        return await self._from_any(chunk_path(chunk.sha256), STORED_MAX, plain)

    async def packed(self, sha256: str, check: Callable[[bytes], None]) -> bytes:
        """A chunk as it is stored; `check` raises ImageError for what is not it. FileAbsentError, ClientError."""
        return await self.fetch(chunk_path(sha256), STORED_MAX, check)

    async def _from_any(self, path: str, limit: int, take: Callable[[bytes], bytes]) -> bytes:
        reasons: dict[str, str] = {}
        absent = False
        for endpoint in self._in_order():
            try:
                data = await self.from_one(endpoint, path, limit)
                if data is None:
                    absent = True
                    reasons[endpoint.text] = "has no such file"
                    continue
                found = take(data)
            except (ClientError, ImageError) as error:
                self.blame(endpoint)
                reasons[endpoint.text] = str(error)
                continue
            self._bad.pop(endpoint, None)
            return found
        told = "; ".join(f"{each}: {why}" for each, why in reasons.items()) or "no member is known"
        raise (FileAbsentError if absent else StrangeAnswerError)(f"nobody gives {path}: {told}")

    def _in_order(self) -> list[Endpoint]:
        return sorted(self._endpoints(), key=lambda each: self._bad.get(each, 0))

    def blame(self, endpoint: Endpoint) -> None:
        """It did not give what it should: ask it last, until it does."""
        self._bad[endpoint] = self._bad.get(endpoint, 0) + 1

    async def from_one(self, endpoint: Endpoint, path: str, limit: int) -> bytes | None:
        """What one member gives, None if it says that the repository has no such file. ClientError."""
        deadline = self._stall + limit / RATE
        with trio.move_on_after(deadline), trio.CancelScope() as silence:
            silence.deadline = trio.current_time() + self._stall
            async with self._transport(endpoint).stream(f"{BASE}/{path}") as stream:
                if stream.status == 404:
                    return None
                if stream.status != 200:
                    raise _SourceError(f"HTTP {stream.status}")
                return await _read(stream, limit, silence, self._stall)
        raise _SourceError(f"it said nothing for {self._stall:g} s, or was too slow")

    def _transport(self, endpoint: Endpoint) -> Transport:
        found = self._transports.get(endpoint)
        if found is None:
            found = self._transports[endpoint] = Transport([endpoint], self._tls() if endpoint.secure else None)
        return found


class Source:
    """One member, for files that must fit together."""

    def __init__(self, images: Images, endpoint: Endpoint) -> None:
        self.name = endpoint.text
        self._images = images
        self._endpoint = endpoint

    async def fetch(self, path: str, limit: int) -> bytes:
        """As that of `Images`, from this one."""
        data = await self._images.from_one(self._endpoint, path, limit)
        if data is None:
            raise FileAbsentError(f"{self.name} has no {path}")
        return data

    def blame(self) -> None:
        """What it gave is not to be believed: it is asked last from now on."""
        self._images.blame(self._endpoint)


def chunk_path(sha256: str) -> str:
    """Where a chunk lies in a repository."""
    return f"chunks/{sha256[:2]}/{sha256}.zst"


async def _read(stream: Stream, limit: int, silence: trio.CancelScope, stall: float) -> bytes:
    announced = stream.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _SourceError(f"it has {int(announced)} bytes there, and at most {limit} are wanted")
    pieces, size = [], 0
    async for piece in stream.pieces:
        silence.deadline = trio.current_time() + stall
        size += len(piece)
        if size > limit:
            raise _SourceError(f"it sends more than the {limit} bytes that are wanted")
        pieces.append(piece)
    return b"".join(pieces)
