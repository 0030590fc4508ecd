"""The updater of one host: a state machine whose every step may be said again.

idle ─ an order comes ─ installing ─ waiting ─ locking ─ draining ─ rebooting ─┐
 └──────── settling ───────── good ───────── proving ──── restart ────────────┘
              └─────────── returning ──────────┘

Before a step begins, that is written to the journal; `resumed` says where a fresh start of this program goes on.
"""

import logging
import math
import random
from collections.abc import Awaitable, Callable
from typing import Literal

import msgspec
import trio
from msgspec.structs import replace

from core.update.host.course import resumed, stopped
from core.update.host.journal import Image, Journal, Memory, Step
from core.update.host.ports import Host, Lock, Order, Orders, RefusedUpdateError, Slots, UpdateError
from core.update.records import Stage
from core.update.windows import Window

Strategy = Literal["reboot", "lock", "off"]
"""When the host restarts for an update: at once, under the lock, or when somebody else makes it."""

INSTALLS = 3
"""How often an install that ends with an error is tried before the order counts as failed."""
LOOK_SECONDS = 10.0
"""How often what is waited for is looked at without a sign, and the lock is shown to be held by somebody alive."""
WELL_SECONDS = 1.0
"""How often health is looked at."""
RETRY_SECONDS, LONGEST_RETRY_SECONDS = 2.0, 300.0
REBOOT_SECONDS = 300.0
"""How long a restart may take to begin before it is asked for again."""

log = logging.getLogger(__name__)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator decided for this host. Times in seconds."""

    strategy: Strategy = "lock"
    window: Window | None = None
    """None: at any time."""
    drain: int = 300
    """How long units may take to leave."""
    healthy: float = 60.0
    """How long the host must be well before the new slot counts as good."""
    deadline: float = 600.0
    """How long it may take to become so before it goes back."""


class Shown(msgspec.Struct, frozen=True):
    """What the updater is about."""

    step: Step = "idle"
    stage: Stage = "idle"
    done: int = 0
    """Bytes of the image that are behind it."""
    total: int = 0
    why: str = ""
    """What it waits for, or what went wrong last."""


class Updater:
    """`run` it once, in one task."""

    def __init__(
        self,
        memory: Memory,
        host: Host,
        slots: Slots,
        lock: Lock,
        orders: Orders,
        policy: Policy,
        chance: random.Random,
        told: Callable[[], None] = lambda: None,
    ) -> None:
        """`told` is called whenever `journal` or `shown` has changed."""
        self._memory = memory
        self._host = host
        self._slots = slots
        self._lock = lock
        self._orders = orders
        self._policy = policy
        self._chance = chance
        self._told = told
        self._by_hand: Order | None = None
        self._hurry = False
        self._asked = trio.Event()
        self.journal = Journal()
        self.shown = Shown()

    def apply(self, image: Image | None, *, hurry: bool) -> None:
        """What an operator on this host wants: install this image, if one is named; `hurry`: restart whatever strategy
        and window say, for it or for what is waiting."""
        if image is not None:
            self._by_hand = Order(image, by_hand=True)
        self._hurry = hurry
        self._asked.set()

    async def run(self) -> None:
        """Never returns. OSError if the journal cannot be kept, UpdateError if the disk cannot be read; then run it
        again."""
        steps: dict[Step, Callable[[Journal], Awaitable[Journal]]] = {
            "idle": self._idle,
            "installing": self._install,
            "waiting": self._wait,
            "locking": self._take_lock,
            "draining": self._drain,
            "rebooting": self._reboot,
            "proving": self._prove,
            "good": self._mark,
            "returning": self._return,
            "settling": self._settle,
        }
        self.journal = await self._memory.read()
        used = self._slots.used
        good = next(slot.good for slot in await self._slots.status() if slot.name == used)
        await self._enter(resumed(self.journal, self._host.boot_id, used, good=good))
        while True:
            await self._enter(await steps[self.journal.step](self.journal))

    async def _enter(self, journal: Journal) -> None:
        """Durably, before anything is done about it."""
        new = journal.step != self.journal.step
        if new or not journal.began:
            journal = replace(journal, boot=self._host.boot_id, began=self._host.uptime())
        await self._memory.write(journal)
        if new:
            log.info("update: %s", journal.step, extra={"version": journal.wanted.version if journal.wanted else ""})
        self.journal = journal
        failed = journal.error and journal.step in ("idle", "settling")
        self._show("failed" if failed else _STAGES[journal.step], why=journal.error if failed else "")
        self._told()

    def _show(self, stage: Stage, done: int = 0, total: int = 0, why: str = "") -> None:
        shown = Shown(self.journal.step, stage, done, total, why)
        if shown != self.shown:
            self.shown = shown
            self._told()

    def _trouble(self, why: str) -> None:
        """What keeps the present step from going on."""
        if why != self.shown.why:
            log.info("update: %s", why, extra={"step": self.journal.step})
        self._show(self.shown.stage, self.shown.done, self.shown.total, why)

    @property
    def _locks(self) -> bool:
        return self._policy.strategy != "reboot"

    # From an order to a slot that may start

    async def _idle(self, journal: Journal) -> Journal:
        while True:
            order, self._by_hand = self._by_hand or self._orders.order, None
            if order is not None and self._is_new(order, journal):
                used = self._slots.used
                slot = next(each.name for each in await self._slots.status() if each.name != used)
                return replace(
                    journal,
                    step="installing",
                    wanted=order.image,
                    attempt=order.attempt,
                    by_hand=order.by_hand,
                    hurry=order.by_hand and self._hurry,
                    slot=slot,
                    used=used,
                    error="",
                )
            self._hurry = False
            await self._news()

    def _is_new(self, order: Order, journal: Journal) -> bool:
        """Whether it is another image than runs, and not one that failed already."""
        running = journal.slots.get(self._slots.used)
        runs = running is not None and running.sha256 == order.image.sha256
        return order.by_hand or not (runs or journal.failed == (order.image.sha256, order.attempt))

    async def _news(self, seconds: float = math.inf) -> None:
        """Return when there may be another order, from the cluster or by hand."""
        with trio.move_on_after(seconds):
            async with trio.open_nursery() as nursery:

                async def heard(wait: Callable[[], Awaitable[None]]) -> None:
                    await wait()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(heard, self._asked.wait)
                nursery.start_soon(heard, self._orders.changed)
        self._asked = trio.Event()

    async def _install(self, journal: Journal) -> Journal:
        image, slot = journal.wanted, journal.slot
        if image is None or slot is None:
            return replace(journal, step="idle")
        pause = RETRY_SECONDS
        for left in reversed(range(INSTALLS)):
            try:
                await self._slots.install(image, slot, self._show)
                break
            except UpdateError as error:
                if isinstance(error, RefusedUpdateError) or not left:
                    return stopped(journal, f"{image.version} was not installed: {error}")
                self._trouble(str(error))
                await trio.sleep(pause * self._chance.uniform(0.5, 1.5))
                pause *= 4
        return replace(journal, step="waiting", slots={**journal.slots, slot: image})

    # From there to the restart

    async def _wait(self, journal: Journal) -> Journal:
        """Until this host may restart."""
        while not self._is_withdrawn(journal):
            if self._hurry:
                journal, self._hurry = replace(journal, hurry=True), False
            if self._is_open(journal) and (journal.hurry or self._policy.strategy != "off"):
                return replace(journal, step="locking" if self._locks else "rebooting")
            wait = LOOK_SECONDS
            if self._policy.strategy == "off":
                self._trouble("it is installed, and starts when this host is restarted: --reboot-strategy is off")
            elif self._policy.window is not None:
                now = self._host.now()
                opens = self._policy.window.wait(now)
                wait = min(opens.total_seconds(), LOOK_SECONDS)
                self._trouble(f"the window for restarts opens {now + opens:%a %H:%M}")
            await self._news(wait)
        return await self._withdraw(journal)

    def _is_withdrawn(self, journal: Journal) -> bool:
        """Whether somebody has changed his mind."""
        if self._by_hand is not None:
            return True
        order = self._orders.order
        return self._orders.known and not journal.by_hand and (order is None or order.image != journal.wanted)

    async def _withdraw(self, journal: Journal) -> Journal:
        """What was installed does not start."""
        used = self._slots.used
        await self._persist(lambda: self._slots.prefer(used), f"slot {used} cannot be kept")
        return await self._without_lock(replace(journal, wanted=None, hurry=False), "idle")

    def _is_open(self, journal: Journal) -> bool:
        window = self._policy.window
        return window is None or journal.hurry or window.holds(self._host.now())

    async def _take_lock(self, journal: Journal) -> Journal:
        while not self._is_withdrawn(journal):
            if not self._is_open(journal):  # asked again each time, for the lock may come late
                return await self._without_lock(journal, "waiting")
            try:
                await self._lock.acquire()
            except UpdateError as error:
                self._trouble(f"the reboot lock cannot be had yet: {error}")
                await self._lock.changed(LOOK_SECONDS * self._chance.uniform(1, 2))
            else:
                if self._is_open(journal) and not self._is_withdrawn(journal):
                    return replace(journal, step="draining")
        return await self._withdraw(journal)

    async def _without_lock(self, journal: Journal, step: Step) -> Journal:
        """Let the lock go, whether it is held or not, and go on so."""
        if self._locks:
            await self._persist(self._lock.release, "the reboot lock cannot be let go")
        return replace(journal, step=step)

    async def _drain(self, journal: Journal) -> Journal:
        await self._empty(journal)
        if self._is_withdrawn(journal):
            await self._persist(self._host.stay, "units cannot be told to come back")
            return await self._withdraw(journal)
        return replace(journal, step="rebooting")

    async def _empty(self, journal: Journal) -> None:
        """Have all units leave, for as long as the policy says."""
        patience = self._policy.drain
        with trio.move_on_after(max(journal.began + patience - self._host.uptime(), 0)):
            await self._persist(lambda: self._host.drain(patience), "units cannot be asked to leave")
            looked = -math.inf
            while left := self._host.units():
                self._trouble(
                    f"units that are still to leave: {left}" if left > 0 else "the cluster is told that it leaves"
                )
                looked = await self._show_holding(looked)
                await trio.sleep(WELL_SECONDS)

    async def _reboot(self, journal: Journal) -> Journal:
        if self._locks:
            await self._empty(journal)  # a fresh start of this program has told nobody
        while True:
            following = next((slot.name for slot in await self._slots.status() if slot.next), None)
            if following != journal.slot:
                return stopped(journal, f"slot {following} starts next, and not slot {journal.slot}: somebody chose so")
            await self._restart()

    async def _restart(self) -> None:
        try:
            await self._host.reboot()
        except UpdateError as error:
            self._trouble(str(error))
            await trio.sleep(LOOK_SECONDS)
            return
        self._trouble("it was told to restart")
        await trio.sleep(REBOOT_SECONDS)
        self._trouble(f"this host was told to restart {REBOOT_SECONDS:g} s ago and did not")

    # After it

    async def _prove(self, journal: Journal) -> Journal:
        """Well for long enough, or back."""
        well, looked = 0.0, -math.inf
        while True:
            now = self._host.uptime()
            why = await self._host.unwell()
            well = 0.0 if why else well or now
            if not why and now - well >= self._policy.healthy:
                return replace(journal, step="good", error="")
            if why and now - journal.began >= self._policy.deadline and await self._may_return(journal):
                return replace(journal, step="returning", error=f"slot {journal.slot} did not prove itself: {why}")
            self._trouble(why or f"it is well, and has to be for {self._policy.healthy:g} s")
            looked = await self._show_holding(looked)
            await trio.sleep(WELL_SECONDS)

    async def _show_holding(self, looked: float) -> float:
        """Now and then, so that a lock that expires does not take us for dead; when it was last."""
        now = self._host.uptime()
        if not self._locks or now - looked < LOOK_SECONDS:
            return looked
        try:
            await self._lock.acquire()
        except UpdateError as error:
            log.info("the reboot lock is not held: %s", error)
        return now

    async def _may_return(self, journal: Journal) -> bool:
        """Whether there is a slot to go back to."""
        return any(slot.name == journal.used and slot.bootable for slot in await self._slots.status())

    async def _mark(self, journal: Journal) -> Journal:
        await self._persist(lambda: self._slots.good(self._slots.used), "the slot cannot be marked as good")
        return replace(journal, step="settling")

    async def _return(self, journal: Journal) -> Journal:
        """Back to where it came from."""
        used = journal.used
        if used is None:
            return stopped(journal, journal.error)
        await self._persist(lambda: self._slots.prefer(used), f"slot {used} cannot be made to start")
        await self._empty(journal)
        while True:
            await self._restart()

    async def _settle(self, journal: Journal) -> Journal:
        """The lock is for others as soon as this host is well."""
        await self._persist(self._host.stay, "units cannot be told to come back")
        while journal.error and (why := await self._host.unwell()):
            self._trouble(f"{journal.error}; and {why}")
            await trio.sleep(WELL_SECONDS)
        return await self._without_lock(replace(journal, hurry=False), "idle")

    async def _persist(self, work: Callable[[], Awaitable[None]], what: str) -> None:
        """Do it until it is done."""
        pause = RETRY_SECONDS
        while True:
            try:
                return await work()
            except UpdateError as error:
                self._trouble(f"{what}: {error}")
            await trio.sleep(pause * self._chance.uniform(0.5, 1.5))
            pause = min(pause * 2, LONGEST_RETRY_SECONDS)


_STAGES: dict[Step, Stage] = {
    "idle": "idle",
    "installing": "fetching",
    "waiting": "waiting",
    "locking": "waiting",
    "draining": "waiting",
    "rebooting": "rebooting",
    "proving": "proving",
    "good": "proving",
    "returning": "rebooting",
    "settling": "proving",
}
