"""`corenode machine`: the machines of the cluster, and what may be placed on them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup
from core.commands.unit_access import ask

if TYPE_CHECKING:
    from core.client.units import Host, Units

POLL_SECONDS = 0.5
_SHORT = 8

machine_argument = click.argument("machine", metavar="MACHINE")
why_option = click.option("--why", default="", metavar="TEXT", help="Shown to whoever asks.")


@click.group(cls=VerbGroup)
def command() -> None:
    """Machines that run units. MACHINE is an id, the beginning of one, or a name.

    \b
    Examples:
      corenode machine list
      corenode machine cordon node2 --why "disk is failing"
      corenode machine drain node2 --deadline 600 --at-once 2
      corenode machine uncordon node2
    """


@command.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List machines, their metadata, and how many units they have.

    \b
    Example:
      corenode machine list -o json
    """
    found = ask(connection, lambda units: units.hosts())
    if output_ == output.JSON:
        output.json(found)
    else:
        output.table(("MACHINE", "NAME", "ADDRESS", "UNITS", "STATE", "METADATA"), [_row(host) for host in found])


@command.command()
@machine_argument
@connection_options
def show(machine: str, connection: Connection) -> None:
    """Show all that is known of a machine.

    \b
    Example:
      corenode machine show node2
    """

    async def work(units: "Units") -> "Host":
        return _pick(await units.hosts(), machine)

    output.json(ask(connection, work))


@command.command()
@machine_argument
@why_option
@connection_options
def cordon(machine: str, why: str, connection: Connection) -> None:
    """Place nothing new on a machine. What runs there stays.

    \b
    Example:
      corenode machine cordon node2 --why "disk is failing"
    """

    async def work(units: "Units") -> None:
        host = _pick(await units.hosts(), machine)
        await units.cordon(host.id, why)
        output.note(f"{_called(host)} gets no new units; its {host.units} stay")

    ask(connection, work)


@command.command()
@machine_argument
@connection_options
def uncordon(machine: str, connection: Connection) -> None:
    """Place units on a machine again, after cordon or drain.

    \b
    Example:
      corenode machine uncordon node2
    """

    async def work(units: "Units") -> None:
        host = _pick(await units.hosts(), machine)
        await units.uncordon(host.id)
        output.note(f"{_called(host)} may get units again")

    ask(connection, work)


@command.command()
@click.argument("machine", metavar="ID")
@connection_options
def forget(machine: str, connection: Connection) -> None:
    """Let another host have a machine id: the one that had it is gone for good, or has a new key.

    \b
    Example:
      corenode machine forget 4ebf23c6d1f94a0f9f5f0c7f4f0e9c11
    """

    async def work(units: "Units") -> None:
        await units.forget(machine)
        output.note(f"{machine}: the next host that names this id has it")

    ask(connection, work)


@command.command()
@machine_argument
@why_option
@click.option("--deadline", type=click.IntRange(min=0), default=0, metavar="SECONDS",
              help="When it has passed, all that is left moves at once.  [default: none]")  # fmt: skip
@click.option("--at-once", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N",
              help="Units that may be on their way at the same time.")  # fmt: skip
@click.option("--no-block", is_flag=True, help="Do not wait until it is empty.")
@connection_options
def drain(machine: str, why: str, deadline: int, at_once: int, no_block: bool, connection: Connection) -> None:
    """Move all units of a machine elsewhere, and wait until it is empty.

    Global units go at the end. It gets no units until `machine uncordon`.

    \b
    Example:
      corenode machine drain node2 --deadline 600 --at-once 2
    """

    async def work(units: "Units") -> None:
        import trio

        host = _pick(await units.hosts(), machine)
        await units.drain(host.id, why, deadline, at_once)
        left = -1
        while not no_block:
            now = _pick(await units.hosts(), host.id)
            if now.units == 0:
                output.note(f"{_called(host)} is empty")
                return
            if now.units != left:
                left = now.units
                output.note(f"{_called(host)}: {left} units left")
            await trio.sleep(POLL_SECONDS)

    ask(connection, work)


def _pick(hosts: "Sequence[Host]", text: str) -> "Host":
    found = [host for host in hosts if text == host.id or (host.machine is not None and host.machine.name == text)]
    found = found or [host for host in hosts if text and host.id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        raise Failure(f"{text} means {len(found)} machines: {', '.join(host.id for host in found)}.")
    raise Failure(f"There is no machine {text!r}; there are {', '.join(map(_called, hosts)) or 'none'}.")


def _called(host: "Host") -> str:
    return host.machine.name if host.machine is not None and host.machine.name else host.id[:_SHORT]


def _row(host: "Host") -> tuple[object, ...]:
    state = "ready" if host.present else "away"
    if host.drain is not None:
        state += ", draining"
    elif host.cordoned:
        state += f", cordoned: {host.cordoned}"
    elif host.machine is not None and host.machine.leaving is not None:
        state += ", about to restart"
    metadata = ",".join(f"{key}={value}" for key, value in sorted(host.metadata.items()))
    machine = host.machine
    return (
        host.id[:_SHORT],
        machine.name if machine else "-",
        machine.address if machine else "-",
        host.units,
        state,
        metadata or "-",
    )
