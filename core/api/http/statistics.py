"""What the front end counts."""

from collections import Counter

import msgspec


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """Counts since the start, except the first three, which are as of now."""

    connections: int
    streams: int
    held_bytes: int
    """Unfinished requests and unsent responses."""
    accepted: int
    requests_recognised: int
    """Requests read by the recogniser."""
    requests_judged: int
    """Requests read by h11."""
    refused: dict[str, int]
    """Refusals and cut connections by reason: a status as text, or `idle`, `handshake`, `slow-reader`, `memory`,
    `connections`, `files`, `newcomer`."""


class Counters:
    """The running counts behind `Statistics`."""

    __slots__ = ("accepted", "judged", "recognised", "refused", "streams")

    def __init__(self) -> None:
        self.accepted = 0
        self.recognised = 0
        self.judged = 0
        self.streams = 0
        self.refused: Counter[str] = Counter()
