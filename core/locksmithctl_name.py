"""The program under the name `locksmithctl`: its words, flags and output, over this store or any etcd with v3.

Flags come before the command; each also as a variable, LOCKSMITHCTL_GROUP for -group.
"""

import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from core.commands.connection import DEFAULT_TIMEOUT, Connection, explain
from core.commands.failure import Failure
from core.commands.lock import own_id, turns
from core.goflags import FlagError, parse
from core.version import VERSION

if TYPE_CHECKING:
    from core.client import Store
    from core.update.reboot_lock import RebootLock
    from core.update.voters import Turns

T = TypeVar("T")
_FLAGS = {
    "debug": True,
    "endpoint": False,
    "etcd-cafile": False,
    "etcd-certfile": False,
    "etcd-keyfile": False,
    "etcd-username": False,
    "etcd-password": False,
    "group": False,
    "version": True,
    "help": True,
    "h": True,
}
_HELP = """locksmithctl - control and monitor the reboot lock

Usage:
  locksmithctl [flags] COMMAND

Commands:
  status          Show who holds the lock, and how many more may
  lock [ID]       Take the lock, for this machine or another one
  unlock [ID]     Let it go, for this machine or another one
  set-max N       Let N machines hold it at the same time
  reboot          Take the lock and reboot; the lock is to be let go afterwards

Flags:
"""


class _UsageError(Exception):
    """The command or its words are unknown."""


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Run a command; the exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        given, words = parse(arguments, _FLAGS)
        if "help" in given or "h" in given or words[:1] in ([], ["help"]):
            print(_HELP + "\n".join(f"  -{name}" for name in _FLAGS))
            return 0
        if "version" in given or words == ["version"]:
            print(f"locksmithctl version {VERSION} (corenode)")
            return 0
        values = {name: environ[variable] for name in _FLAGS if (variable := _variable(name)) in environ}
        values |= {name: ",".join(texts) for name, texts in given.items()}
        return _Program(values).run(words[0], words[1:])
    except (FlagError, _UsageError) as error:
        print(f"locksmithctl: {error}\nHelp: locksmithctl -help", file=sys.stderr)
        return 2
    except Failure as failure:
        print(f"locksmithctl: {failure.format_message()}", file=sys.stderr)
        return 1


class _Program:
    def __init__(self, values: Mapping[str, str]) -> None:
        self._group = values.get("group", "")
        user = values.get("etcd-username")
        self._connection = Connection(
            values.get("endpoint"),
            _path(values.get("etcd-cafile")),
            _path(values.get("etcd-certfile")),
            _path(values.get("etcd-keyfile")),
            None if user is None else f"{user}:{values.get('etcd-password', '')}",
            DEFAULT_TIMEOUT,
        )

    def run(self, command: str, words: Sequence[str]) -> int:
        match command, words:
            case "status", []:
                return self._status()
            case "lock" | "unlock", [] | [_]:
                holder = words[0] if words else own_id()
                taking = command == "lock"
                return self._do(f"{command}ing", lambda own: own.acquire(holder) if taking else own.release(holder))
            case "set-max", [number] if number.isdecimal():
                return self._set_max(int(number))
            case "reboot", []:
                return self._reboot()
            case "send-need-reboot", []:
                raise Failure(
                    "send-need-reboot is not here: it told locksmithd by D-Bus that update_engine wants a restart, and "
                    "neither runs on this host. Use reboot."
                )
            case (("status" | "lock" | "unlock" | "set-max" | "reboot" | "send-need-reboot"), _):
                raise _UsageError(f"{command} does not take {' '.join(words) or 'no word'}")
        raise _UsageError(f"unknown command {command!r}")

    def _status(self) -> int:
        found = self._ask(lambda lock: lock.status())
        print(f"Available: {found.available}\nMax: {found.max}")
        if found.holders:
            print("\nMACHINE ID", *(holder.id for holder in found.holders), sep="\n")
        return 0

    def _set_max(self, number: int) -> int:
        print(f"Old-Max: {self._ask(lambda lock: lock.set_max(number))}\nMax: {number}")
        return 0

    def _reboot(self) -> int:
        if os.geteuid() != 0:
            print("Must be root to initiate reboot.", file=sys.stderr)
            return 1
        holder = own_id()
        failed = self._do("locking", lambda own: own.acquire(holder))
        return failed or subprocess.run(["systemctl", "reboot"], check=False).returncode

    def _do(self, doing: str, work: "Callable[[Turns], Awaitable[object]]") -> int:
        from core.update.semaphore import SemaphoreError

        async def asked(store: "Store") -> object:
            return await turns(self._connection, store, self._group, work)

        try:
            self._run(asked)
        except SemaphoreError as error:
            print(f"Error {doing}: {error}", file=sys.stderr)
            return 1
        return 0

    def _ask(self, work: "Callable[[RebootLock], Awaitable[T]]") -> T:
        from core.update.reboot_lock import RebootLock

        async def asked(store: "Store") -> T:
            return await work(RebootLock(store, self._group))

        return self._run(asked)

    def _run(self, work: "Callable[[Store], Awaitable[T]]") -> T:
        from core.client.errors import ClientError
        from core.update.reboot_lock import RebootLockError

        try:
            return self._connection.run_store(work)
        except ClientError as error:
            raise Failure(explain(error)) from None
        except RebootLockError as error:
            raise Failure(f"{error}.") from None


def _variable(flag: str) -> str:
    return "LOCKSMITHCTL_" + flag.upper().replace("-", "_")


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text)
