"""What an operator does with the images of a cluster: upload what is missing, hand over keys, publish."""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping

import msgspec
import trio

from core.client.errors import ClientError, StrangeAnswerError
from core.client.images import BASE
from core.client.transport import Answer, Transport
from core.client.tree import refusal

ASKED = 8000
"""Hashes in one question: they fit into a request of the usual largest size."""
AT_ONCE = 4
SECONDS = 60.0
"""For one request; the answer to `publish` takes as long as a majority does."""


class Progress(msgspec.Struct, frozen=True):
    """How far publishing is."""

    members: int = 0
    needed: int = 0
    done: bool = False
    targets_version: int = 0
    expires: int = 0
    error: str = ""


class _Missing(msgspec.Struct, frozen=True):
    missing: list[str]


class Depot:
    """The images of a cluster, through one of its members."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def missing(self, chunks: Iterable[str]) -> list[str]:
        """Those of the chunks that the member has not. ClientError."""
        names, found = list(chunks), list[str]()
        for start in range(0, len(names), ASKED):
            body = msgspec.json.encode({"chunks": names[start : start + ASKED]})
            answer = await self._call("POST", "missing", body, repeatable=True)
            try:
                found += msgspec.json.decode(answer.body, type=_Missing).missing
            except msgspec.DecodeError as error:
                raise StrangeAnswerError(f"the answer is not a list of chunks: {error}") from None
        return found

    async def upload(self, chunks: Mapping[str, Callable[[], bytes]], told: Callable[[int], None]) -> int:
        """Upload those that are missing; how many. `told` gets the bytes of each. ClientError."""
        waiting = await self.missing(chunks)
        count, names = len(waiting), iter(waiting)
        failure: list[ClientError] = []

        async def worker(scope: trio.CancelScope) -> None:
            for name in names:
                data = chunks[name]()
                try:
                    await self._call("PUT", f"chunks/{name}", data, repeatable=True)
                except ClientError as error:
                    failure.append(error)
                    scope.cancel()
                    return
                told(len(data))

        async with trio.open_nursery() as nursery:
            for _ in range(AT_ONCE):
                nursery.start_soon(worker, nursery.cancel_scope)
        if failure:
            raise failure[0]
        return count

    async def hand_over(self, keys: list[bytes]) -> None:
        """Give the cluster the keys it signs with: key files that are not sealed. ClientError."""
        await self._call("POST", "keys", msgspec.json.encode({"keys": [msgspec.Raw(key) for key in keys]}))

    async def publish(self, publication: object) -> AsyncIterator[Progress]:
        """Serve it; how far that is, until it is done. ClientError."""
        body = msgspec.json.encode(publication)
        target = f"{BASE}/publish"
        async with self._transport.stream(target, method="POST", body=body, repeatable=False) as stream:
            if stream.status != 200:
                said = b"".join([piece async for piece in stream.pieces])
                raise refusal(Answer(stream.status, stream.headers, said, stream.endpoint))
            rest = b""
            async for piece in stream.pieces:
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    try:
                        yield msgspec.json.decode(line, type=Progress)
                    except msgspec.DecodeError as error:
                        raise StrangeAnswerError(f"the answer does not say how far it is: {error}") from None

    async def _call(self, method: str, what: str, body: bytes, *, repeatable: bool = False) -> Answer:
        answer = await self._transport.call(
            method, f"{BASE}/{what}", body, seconds=SECONDS, repeatable=repeatable, most=1 << 20
        )
        if answer.status != 200:
            raise refusal(answer)
        return answer
