"""`corenode unit rollout`: another text for a unit that runs, a few places at a time."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup
from core.commands.unit_access import ask, name_of, read

if TYPE_CHECKING:
    from core.client.units import Units
    from core.sched.records import Rollout

POLL_SECONDS = 0.5
_OVER = ("done", "returned")

unit_argument = click.argument("unit", metavar="UNIT")


@click.group(cls=VerbGroup)
def rollout() -> None:
    """Give a unit another text where it runs, a few places at a time; go back if the new one is not well.

    \b
    Examples:
      corenode unit rollout start web@.service new/web@.service --max-parallel 2
      corenode unit rollout status
      corenode unit rollout return web@.service
    """


@rollout.command()
@unit_argument
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--max-parallel", type=click.IntRange(1, 10_000), default=1, show_default=True,
              help="Places that are changed at the same time.")  # fmt: skip
@click.option("--healthy-after", type=click.IntRange(0, 86_400), default=10, show_default=True, metavar="SECONDS",
              help="How long a place must be well before the next is changed.")  # fmt: skip
@click.option("--no-block", is_flag=True, help="Do not wait for its end.")
@connection_options
def start(unit: str, file: Path, max_parallel: int, healthy_after: int, no_block: bool, connection: Connection) -> None:
    """Begin, and wait for the end. Exit 1 if the old text came back.

    \b
    Example:
      corenode unit rollout start web@.service new/web@.service --max-parallel 2
    """
    name, text = name_of(unit), read(file)

    async def work(units: "Units") -> "Rollout":
        import trio

        now = await units.roll_out(name, text, max_parallel, healthy_after)
        told = -1
        while not no_block and now.state not in _OVER:
            if len(now.done) != told:
                told = len(now.done)
                output.note(f"{name}: {told} {'place runs' if told == 1 else 'places run'} the new text")
            await trio.sleep(POLL_SECONDS)
            now = await units.rollout(name)
        return now

    _tell(name, ask(connection, work))


@rollout.command()
@output.format_option(output.TABLE, output.JSON)
@connection_options
def status(output_: str, connection: Connection) -> None:
    """List rollouts, those that go on and the last one of each unit.

    \b
    Example:
      corenode unit rollout status
    """
    found = ask(connection, lambda units: units.rollouts())
    if output_ == output.JSON:
        output.json(found)
        return
    rows = [(name, each.state, len(each.done), each.old[:12], each.new[:12], each.why) for name, each in found.items()]
    output.table(("UNIT", "STATE", "DONE", "OLD", "NEW", "WHY"), rows)


@rollout.command()
@unit_argument
@connection_options
def pause(unit: str, connection: Connection) -> None:
    """Begin nothing new until it is resumed.

    \b
    Example:
      corenode unit rollout pause web@.service
    """
    _steer(connection, unit, "pause")


@rollout.command()
@unit_argument
@connection_options
def resume(unit: str, connection: Connection) -> None:
    """Go on.

    \b
    Example:
      corenode unit rollout resume web@.service
    """
    _steer(connection, unit, "resume")


@rollout.command("return")
@unit_argument
@connection_options
def return_(unit: str, connection: Connection) -> None:
    """Go back to the old text.

    \b
    Example:
      corenode unit rollout return web@.service
    """
    _steer(connection, unit, "return")


def _steer(connection: Connection, unit: str, verb: str) -> None:
    name = name_of(unit)
    _tell(name, ask(connection, lambda units: units.steer(name, verb)))


def _tell(name: str, now: "Rollout") -> None:
    why = f": {now.why}" if now.why else ""
    if now.state == "returned":
        raise Failure(f"{name} has its old text again{why}.")
    output.note(f"{name}: {now.state}, {len(now.done)} done{why}")
