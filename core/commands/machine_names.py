"""What machines are called in tables and sentences."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.client.units import Units

_SHORT = 8


async def called(units: "Units") -> dict[str, str]:
    """What the machines that are there are called in tables, by id."""
    return {host.id: short(host.id, host.machine.name if host.machine else "") for host in await units.hosts()}


def short(machine: str, name: str = "") -> str:
    """A machine for people: the beginning of its id, with its name if that is known."""
    return f"{machine[:_SHORT]}/{name}" if name else machine[:_SHORT]
