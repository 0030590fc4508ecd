"""`corenode unit list|files|cat|status|logs|explain`: the verbs that look."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.machine_names import called, short
from core.commands.unit_access import ask, name_of
from core.commands.unit_wait import ENDED, has_ended

if TYPE_CHECKING:
    from core.client.units import Place, Unit, Units
    from core.sched.explain import Verdict

_SHORT = 8
_REASONS = 5
_REASONS_SECONDS = 2.0
_STATUS_FIRST = ("Description", "LoadState", "ActiveState", "SubState", "MainPID", "StatusText", "Result")

unit_argument = click.argument("unit", metavar="UNIT")
machine_option = click.option("--machine", default="", metavar="ID", help="Of a unit on several machines, this one.")


@click.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List units, where they are and how they fare.

    \b
    Example:
      corenode unit list
    """

    async def work(units: "Units") -> "tuple[tuple[Unit, ...], Mapping[str, str], Mapping[str, str]]":
        found = await units.list()
        if output_ == output.JSON:
            return found, {}, {}
        return found, await called(units), await _reasons(units, [unit.name for unit in found if _waits(unit)])

    found, machines, reasons = ask(connection, work)
    if output_ == output.JSON:
        output.json(found)
        return
    rows = [row for unit in found for row in _rows(unit, machines, reasons)]
    output.table(("UNIT", "WANTED", "MACHINE", "ACTIVE", "SUB", "SINCE", "WHY"), rows)


@click.command()
@output.format_option(output.TABLE, output.JSON)
@connection_options
def files(output_: str, connection: Connection) -> None:
    """List what is stored: units, their texts, what is wanted of them.

    \b
    Example:
      corenode unit files
    """
    found = [unit for unit in ask(connection, lambda units: units.list()) if unit.text and not unit.of]
    if output_ == output.JSON:
        output.json([{"name": unit.name, "text": unit.text, "desired": unit.desired} for unit in found])
        return
    rows = [
        (unit.name, unit.text[:12], unit.desired, "-" if unit.replicas is None else unit.replicas) for unit in found
    ]
    output.table(("UNIT", "TEXT", "WANTED", "REPLICAS"), rows)


@click.command()
@unit_argument
@connection_options
def cat(unit: str, connection: Connection) -> None:
    """Print the text of a unit, byte for byte.

    \b
    Example:
      corenode unit cat hello.service
    """
    name = name_of(unit)
    click.echo(ask(connection, lambda units: units.text(name)), nl=False)


@click.command()
@unit_argument
@machine_option
@output.format_option(output.TABLE, output.JSON)
@connection_options
def status(unit: str, machine: str, output_: str, connection: Connection) -> None:
    """Show what the machine that has a unit knows of it.

    \b
    Example:
      corenode unit status hello.service
    """
    name = name_of(unit)

    async def work(units: "Units") -> tuple[str, dict[str, str], str]:
        where, properties = await units.status(name, machine)
        found = await units.get(name)
        ended = [_ended(place) for place in found.places if place.machine == where] if found is not None else []
        return where, properties, "".join(ended)

    where, properties, ended = ask(connection, work)
    if output_ == output.JSON:
        output.json({"unit": name, "machine": where, "properties": properties})
        return
    first = [key for key in _STATUS_FIRST if key in properties]
    keys = [*first, *sorted(set(properties) - set(first))]
    rows = [("Machine", where), *([("Outcome", ended)] if ended else []), *((key, properties[key]) for key in keys)]
    output.table(("PROPERTY", "VALUE"), rows)


@click.command()
@unit_argument
@machine_option
@click.option("-n", "--lines", type=click.IntRange(0, 100_000), default=10, show_default=True, help="The last lines.")
@click.option("-f", "--follow", is_flag=True, help="Go on as the log grows.")
@connection_options
def logs(unit: str, machine: str, lines: int, follow: bool, connection: Connection) -> None:
    """Print a unit's log from whichever machine it is on.

    \b
    Examples:
      corenode unit logs -n 100 hello.service
      corenode unit logs -f hello.service
    """
    name = name_of(unit)

    async def work(units: "Units") -> None:
        from core.client.errors import ConnectionLostError

        async with units.logs(name, machine, lines=lines, follow=follow) as stream:
            try:
                async for piece in stream.pieces:
                    output.log(piece)
            except ConnectionLostError:
                where = f"corenode unit list says where {name} is now"
                raise Failure(f"The log broke off: its host, or the node between, is gone. {where}.") from None

    ask(connection, work)


@click.command()
@unit_argument
@output.format_option(output.TABLE, output.JSON)
@connection_options
def explain(unit: str, output_: str, connection: Connection) -> None:
    """Say why a unit is where it is, why not elsewhere, and what it waits for.

    \b
    Example:
      corenode unit explain hello.service
    """
    name = name_of(unit)
    found = ask(connection, lambda units: units.explain(name))
    if output_ == output.JSON:
        output.json(found)
        return
    for machine, why in found.placed.items():
        names = {each.machine: each.name for each in found.verdicts if each.name}
        output.note(f"{name} is on {short(machine, names.get(machine, ''))}: {why}")
    if found.waits_for:
        output.note(f"{name} waits for {found.waits_for}")
    rows = [(each.machine[:_SHORT], each.name or "-", _verdict(each), each.reason) for each in found.verdicts]
    if rows:
        output.table(("MACHINE", "NAME", "VERDICT", "REASON"), rows)


def _verdict(verdict: "Verdict") -> str:
    if verdict.here:
        return "is here" if verdict.qualifies else "must leave"
    return "would do" if verdict.qualifies else "no"


async def _reasons(units: "Units", waiting: list[str]) -> dict[str, str]:
    """What units wait for; of many, where to ask: each answer costs the node a look at everything."""
    import trio

    from core.client.errors import RefusedError

    reasons = {name: f"corenode unit explain {name}" for name in waiting}
    with trio.move_on_after(_REASONS_SECONDS):
        for name in waiting[:_REASONS]:
            try:
                reasons[name] = f"waits for {(await units.explain(name)).waits_for or 'its machine'}"
            except RefusedError:  # destroyed meanwhile
                continue
    return reasons


def _rows(unit: "Unit", machines: "Mapping[str, str]", reasons: "Mapping[str, str]") -> list[tuple[object, ...]]:
    if not unit.places:
        return [(unit.name, unit.desired, "-", "-", "-", "-", reasons.get(unit.name, ""))]
    return [
        (unit.name, place.desired or "gone", machines.get(place.machine, place.machine[:_SHORT]), *_state(place))
        for place in unit.places
    ]


def _waits(unit: "Unit") -> bool:
    return not unit.places and unit.desired != "inactive" and "@." not in unit.name


def _state(place: "Place") -> tuple[object, ...]:
    state = place.state
    if state is None:
        return "-", "-", "-", "its machine has told nothing yet"
    since = datetime.fromtimestamp(state.since, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if state.since else "-"
    active = f"{state.active} ({state.health})" if state.health else state.active
    return active, state.sub, since, state.why if state.active != "active" and state.why else _ended(place)


def _ended(place: "Place") -> str:
    return ENDED if has_ended(place) else ""
