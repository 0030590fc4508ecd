"""What the updater asks of its surroundings, and what it tells them."""

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import msgspec

from core.partitions.boot import SlotName
from core.update.host.journal import Image
from core.update.records import Stage


class UpdateError(Exception):
    """A step that cannot be done. The text says why; it is tried again if that may help."""


class RefusedUpdateError(UpdateError):
    """This image will never do: trying again does not help."""


class Order(msgspec.Struct, frozen=True):
    """An image that this host is to run."""

    image: Image
    attempt: int = 0
    by_hand: bool = False


class SlotState(msgspec.Struct, frozen=True):
    """One of the two slots."""

    name: SlotName
    good: bool
    bootable: bool
    next: bool
    """Whether it starts next."""


class Slots(Protocol):
    """The two slots of this host's disk. UpdateError from each."""

    @property
    def used(self) -> SlotName:
        """The one this host runs from."""
        ...

    async def status(self) -> tuple[SlotState, SlotState]: ...
    async def install(self, image: Image, slot: SlotName, tell: Callable[[Stage, int, int], None]) -> None:
        """Fetch, verify, write, compare, and let it start next, counted. `tell` hears the stage, and bytes done and in
        all. Interrupted anywhere, it may be said again, and the slot does not start until it has returned once."""
        ...

    async def good(self, slot: SlotName) -> None:
        """It starts from now on, without counting."""
        ...

    async def prefer(self, slot: SlotName) -> None:
        """It starts next, with the tries or the goodness it has."""
        ...


class Host(Protocol):
    """This host."""

    @property
    def boot_id(self) -> str: ...
    def uptime(self) -> float:
        """Seconds since some moment before this boot that no clock setting moves."""
        ...

    def now(self) -> datetime:
        """By the wall clock, in local time."""
        ...

    async def reboot(self) -> None:
        """Begin to restart. UpdateError if that cannot be begun."""
        ...

    async def drain(self, seconds: int) -> None:
        """Ask that units leave within so many seconds. May be said again. UpdateError."""
        ...

    async def stay(self) -> None:
        """Take that back."""
        ...

    def units(self) -> int:
        """How many are still here; -1 while nobody knows."""
        ...

    async def unwell(self) -> str:
        """What is not as it should be; empty if this host is healthy."""
        ...


class Lock(Protocol):
    """The reboot lock of this host. UpdateError from each."""

    async def acquire(self) -> None:
        """Take it, or show that one is there and holds it. UpdateError if it cannot be had now."""
        ...

    async def release(self) -> None:
        """Let it go; nothing happens if it is not held."""
        ...

    async def changed(self, seconds: float) -> None:
        """Return when somebody took it or let it go, after so many seconds at the latest."""
        ...


class Orders(Protocol):
    """What the cluster wants of this host."""

    @property
    def order(self) -> Order | None:
        """The last word, None if nothing is wanted. It is that of before while the cluster cannot be reached."""
        ...

    @property
    def known(self) -> bool:
        """Whether the cluster has been heard at all."""
        ...

    async def changed(self) -> None:
        """Return when there may be another order."""
        ...
