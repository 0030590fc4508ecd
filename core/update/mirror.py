"""The records of updates as the conductor knows them: decoded once when they come, not each time it plans."""

import logging
from collections.abc import Callable, Set

import trio

from core.client import KeyValue
from core.update import keys
from core.update.keys import Kind
from core.update.plan import Releases, World
from core.update.records import Channel, Group, Offer, R, RecordError, Report, decode

log = logging.getLogger(__name__)


class Mirror:
    """Empty at first; `apply` is told of each key."""

    def __init__(self) -> None:
        self.groups: dict[str, Group] = {}
        self._channels: dict[str, Channel] = {}
        self._reports: dict[str, Report] = {}
        self._offers: dict[str, Offer] = {}
        self._alive: set[str] = set()
        self._stored: dict[bytes, KeyValue] = {}
        self._since: dict[str, float] = {}
        """When each offer was seen first, by this process's monotonic clock."""

    def apply(self, key: bytes, kv: KeyValue | None) -> None:
        """A key has this value; None: it is gone."""
        place = keys.parse(key)
        if place is None:
            return
        if kv is None:
            self._stored.pop(key, None)
        else:
            self._stored[key] = kv
        match place.kind:
            case Kind.CHANNEL:
                _set(self._channels, place.name, Channel, kv)
            case Kind.GROUP:
                _set(self.groups, place.name, Group, kv)
            case Kind.REPORT:
                _set(self._reports, place.name, Report, kv)
            case Kind.OFFER:
                _set(self._offers, place.name, Offer, kv)
                self._since.pop(place.name, None)
                if kv is not None:
                    self._since[place.name] = trio.current_time()
            case Kind.ALIVE:
                (self._alive.discard if kv is None else self._alive.add)(place.name)

    def seen(self) -> dict[bytes, KeyValue]:
        """What a plan that is made now rests on: a copy, for its transactions to compare."""
        return dict(self._stored)

    def world(self, releases: Releases, is_open: Callable[[Group], bool]) -> World:
        """What a plan is made from: copies, which stay as they are while it is made."""
        now = trio.current_time()
        ages = {machine: now - since for machine, since in self._since.items()}
        open_: Set[str] = {name for name, group in self.groups.items() if is_open(group)}
        return World(
            dict(self._channels),
            dict(self.groups),
            dict(self._reports),
            dict(self._offers),
            set(self._alive),
            ages,
            open_,
            releases,
        )


def _set(records: dict[str, R], name: str, kind: type[R], kv: KeyValue | None) -> None:
    records.pop(name, None)
    if kv is not None:
        try:
            records[name] = decode(kind, kv.value)
        except RecordError as error:
            log.warning("a record of updates is left out: %s", error, extra={"name_": name})
