"""Pages of a listing, by tokens as fleet has them: the limit and the page, two 16-bit numbers."""

import base64
import binascii
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import trio

from core.api.fleet.answers import Refused, query_of
from core.api.http.message import Request

LIMIT = 100
KEPT_SECONDS = 10.0
"""How long the further pages of a listing are of the revision of the first."""

_TOKEN = struct.Struct("<HH")
T = TypeVar("T")


def page_of(request: Request) -> int:
    """Which page is asked for, the first is 1. Refused 400."""
    tokens = [value for name, value in query_of(request) if name == "nextPageToken"]
    if len(tokens) > 1:
        raise Refused(400, "too many values for nextPageToken")
    if not tokens or not tokens[0]:
        return 1
    try:
        limit, page = _TOKEN.unpack(base64.b64decode(tokens[0], altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, struct.error):
        raise Refused(400, "nextPageToken is none that this API gave") from None
    if limit != LIMIT:
        raise Refused(400, f"nextPageToken: the limit is {LIMIT}, not {limit}")
    if page < 1:
        raise Refused(400, "nextPageToken: the first page is 1")
    return int(page)


def token_of(page: int) -> str:
    """The token that asks for a page."""
    return base64.urlsafe_b64encode(_TOKEN.pack(LIMIT, page)).decode()


def cut(items: Sequence[T], page: int) -> tuple[Sequence[T], str]:
    """The items of a page, and the token of the next (empty: there is none). After a last page that is full comes an
    empty one, as in fleet."""
    start, stop = (page - 1) * LIMIT, page * LIMIT
    if start >= len(items):
        return (), ""
    return items[start:stop], token_of(page + 1) if stop <= len(items) else ""


class Listing(Generic[T]):
    """What was listed last, for the pages behind the first."""

    def __init__(self, read: Callable[[], Awaitable[Sequence[T]]]) -> None:
        self._read = read
        self._items: Sequence[T] | None = None
        self._until = 0.0

    async def items(self, page: int) -> Sequence[T]:
        """Everything: as it is now for a first page, and for another as it was then, if that is not long ago."""
        now = trio.current_time()
        if page == 1 or self._items is None or now > self._until:
            self._items = await self._read()
        self._until = now + KEPT_SECONDS
        return self._items
