"""`corenode unit`: the verbs that change what is wanted of units. Those that look are in `unit_show`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output, unit_rollout, unit_show, unit_wait
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup
from core.commands.unit_access import ask, change, name_of, reach, read

if TYPE_CHECKING:
    from core.client.units import Units

files_argument = click.argument("units", nargs=-1, required=True, metavar="UNIT...")
unit_argument = click.argument("unit", metavar="UNIT")
replace_option = click.option("--replace", is_flag=True, help="Put the file in place of the text that is there.")
no_block_option = click.option("--no-block", is_flag=True, help="Do not wait until it is so.")
wait_option = click.option("--wait", type=click.FloatRange(min=0, min_open=True), default=60.0, show_default=True,
                           metavar="SECONDS", help="How long to wait until it is so.")  # fmt: skip


@click.group(cls=VerbGroup)
def command() -> None:
    """Units of systemd's kind that run somewhere in the cluster, and elsewhere when their machine is gone.

    UNIT is a name, as web@1.service, or the path of a file, which is submitted first if the cluster does not know its
    name.

    \b
    Examples:
      corenode unit start hello.service
      corenode unit list
      corenode unit explain hello.service
      corenode unit logs -f hello.service
      corenode unit destroy hello.service
    """


@command.command()
@files_argument
@replace_option
@connection_options
def submit(units: tuple[str, ...], replace: bool, connection: Connection) -> None:
    """Store unit files in the cluster, and run nothing yet.

    \b
    Example:
      corenode unit submit web@.service db.service
    """
    reach(connection, units, "inactive", replace=replace)


@command.command()
@files_argument
@replace_option
@no_block_option
@wait_option
@connection_options
def load(units: tuple[str, ...], replace: bool, no_block: bool, wait: float, connection: Connection) -> None:
    """Give units a machine, and their files to its init system, and start nothing yet.

    \b
    Example:
      corenode unit load timer.timer
    """
    reach(connection, units, "loaded", replace=replace, wait=0 if no_block else wait)


@command.command()
@files_argument
@replace_option
@no_block_option
@wait_option
@connection_options
def start(units: tuple[str, ...], replace: bool, no_block: bool, wait: float, connection: Connection) -> None:
    """Start units, and wait until they run. If one does not, say why.

    \b
    Examples:
      corenode unit start hello.service
      corenode unit start web@1 web@2 web@3
    """
    reach(connection, units, "launched", replace=replace, wait=0 if no_block else wait)


@command.command()
@files_argument
@no_block_option
@wait_option
@connection_options
def stop(units: tuple[str, ...], no_block: bool, wait: float, connection: Connection) -> None:
    """Stop units. They keep their machine.

    \b
    Example:
      corenode unit stop hello.service
    """
    change(connection, units, "loaded", wait=0 if no_block else wait)


@command.command()
@files_argument
@no_block_option
@wait_option
@connection_options
def unload(units: tuple[str, ...], no_block: bool, wait: float, connection: Connection) -> None:
    """Stop units, and take them from their machines. The cluster keeps their texts.

    \b
    Example:
      corenode unit unload hello.service
    """
    change(connection, units, "inactive", wait=0 if no_block else wait)


@command.command()
@files_argument
@connection_options
def restart(units: tuple[str, ...], connection: Connection) -> None:
    """Stop and start units where they are.

    \b
    Example:
      corenode unit restart hello.service
    """

    async def work(found: "Units") -> None:
        for unit in units:
            await found.restart(name_of(unit))
            output.note(f"{name_of(unit)} is being restarted")

    ask(connection, work)


@command.command()
@files_argument
@connection_options
def destroy(units: tuple[str, ...], connection: Connection) -> None:
    """Stop units and forget them.

    \b
    Example:
      corenode unit destroy hello.service
    """

    async def work(found: "Units") -> None:
        for unit in units:
            await found.destroy(name_of(unit))
            output.note(f"{name_of(unit)} is destroyed")

    ask(connection, work)


@command.command()
@unit_argument
@click.argument("number", type=click.IntRange(min=0), metavar="NUMBER")
@no_block_option
@wait_option
@connection_options
def scale(unit: str, number: int, no_block: bool, wait: float, connection: Connection) -> None:
    """Keep NUMBER instances of a template, whatever its Replicas= says.

    \b
    Example:
      corenode unit scale web@.service 5
    """
    name = name_of(unit)

    async def work(found: "Units") -> None:
        await found.scale(name, number)
        output.note(f"{name} is kept in {number} instances")
        if not no_block:
            await unit_wait.until(found, [name], "launched", wait)

    ask(connection, work)


@command.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@connection_options
def verify(files: tuple[Path, ...], connection: Connection) -> None:
    """Say whether unit files would be taken, and what to know about them. Nothing is stored.

    \b
    Example:
      corenode unit verify web@.service
    """

    from core.client.errors import RefusedError

    async def work(found: "Units") -> None:
        for file in files:
            try:
                warnings = await found.check(file.name, read(file))
            except RefusedError as error:
                raise Failure(f"{file} would be refused: {error}.") from None
            for warning in warnings:
                output.note(f"{file.name}: {warning}")
            output.note(f"{file.name} would be taken")

    ask(connection, work)


command.add_command(unit_show.list_, "list")
command.add_command(unit_show.files)
command.add_command(unit_show.cat)
command.add_command(unit_show.status)
command.add_command(unit_show.logs)
command.add_command(unit_show.explain)
command.add_command(unit_rollout.rollout)
