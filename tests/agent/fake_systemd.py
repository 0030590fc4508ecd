"""A stand-in for systemd on a bus of its own, for what a real one does not do when asked: lie, hang, go away."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import trio
from jeepney import (
    DBusAddress,
    HeaderFields,
    MessageType,
    message_bus,
    new_error,
    new_method_return,
    new_signal,
)
from jeepney.io.trio import DBusConnection, open_dbus_connection

from core.agent.systemd.manager import NAME, UNIT, unit_name, unit_path

ROOT = "/org/freedesktop/systemd1"
Answer = tuple[str, tuple[Any, ...]]

_CONFIGURATION = """
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/>
    <allow send_type="method_call"/><allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/><allow receive_type="signal"/>
    <allow receive_type="method_return"/><allow receive_type="error"/>
  </policy>
</busconfig>
"""


class BusDaemon:
    """dbus-daemon with a socket of its own."""

    def __init__(self, directory: Path) -> None:
        self._configuration = directory / "bus.conf"
        self._socket = directory / "bus"
        self.address = f"unix:path={self._socket}"
        self._daemon: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._socket.unlink(missing_ok=True)
        self._configuration.write_text(_CONFIGURATION.format(socket=self._socket))
        self._daemon = subprocess.Popen(
            ["dbus-daemon", f"--config-file={self._configuration}", "--nofork", "--nopidfile", "--print-address"],
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._daemon.stdout is None or not self._daemon.stdout.readline():
            raise RuntimeError("dbus-daemon did not start")

    def stop(self) -> None:
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.communicate()
            self._daemon = None


@contextmanager
def bus_daemon(directory: Path) -> Iterator[BusDaemon]:
    daemon = BusDaemon(directory)
    try:
        yield daemon
    finally:
        daemon.stop()


class FakeSystemd:
    """Units are what `start` made active. `answers` replaces the answer to a method; None there is no answer at all."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._connection: DBusConnection | None = None
        self.active: dict[str, str] = {}
        self.calls: list[str] = []
        self.caller = ""
        """The name on the bus of who called last."""
        self.answers: dict[str, Callable[[tuple[Any, ...]], Answer] | None] = {}
        self._jobs = 0

    async def serve(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Take the name and answer until cancelled or the bus goes."""
        async with await open_dbus_connection(self._address) as self._connection:
            # No router for this one reply: it would swallow the call of whoever sees the name at once.
            asked = next(self._connection.outgoing_serial)
            await self._connection.send(message_bus.RequestName(NAME), serial=asked)
            while True:
                try:
                    message = await self._connection.receive()
                except (trio.EndOfChannel, trio.BrokenResourceError):
                    return
                if message.header.message_type is MessageType.method_call:
                    await self._answer(message)
                elif message.header.fields.get(HeaderFields.reply_serial) == asked:
                    task_status.started()

    async def _answer(self, message: Any) -> None:
        method = message.header.fields[HeaderFields.member]
        self.calls.append(method)
        self.caller = message.header.fields[HeaderFields.sender]
        answer: Callable[[tuple[Any, ...]], Answer] | None = getattr(self, f"_{method}", lambda body: ("", ()))
        answer = self.answers.get(method, answer)
        if answer is None or self._connection is None:
            return
        body = message.body
        if method == "Get":
            body = (unit_name(message.header.fields[HeaderFields.path]), *body)
        signature, values = answer(body)
        if signature == "error":
            await self._connection.send(new_error(message, values[0], "s", (values[1],)))
            return
        await self._connection.send(new_method_return(message, signature or None, values))
        if method in ("StartUnit", "StopUnit"):
            name = body[0]
            await self.changed(name, "active" if method == "StartUnit" else "inactive")
            await self.job_removed(values[0], name, "done")

    async def changed(self, name: str, active: str, *, sender: DBusConnection | None = None) -> None:
        """Say that a unit has become so; as somebody else with `sender`."""
        if sender is None:
            self.active[name] = active
        values = {"ActiveState": ("s", active), "SubState": ("s", "running" if active == "active" else "dead")}
        path = DBusAddress(unit_path(name), interface="org.freedesktop.DBus.Properties")
        await self._send(new_signal(path, "PropertiesChanged", "sa{sv}as", (UNIT, values, [])), sender)

    async def job_removed(self, path: str, name: str, result: str) -> None:
        manager = DBusAddress(ROOT, interface=f"{NAME}.Manager")
        await self._send(new_signal(manager, "JobRemoved", "uoss", (1, path, name, result)), None)

    async def _send(self, message: Any, sender: DBusConnection | None) -> None:
        if sender is not None:  # what is sent to one alone asks for no match
            message.header.fields[HeaderFields.destination] = self.caller
        connection = sender or self._connection
        if connection is None:
            raise RuntimeError("not on the bus")
        await connection.send(message)

    def _StartUnit(self, body: tuple[Any, ...]) -> Answer:  # noqa: N802 - D-Bus's names
        self._jobs += 1
        return "o", (f"{ROOT}/job/{self._jobs}",)

    _StopUnit = _ReloadUnit = _StartUnit

    def _LinkUnitFiles(self, body: tuple[Any, ...]) -> Answer:  # noqa: N802
        links = Path(os.environ["XDG_RUNTIME_DIR"], "systemd/user")
        links.mkdir(parents=True, exist_ok=True)
        for path in body[0]:
            (links / Path(path).name).symlink_to(path)
        return "a(sss)", ([],)

    def _ListUnitsByNames(self, body: tuple[Any, ...]) -> Answer:  # noqa: N802
        rows = []
        for name in body[0]:
            active = self.active.get(name, "inactive")
            sub = "running" if active == "active" else "dead"
            rows.append((name, "", "loaded", active, sub, "", unit_path(name), 0, "", "/"))
        return "a(ssssssouso)", (rows,)

    def _Get(self, body: tuple[Any, ...]) -> Answer:  # noqa: N802
        name, _, prop = body
        known: dict[str, tuple[str, Any]] = {
            "FragmentPath": ("s", ""),
            "ActiveState": ("s", self.active.get(name, "inactive")),
            "Result": ("s", "success"),
            "ConditionResult": ("b", True),
        }
        return "v", (known.get(prop, ("t", 0)),)
