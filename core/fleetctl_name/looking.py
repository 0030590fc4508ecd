"""The commands of fleetctl that look."""

import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from core.commands import output, unit_access
from core.commands.connection import Connection
from core.commands.failure import Failure
from core.commands.unit_access import name_of
from core.fleetctl_name.tables import short, table

if TYPE_CHECKING:
    from core.client.units import Host, Place, Unit, Units
    from core.fleetctl_name.flags import Words

T = TypeVar("T")
_MACHINES = ("machine", "ip", "metadata")
_UNITS = ("unit", "machine", "active", "sub", "load", "hash")
_FILES = ("unit", "hash", "dstate", "state", "target", "tmachine", "global", "desc")
_HASH = 7


class Looks:
    """Commands that change nothing. Each returns the exit code."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def cat(self, words: "Words") -> int:
        """Print the text of a unit, byte for byte."""
        name = _one(words)
        text = self._ask(lambda units: units.text(name))
        sys.stdout.buffer.write(text)
        return 0

    def list_machines(self, words: "Words") -> int:
        """The machines that are there."""
        hosts = [host for host in self._ask(lambda units: units.hosts()) if host.present]
        full = words.is_on("l", "full")
        rows = [
            {
                "machine": short(host.id, full=full),
                "ip": host.machine.address if host.machine else "",
                "metadata": ",".join(f"{key}={value}" for key, value in sorted(host.metadata.items())),
            }
            for host in hosts
        ]
        return _print(words, "machine,ip,metadata", _MACHINES, rows)

    def list_units(self, words: "Words") -> int:
        """Units and how they fare, a line for each machine."""
        units, hosts = self._ask(_units_and_hosts)
        full = words.is_on("l", "full")
        rows = [
            {
                "unit": unit.name,
                "machine": _machine(place, hosts, full=full),
                "load": place.state.load,
                "active": place.state.active,
                "sub": place.state.sub,
                "hash": _hash(place.text or unit.text, full=full),
            }
            for unit in units
            for place in unit.places
            if place.state is not None
        ]
        return _print(words, "unit,machine,active,sub", _UNITS, rows)

    def list_unit_files(self, words: "Words") -> int:
        """What is stored."""
        if "tmachine" in words.flags.get("fields", ""):
            print('WARNING: The "tmachine" field is deprecated. Use "target" instead', file=sys.stderr)
        full = words.is_on("full")
        units, hosts, texts = self._ask(_units_hosts_and_texts)
        rows = [_file(unit, hosts, texts.get(unit.name, b""), full=full) for unit in units if not unit.of]
        return _print(words, "unit,hash,dstate,state,target", _FILES, rows)

    def status(self, words: "Words") -> int:
        """What their machines know of units."""
        for place, word in enumerate(words.arguments):
            name = name_of(word)
            if place:
                print()
            machine, known, text = self._ask(partial(_status, name=name))
            print(f"* {name} - {output.printable(_description(text)) or name}")
            known = {key: output.printable(value) for key, value in known.items()}
            print(f"   Loaded: {known.get('LoadState', '')}\n   Active: {known.get('ActiveState', '')} "
                  f"({known.get('SubState', '')})\n  Machine: {machine}")  # fmt: skip
            if known.get("MainPID", "0") != "0":
                print(f" Main PID: {known['MainPID']}")
        return 0

    def journal(self, words: "Words") -> int:
        """A unit's log, from the machine it is on."""
        name = _one(words)
        lines = words.flags.get("lines", "10")
        if not lines.isdecimal():
            raise Failure(f"invalid value {lines!r} for --lines")

        async def work(units: "Units") -> None:
            async with units.logs(name, lines=int(lines), follow=words.is_on("f", "follow")) as stream:
                async for piece in stream.pieces:
                    output.log(piece)

        self._ask(work)
        return 0

    def ssh(self, words: "Words") -> int:
        """Run the ssh program towards a machine, or the machine of a unit."""
        arguments = list(words.arguments)
        wanted = words.flags.get("machine") or words.flags.get("unit") or (arguments.pop(0) if arguments else "")
        if not wanted:
            raise Failure("Provide one machine or unit")
        address = self._ask(lambda units: _address(units, wanted, is_unit="unit" in words.flags))
        user = words.values.get("ssh-username", "core")
        options = ["-A"] if words.is_on("A", "forward-agent") else []
        if "ssh-port" in words.flags:
            options += ["-p", words.flags["ssh-port"]]
        return subprocess.run(["ssh", *options, f"{user}@{address}", *arguments], check=False).returncode

    def _ask(self, work: "Callable[[Units], Awaitable[T]]") -> T:
        return unit_access.ask(self._connection, work)


async def _status(units: "Units", name: str) -> tuple[str, dict[str, str], bytes]:
    return *(await units.status(name)), await units.text(name)


async def _units_and_hosts(units: "Units") -> "tuple[tuple[Unit, ...], dict[str, Host]]":
    return await units.list(), {host.id: host for host in await units.hosts()}


async def _units_hosts_and_texts(units: "Units") -> "tuple[tuple[Unit, ...], dict[str, Host], dict[str, bytes]]":
    found, hosts = await _units_and_hosts(units)
    known: dict[str, bytes] = {}
    for unit in found:
        if unit.text and unit.text not in known:
            known[unit.text] = await units.text(unit.name)
    return found, hosts, {unit.name: known[unit.text] for unit in found if unit.text}


async def _address(units: "Units", wanted: str, *, is_unit: bool) -> str:
    """The address of a machine, or of the machine of a unit. Failure."""
    hosts = {host.id: host for host in await units.hosts() if host.machine is not None}
    found = [] if is_unit else [host for host in hosts.values() if host.id.startswith(wanted)]
    if not found:
        unit = await units.get(name_of(wanted))
        found = [hosts[place.machine] for place in unit.places if place.machine in hosts] if unit else []
    if len(found) != 1 or found[0].machine is None:
        raise Failure(
            f"Found {len(found)} machines for {wanted}" if found else f"Unable to determine the location of {wanted}"
        )
    return found[0].machine.address


def _file(unit: "Unit", hosts: "dict[str, Host]", text: bytes, *, full: bool) -> dict[str, str]:
    from core.sched import fleet_section, names, unit_text

    parsed = unit_text.parse(text) if text else None
    is_global = parsed is not None and fleet_section.is_global(parsed)
    many = is_global or names.parse(unit.name).is_template
    target = "global" if is_global else _machine(unit.places[0], hosts, full=full) if unit.places and not many else ""
    return {
        "unit": unit.name,
        "hash": _hash(unit.text, full=full),
        "dstate": unit.desired,
        "state": "" if many else _state(unit),
        "target": target,
        "tmachine": target,
        "global": "true" if is_global else "false",
        "desc": _description(text),
    }


def _description(text: bytes) -> str:
    from core.sched import unit_text

    return unit_text.parse(text).last("Unit", "Description") or "" if text else ""


def _state(unit: "Unit") -> str:
    """fleet's reckoning: launched says that a start was asked for, not that it runs."""
    placed = [place for place in unit.places if place.desired]
    loaded = placed and placed[0].state is not None and placed[0].state.load == "loaded"
    return placed[0].desired if loaded else "inactive"


def _machine(place: "Place", hosts: "dict[str, Host]", *, full: bool) -> str:
    host = hosts.get(place.machine)
    address = host.machine.address if host is not None and host.machine is not None else ""
    return short(place.machine, full=full) + (f"/{address}" if address else "")


def _hash(text: str, *, full: bool) -> str:
    return text if full else text[:_HASH]


def _one(words: "Words") -> str:
    if len(words.arguments) != 1:
        raise Failure("One unit file must be provided")
    return name_of(words.arguments[0])


def _print(words: "Words", default: str, known: Iterable[str], rows: Iterable[dict[str, str]]) -> int:
    columns = words.flags.get("fields", default).split(",")
    try:
        for line in table(columns, tuple(known), rows, legend=not words.is_on("no-legend")):
            print("\t".join(map(output.printable, line.split("\t"))))
    except ValueError as error:
        raise Failure(f"{error}; there are {', '.join(known)}") from None
    return 0
