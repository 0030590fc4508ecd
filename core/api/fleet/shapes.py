"""What fleet's interface shows of texts, made once for each."""

from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress

import msgspec
import trio

from core.api.fleet.tables import texts
from core.client import Store
from core.sched import fleet_options, fleet_section, unit_text
from core.sched.fleet_options import FleetOption

MOST_BYTES = 4 << 20
"""Of the texts whose shapes are kept; what they come to is some times as much."""
COST = 200
"""Bytes that a shape counts for besides its text."""


class Shape(msgspec.Struct, frozen=True):
    """A text as fleet saw it."""

    options: tuple[FleetOption, ...] = ()
    """None of a text that fleet could not have read."""
    sha1: str = ""
    """fleet's name of it."""
    is_global: bool = False
    replicas: int = 0
    """How many instances it keeps, if it is a template's."""
    size: int = 0
    """Bytes of the text."""


class Shapes:
    """By hash, the ones asked for last."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[str, Shape] = OrderedDict()
        self._size = 0

    async def of(self, digests: Iterable[str]) -> dict[str, Shape]:
        """The shapes of texts; those that are gone are left out. ClientError."""
        found: dict[str, Shape] = {}
        missing = []
        for digest in sorted(set(digests)):
            if digest in self._kept:
                self._kept.move_to_end(digest)
                found[digest] = self._kept[digest]
            else:
                missing.append(digest)
        async for digest, data in texts(self._store, missing):
            found[digest] = shape = shape_of(data)
            self._keep(digest, shape)
            await trio.lowlevel.checkpoint()
        return found

    def _keep(self, digest: str, shape: Shape) -> None:
        if digest not in self._kept:
            self._kept[digest] = shape
            self._size += shape.size + COST
        while self._size > MOST_BYTES:
            self._size -= self._kept.popitem(last=False)[1].size + COST


def shape_of(data: bytes) -> Shape:
    """Made of a text's bytes."""
    try:
        options = tuple(fleet_options.options(data.decode()))
    except ValueError:
        options = ()
    is_global, replicas = False, 0
    with suppress(unit_text.UnitTextError):
        text = unit_text.parse(data)
        is_global, replicas = fleet_section.is_global(text), fleet_section.replicas(text)
    return Shape(options, fleet_options.sha1(list(options)) if options else "", is_global, replicas, len(data))
