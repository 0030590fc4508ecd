"""What the agent asks of whatever runs units on this host. `core.agent.systemd` and `core.agent.supervisor` are it."""

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from types import TracebackType
from typing import Literal, Self

import msgspec
import trio

Load = Literal["loaded", "not-found", "bad-setting", "error", "masked"]
Active = Literal["active", "reloading", "inactive", "failed", "activating", "deactivating"]

CHANGES = 256
"""How many changes wait for the agent before it is told to list everything."""


class Actual(msgspec.Struct, frozen=True):
    """One unit as it is on this host, in systemd's words."""

    name: str
    text: str
    """Sha256 of the unit's text as it was loaded, in hexadecimal."""
    load: Load
    active: Active
    sub: str
    """Depends on the type of unit: running, exited, dead, auto-restart, failed, waiting, mounted…"""
    since: int
    """Unix seconds when `active` or `sub` became so."""
    result: str = ""
    """Why it is so, if not by request: `exit-code 3`, `signal KILL`, `timeout`, `start-limit-hit`; else empty."""
    pid: int = 0
    """The main process; 0: none."""
    restarts: int = 0
    """How often the executor started it again by the unit's own Restart= since it was started."""

    @property
    def up(self) -> bool:
        """Whether it runs, or is on its way: it need not be started."""
        return self.active in ("active", "reloading", "activating")


class ExecutorError(Exception):
    """One unit could not be loaded, started, …; the others are not concerned. The text is a sentence for people."""

    def __init__(self, what: str, why: str, advice: str = "") -> None:
        self.what = what
        """`load web.service`"""
        self.why = why
        self.advice = advice
        """What to do next, as a sentence; may be empty."""
        super().__init__(f"could not {what}: {why}" + (f". {advice}" if advice else ""))


class ExecutorGone(Exception):  # noqa: N818 - a state of the host rather than somebody's mistake
    """What runs units does not answer: D-Bus is away, say. Nothing is known of any unit until it is back; all of it is
    asked for again, beginning with `adopt`. The text says what is away and why."""


class Executor(ABC):
    """One for a host: `async with` it, then `adopt` first.

    Names are whole unit names (`web@1.service`), already checked by `core.sched`. Calls for different units may run at
    the same time; for one unit the agent makes one call at a time. Each method raises ExecutorError if it fails for
    that unit, ExecutorGone if nothing can be said of any unit. A call that is cancelled may have had its effect or not;
    the next `adopt` tells. Everything is idempotent: asking for what is so already does nothing and is no error.

    Leaving the block lets go of connections and tasks; it stops no unit.
    """

    async def __aenter__(self) -> Self:
        return self

    @abstractmethod
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    @abstractmethod
    async def adopt(self) -> dict[str, Actual]:
        """What is there of ours, by name, running or not: after a start, after ExecutorGone, now and then, and whenever
        `changes` gave None. It takes over what an earlier process left, and changes nothing about it."""

    @abstractmethod
    async def load(self, name: str, text: bytes) -> None:
        """Put the unit there, enabled if it has an [Install] section, not started. Another text replaces the one there,
        without stopping what runs: it holds from the next start on. May need `settle` before `start`."""

    @abstractmethod
    async def settle(self) -> None:
        """After a group of loads and unloads: make them count, in one go (systemd's daemon-reload)."""

    @abstractmethod
    async def unload(self, name: str) -> None:
        """Stop it, waiting at most its own stop timeout and what follows it, then forget it and remove its file. If
        it cannot be stopped it stays loaded, and ExecutorError says why."""

    @abstractmethod
    async def start(self, name: str) -> None:
        """Ask for it to be started; returns when that is under way, not when it is up: `changes` tells the rest.
        A failed unit is started anew, its limits of restarts forgotten."""

    @abstractmethod
    async def stop(self, name: str) -> None:
        """Stop it and return when it is down, by force after its stop timeout. It stays loaded."""

    @abstractmethod
    async def reload(self, name: str) -> None:
        """Ask a running unit to read its configuration again (ExecReload=). ExecutorError if it knows no such thing."""

    @abstractmethod
    def changes(self) -> "trio.MemoryReceiveChannel[Actual | None]":
        """The one channel of changes as they happen, each unit's whole state; open as long as the block. When CHANGES
        wait already, the executor drops what it would add and gives None instead, which asks for `adopt`."""

    @abstractmethod
    def logs(self, name: str, *, lines: int, follow: bool) -> AsyncGenerator[bytes]:
        """The last `lines` lines of what it wrote, each whole and with its newline, then with `follow` each new one
        until `aclose`. Works for units that run no more, as long as they are loaded."""

    @abstractmethod
    async def properties(self, name: str) -> dict[str, str]:
        """For `unit status`, in systemd's names: MainPID, MemoryCurrent (bytes), CPUUsageNSec, ExecMainStatus,
        StateChangeTimestamp, …: what is known, an empty one if nothing is."""

    @abstractmethod
    async def check(self, name: str, command: Sequence[str], seconds: float) -> str:
        """Run a command as the unit's own programs are run: as its user and group, in its cgroup, with its environment,
        directory and limits, in the namespaces of the host. Why it failed, in words; empty if it passed. It ends within
        `seconds` and what a start costs, its output is bounded, and nothing it started is left, cancelled or not."""
