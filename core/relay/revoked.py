"""The revoked certificates as a worker knows them: asked of the members, and kept for the next start."""

import logging
from pathlib import Path

import msgspec
import trio

from core.client.errors import ClientError
from core.relay.upstreams import Upstreams

ASK_EVERY_SECONDS = 5.0
ASK_SECONDS = 3.0
PATH = "/corenode/revocations"
MOST_BYTES = 16 << 20

_logger = logging.getLogger(__name__)


class _List(msgspec.Struct, frozen=True):
    serials: tuple[str, ...]


class Revoked:
    """Fulfils `Revocations` of the admission. While no member can be asked, what was revoked before stays so."""

    def __init__(self, file: Path, upstreams: Upstreams) -> None:
        """`file` is its own, below the data directory; it may not be there yet."""
        self.revocations = 0
        self._file = file
        self._upstreams = upstreams
        self._serials: frozenset[int] = frozenset()
        self._tag = b""
        self._told = ""
        if file.exists():
            self._take(file.read_bytes())

    def is_revoked(self, serial: int) -> bool:
        """See `Revocations`."""
        return serial in self._serials

    async def keep(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.refresh()
            await trio.sleep(ASK_EVERY_SECONDS)

    async def refresh(self) -> None:
        """Ask the members, one after the other, until one answers."""
        why = "no member is known"
        for upstream in self._upstreams.in_order():
            headers = [(b"If-None-Match", self._tag)] if self._tag else []
            try:
                answer = await upstream.transport.call(
                    "GET", PATH, headers=headers, seconds=ASK_SECONDS, most=MOST_BYTES
                )
                if answer.status == 304:
                    return
                if answer.status != 200:
                    raise ValueError(f"HTTP status {answer.status}")
                self._take(answer.body)
            except (ClientError, ValueError, msgspec.DecodeError) as error:
                why = f"{upstream.endpoint.text}: {error}"
                continue
            self._tag, self._told = answer.headers.get("etag", "").encode(), ""
            await trio.to_thread.run_sync(self._write, answer.body)
            return
        if why != self._told:
            self._told = why
            _logger.warning("which certificates are revoked cannot be asked; those known stay so", extra={"why": why})

    def _take(self, data: bytes) -> None:
        """ValueError, DecodeError, and then all is as before."""
        found = frozenset(int(serial, 16) for serial in msgspec.json.decode(data, type=_List).serials)
        if found != self._serials:
            self._serials = found
            self.revocations += 1

    def _write(self, data: bytes) -> None:
        part = self._file.with_name(f".{self._file.name}.part")
        try:
            part.write_bytes(data)
            part.replace(self._file)
        except OSError as error:
            _logger.warning("the list of revoked certificates cannot be kept", extra={"why": str(error)})
