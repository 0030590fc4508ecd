"""This host, as its updater asks for it: its units, its health, its restart."""

import logging
import shlex
import subprocess
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

import trio

from core.client.errors import ClientError
from core.client.store import Store
from core.sched.records import Drain
from core.update import keys
from core.update.host.ports import UpdateError

AT_ONCE = 4
"""Units that may be on their way to other hosts at the same time."""
ANSWER_SECONDS = 5.0
"""How long the store may take to answer a healthy host."""
COMMAND_SECONDS = 60.0

log = logging.getLogger(__name__)


class Units(Protocol):
    """The units of this host; its agent fulfils it."""

    @property
    def held(self) -> int | None:
        """How many there are or are to be; None while that is not known."""
        ...

    @property
    def ailing(self) -> list[str]:
        """Those that have failed, or whose checks fail."""
        ...

    def leave(self, drain: Drain | None) -> None:
        """Have them taken away; None: no more."""
        ...


class ThisHost:
    """Fulfils `core.update.host.ports.Host`."""

    def __init__(
        self,
        store: Store,
        machine: str,
        boot_id: str,
        units: Callable[[], Units | None],
        check: Sequence[str],
        reboot: Sequence[str],
    ) -> None:
        """`units`: None if nothing runs units here; `check`: a command that succeeds while this host is well, if there
        is one; `reboot`: one that makes it restart."""
        self._store = store
        self._machine = machine
        self._boot_id = boot_id
        self._units = units
        self._check = check
        self._reboot = reboot
        self._leaving: Drain | None = None

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def uptime(self) -> float:
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def now(self) -> datetime:
        return datetime.now().astimezone()

    async def reboot(self) -> None:
        why = await _run(self._reboot)
        if why:
            raise UpdateError(f"this host cannot be restarted: {why}")
        log.info("this host was told to restart")

    async def drain(self, seconds: int) -> None:
        units = self._units()
        if units is not None and self._leaving is None:
            self._leaving = Drain(int(time.time()) + seconds, AT_ONCE)
            units.leave(self._leaving)
        await trio.lowlevel.checkpoint()

    async def stay(self) -> None:
        units = self._units()
        self._leaving = None
        if units is not None:
            units.leave(None)
        await trio.lowlevel.checkpoint()

    def units(self) -> int:
        units = self._units()
        if units is None:
            return 0
        held = units.held
        return -1 if held is None else held

    async def unwell(self) -> str:
        units = self._units()
        if units is not None and units.held is None:
            return "its agent has not registered this host yet"
        if units is not None and (ailing := units.ailing):
            return f"units of it are not well: {', '.join(ailing[:5])}"
        with trio.move_on_after(ANSWER_SECONDS) as patience:
            try:
                # Linearizable: a member answers when it has applied all that was decided before.
                await self._store.range(keys.report(self._machine), keys_only=True)
            except ClientError as error:
                return f"its store does not answer: {error}"
        if patience.cancelled_caught:
            return "its store does not answer"
        if not self._check:
            return ""
        why = await _run(self._check)
        return why and f"the check of its operator fails: {why}"


async def _run(command: Sequence[str]) -> str:
    """Why a command did not succeed; empty if it did."""
    text = shlex.join(command)
    try:
        with trio.move_on_after(COMMAND_SECONDS):
            done = await trio.run_process(command, check=False, capture_stdout=True, stderr=subprocess.STDOUT)
            if done.returncode == 0:
                return ""
            said = done.stdout.decode(errors="replace").strip().partition("\n")[0][:200]
            return f"{text} ended with {done.returncode}" + (f": {said}" if said else "")
    except OSError as error:
        return f"{text} cannot be run: {error.strerror}"
    return f"{text} did not end within {COMMAND_SECONDS:g} s"
