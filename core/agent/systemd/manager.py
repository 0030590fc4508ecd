"""systemd's own calls, as far as we need them (org.freedesktop.systemd1(5))."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from jeepney import DBusAddress, message_bus

from core.agent.systemd.bus import Body, Bus

NAME = "org.freedesktop.systemd1"
BUS = "org.freedesktop.DBus"
_ROOT = "/org/freedesktop/systemd1"
UNITS = f"{_ROOT}/unit"
UNIT = f"{NAME}.Unit"
PROPERTIES = "org.freedesktop.DBus.Properties"
RELOAD_SECONDS = 90.0
"""daemon-reload reads every unit of the host anew."""

_MANAGER = DBusAddress(_ROOT, NAME, f"{NAME}.Manager")


class Listed(NamedTuple):
    """One row of a listing."""

    name: str
    load: str
    active: str
    sub: str


class Manager:
    """Raises CallError and BusGoneError."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def subscribe(self) -> str:
        """Have signals sent: of each unit's properties, of jobs that end, and of systemd's own coming and going.
        Under which name they will come."""
        await self._bus.match(sender=BUS, member="NameOwnerChanged", arg0=NAME)
        await self._bus.match(sender=NAME, interface=PROPERTIES, member="PropertiesChanged", path_namespace=UNITS)
        await self._bus.match(sender=NAME, interface=f"{NAME}.Manager", member="JobRemoved", path=_ROOT)
        await self._call("Subscribe")
        owner = await self._bus.call(message_bus, "GetNameOwner", "s", (NAME,))
        return str(owner[0])

    async def link(self, path: str) -> None:
        """Let systemd know a unit file that lies elsewhere, until the reboot."""
        await self._call("LinkUnitFiles", "asbb", ([path], True, True))

    async def enable(self, name: str) -> None:
        """As its [Install] section says, until the reboot."""
        await self._call("EnableUnitFiles", "asbb", ([name], True, True))

    async def disable(self, name: str) -> None:
        """Undo `enable` and `link`."""
        await self._call("DisableUnitFiles", "asb", ([name], True))

    async def reload(self) -> None:
        await self._call("Reload", seconds=RELOAD_SECONDS)

    async def job(self, method: str, name: str, queued: Callable[[str], None]) -> None:
        """StartUnit, StopUnit or ReloadUnit; `queued` is given the job's path before any signal of its end."""
        await self._bus.call(_MANAGER, method, "ss", (name, "replace"), heard=lambda body: queued(body[0]))

    async def reset_failed(self, name: str) -> None:
        await self._call("ResetFailedUnit", "s", (name,))

    async def list(self, names: Sequence[str], heard: Callable[[list[Listed]], None]) -> None:
        """The states of units by name, loading what is not loaded; `heard` is given them in order with signals."""

        def rows(body: Body) -> None:
            heard([Listed(row[0], row[2], row[3], row[4]) for row in body[0]])

        await self._bus.call(_MANAGER, "ListUnitsByNames", "as", (list(names),), heard=rows)

    async def get(self, name: str, interface: str, prop: str, heard: Callable[[Any], None] | None = None) -> Any:
        """One property of a unit; `heard` is given it in order with signals."""

        def value(body: Body) -> None:
            if heard is not None:
                heard(body[0][1])

        address = DBusAddress(unit_path(name), NAME, PROPERTIES)
        body = await self._bus.call(address, "Get", "ss", (interface, prop), heard=value)
        return body[0][1]

    async def _call(self, method: str, signature: str = "", body: Body = (), seconds: float = 25.0) -> Body:
        return await self._bus.call(_MANAGER, method, signature, body, seconds=seconds)


def unit_path(name: str) -> str:
    """The object of a unit: every byte but letters and digits is written `_xx`, a leading digit as well."""
    escaped = "".join(
        chr(byte) if chr(byte).isascii() and chr(byte).isalnum() and (i or not chr(byte).isdigit()) else f"_{byte:02x}"
        for i, byte in enumerate(name.encode())
    )
    return f"{UNITS}/{escaped or '_'}"


def unit_name(path: str) -> str:
    """The unit of an object's path."""
    first, *rest = path.removeprefix(f"{UNITS}/").split("_")
    data = bytearray(first.encode())
    for part in rest:
        data += bytes.fromhex(part[:2]) + part[2:].encode()
    return data.decode(errors="replace")


def type_interface(name: str) -> str:
    """The interface of what units of this type have beside what all have: `org.freedesktop.systemd1.Service`."""
    return f"{NAME}.{name.rpartition('.')[2].capitalize()}"
