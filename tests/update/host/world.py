"""A simulated world for updaters: hosts with two slots and a boot loader, one reboot lock, power cuts and crashes.

All that an updater asks is asked of this world, which may end it at any such moment, before or after the effect.
"""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec
import trio
import trio.lowlevel

from core.partitions.boot import TRIES, SlotName
from core.update.host.journal import Image, Journal
from core.update.host.ports import Order, RefusedUpdateError, SlotState, UpdateError
from core.update.host.updater import Policy, Updater
from core.update.records import Stage

NOON = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday
BOOT_SECONDS = 20.0


class CrashError(BaseException):
    """The process is killed here."""


class PowerCutError(BaseException):
    """The host goes dark here, and starts again."""


def image(version: str) -> Image:
    return Image("os", version, "x86_64", f"hash of {version}", 1)


class Slot(msgspec.Struct):
    """What is really on the disk."""

    holds: str = ""
    """The version; `torn` while it is being written."""
    priority: int = 0
    tries: int = 0
    good: bool = False

    @property
    def bootable(self) -> bool:
        return self.priority > 0 and (self.good or self.tries > 0)


class TheLock:
    """The reboot lock of all hosts of the world."""

    def __init__(self) -> None:
        self.holders: list[str] = []
        self.moved = trio.Event()

    def move(self) -> None:
        self.moved.set()
        self.moved = trio.Event()


class World:
    """What all hosts share, and what is decided by chance or by the test."""

    def __init__(self, seed: int, policy: Policy) -> None:
        self.chance = random.Random(seed)
        self.policy = policy
        self.lock = TheLock()
        self.sick: set[str] = set()
        """Versions that never become well."""
        self.dead: set[str] = set()
        """Versions that do not even come up."""
        self.unfit: set[str] = set()
        """Versions whose install is refused."""
        self.flaky = 0.1
        """How often an install fails that would do."""
        self.down: set[str] = set()
        """Hosts that are restarting."""
        self.fall: Callable[[str, str], type[BaseException] | None] = lambda _host, _point: None
        """Asked at each named point: whether to end here, and how."""


class SimHost:
    """A host. It is the updater's journal file, its host and its orders; `life` is its whole story."""

    def __init__(self, name: str, world: World) -> None:
        self.name = name
        self.world = world
        self.slots: dict[SlotName, Slot] = {"A": Slot("1", 1, 0, True), "B": Slot()}
        self.used: SlotName = "A"
        self.boots = 1
        self.kept = Journal()
        self.wanted: Order | None = None
        self.known = True
        self.placed = 3
        self.leaving = False
        self.points: list[str] = []
        self.updater: Updater | None = None
        self._news = trio.Event()

    async def life(self) -> None:
        """Starts and restarts of the program and of the host; never returns."""
        while True:
            self.leaving, self.placed = False, 3
            lock, disk = _Held(self), _Disk(self)
            self.updater = Updater(self, self, disk, lock, self, self.world.policy, self.world.chance)
            try:
                await self.updater.run()
            except CrashError:
                await trio.sleep(1)
            except PowerCutError:
                self.world.down.add(self.name)
                await trio.sleep(BOOT_SECONDS)
                self.start()
                self.world.down.remove(self.name)

    def want(self, version: str | None, attempt: int = 1) -> None:
        """What the cluster wants of it."""
        self.wanted = None if version is None else Order(image(version), attempt)
        self._news.set()
        self._news = trio.Event()

    @property
    def version(self) -> str:
        """What runs."""
        return self.slots[self.used].holds

    @property
    def journal(self) -> Journal:
        return self.kept

    def next(self) -> SlotName | None:
        """What the boot loader would start."""
        bootable = [name for name, slot in self.slots.items() if slot.bootable]
        return max(bootable, key=lambda name: (self.slots[name].priority, name == "A"), default=None)

    def start(self) -> None:
        """What the boot loader does."""
        self.boots += 1
        for _ in range(TRIES + 2):
            chosen = self.next()
            assert chosen is not None, f"{self.name} does not start any more: {self.slots}"
            slot = self.slots[chosen]
            assert slot.holds not in ("", "torn"), f"{self.name} starts slot {chosen}, which is not whole"
            if slot.tries:
                slot.tries -= 1
            if slot.holds not in self.world.dead:
                self.used = chosen
                return
        raise AssertionError(f"{self.name} tries dead slots for ever: {self.slots}")

    async def point(self, name: str) -> None:
        """A moment at which it may end."""
        self.points.append(name)
        await trio.lowlevel.checkpoint()
        fall = self.world.fall(self.name, name)
        if fall is not None:
            raise fall

    # core.update.host.ports.Orders

    @property
    def order(self) -> Order | None:
        return self.wanted

    async def changed(self) -> None:
        await self._news.wait()

    # core.update.host.journal.Memory

    async def read(self) -> Journal:
        return self.kept

    async def write(self, journal: Journal) -> None:
        await self.point(f"before {journal.step}")
        self.kept = msgspec.json.decode(msgspec.json.encode(journal), type=Journal)
        await self.point(f"after {journal.step}")

    # core.update.host.ports.Host

    @property
    def boot_id(self) -> str:
        return f"{self.name}-{self.boots}"

    def uptime(self) -> float:
        return trio.current_time()

    def now(self) -> datetime:
        return NOON + timedelta(seconds=trio.current_time())

    async def reboot(self) -> None:
        await self.point("reboot")
        if self.world.policy.strategy != "reboot":
            # A sick host goes back whether it has the lock or not: it was started by a power cut, before its turn.
            turn = self.kept.step == "returning" or self.name in self.world.lock.holders
            assert turn, f"{self.name} restarts without the lock"
            assert not self.placed, f"{self.name} restarts with units"
        raise PowerCutError

    async def drain(self, seconds: int) -> None:
        await self.point("drain")
        self.leaving = True

    async def stay(self) -> None:
        await self.point("stay")
        self.leaving, self.placed = False, 3

    def units(self) -> int:
        if self.leaving and self.placed:
            self.placed -= 1
        return self.placed

    async def unwell(self) -> str:
        await self.point("unwell")
        return "its units fail" if self.version in self.world.sick else ""


class _Disk:
    """The slots of a host, as its updater sees them."""

    def __init__(self, host: SimHost) -> None:
        self._host = host

    @property
    def used(self) -> SlotName:
        return self._host.used

    async def status(self) -> tuple[SlotState, SlotState]:
        await self._host.point("status")
        following = self._host.next()
        a, b = (SlotState(name, s.good, s.bootable, name == following) for name, s in self._host.slots.items())
        return a, b

    async def install(self, image: Image, slot: SlotName, tell: Callable[[Stage, int, int], None]) -> None:
        host, disk = self._host, self._host.slots
        assert slot != host.used, f"{host.name} writes to the slot in use"
        await host.point("fetch")
        if image.version in host.world.unfit:
            raise RefusedUpdateError("it does not fit")
        disk[slot] = Slot("torn")
        tell("writing", 0, 1)
        await host.point("write")
        if host.world.chance.random() < host.world.flaky:
            raise UpdateError("no source answers")
        tell("comparing", 1, 1)
        disk[slot] = Slot(image.version)
        await host.point("compare")
        disk[slot] = Slot(image.version, disk[host.used].priority + 1, TRIES)
        await host.point("end")

    async def good(self, slot: SlotName) -> None:
        await self._host.point("before good")
        found = self._host.slots[slot]
        found.good, found.tries = True, 0
        await self._host.point("after good")

    async def prefer(self, slot: SlotName) -> None:
        await self._host.point("before prefer")
        slots = self._host.slots
        if not slots[slot].bootable:
            raise UpdateError(f"slot {slot} holds nothing that may start")
        other: SlotName = "B" if slot == "A" else "A"
        slots[slot].priority, slots[other].priority = 2, min(slots[other].priority, 1)
        await self._host.point("after prefer")


class _Held:
    """The lock, as the updater of one host sees it."""

    def __init__(self, host: SimHost) -> None:
        self._host = host
        self._lock = host.world.lock

    async def acquire(self) -> None:
        await self._host.point("before acquire")
        if self._host.name not in self._lock.holders:
            if self._lock.holders:
                raise UpdateError("semaphore is at 0")
            self._lock.holders.append(self._host.name)
            self._lock.move()
        await self._host.point("after acquire")

    async def release(self) -> None:
        await self._host.point("before release")
        if self._host.name in self._lock.holders:
            self._lock.holders.remove(self._host.name)
            self._lock.move()
        await self._host.point("after release")

    async def changed(self, seconds: float) -> None:
        with trio.move_on_after(seconds):
            await self._lock.moved.wait()
