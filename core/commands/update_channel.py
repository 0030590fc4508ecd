"""`corenode update channel`: what hosts are to run, and how far they are."""

from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup
from core.commands.update_records import change, read
from core.update import keys
from core.update.records import Channel

if TYPE_CHECKING:
    from core.client import Store

_name = click.argument("channel", metavar="CHANNEL")


@click.group(cls=VerbGroup)
def command() -> None:
    """What hosts of a channel are to run: alpha, beta, stable, or whatever you call it.

    \b
    Examples:
      corenode update channel set beta --product corenode --version 1.1.0
      corenode update channel show beta
      corenode update channel promote beta stable
    """


@command.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List channels and what they want.

    \b
    Example:
      corenode update channel list -o json
    """
    found = connection.run_store(read)
    if output_ == output.JSON:
        output.json(found.channels)
        return
    rows = [(name, each.product, each.version, " ".join(each.floors) or "-") for name, each in found.channels.items()]
    output.table(("CHANNEL", "PRODUCT", "VERSION", "FLOORS"), rows)


@command.command()
@_name
@output.format_option(output.TABLE, output.JSON)
@connection_options
def show(channel: str, output_: str, connection: Connection) -> None:
    """Show how far a channel is: its groups, and how many hosts run which version, in which stage, with what errors.

    \b
    Example:
      corenode update channel show stable
    """
    found = connection.run_store(read)
    if channel not in found.channels:
        raise Failure(f"There is no channel {channel}; `corenode update channel list` lists them.")
    groups = {name: group for name, group in found.groups.items() if group.channel == channel}
    hosts = {machine: report for machine, report in sorted(found.reports.items()) if report.group in groups}
    if output_ == output.JSON:
        there = {machine: machine in found.alive for machine in hosts}
        output.json({"channel": found.channels[channel], "groups": groups, "hosts": hosts, "present": there})
        return
    wanted = found.channels[channel]
    output.note(
        f"{channel}: {wanted.product} {wanted.version}" + "".join(f", by way of {each}" for each in wanted.floors)
    )
    for name, group in groups.items():
        output.note(f"group {name}: " + (f"paused ({group.why or 'no reason given'})" if group.paused else "going on"))
    counts: dict[tuple[str, str, str], int] = {}
    for machine, report in hosts.items():
        stage = report.stage if machine in found.alive else f"{report.stage}, away"
        counts[report.group, report.version, stage] = counts.get((report.group, report.version, stage), 0) + 1
    output.table(("GROUP", "VERSION", "STAGE", "HOSTS"), [(*each, count) for each, count in sorted(counts.items())])
    for machine, report in hosts.items():
        if report.stage == "failed":
            output.note(f"{machine} failed to reach {report.wanted}: {report.error or 'it does not say why'}")


@command.command("set")
@_name
@click.option("--product", metavar="NAME", help="The product of its releases.  [default: as before, or corenode]")
@click.option("--version", required=True, metavar="VERSION", help="What its hosts are to run.")
@click.option(
    "--floor", "floors", multiple=True, metavar="VERSION", help="A version no older host may skip; repeatable."
)
@connection_options
def set_(channel: str, product: str | None, version: str, floors: tuple[str, ...], connection: Connection) -> None:
    """Say what the hosts of a channel are to run. Hosts that are ahead of it stay as they are.

    \b
    Example:
      corenode update channel set stable --version 2.0.0 --floor 1.5.0
    """

    def make(before: Channel | None) -> Channel:
        return Channel(product or (before.product if before else "corenode"), version, floors)

    async def work(store: "Store") -> None:
        await change(store, keys.channel(_checked(channel)), Channel, make)

    connection.run_store(work)
    output.note(f"{channel} wants {version}")


@command.command()
@click.argument("source", metavar="FROM")
@click.argument("destination", metavar="TO")
@connection_options
def promote(source: str, destination: str, connection: Connection) -> None:
    """Let one channel want what another one wants.

    \b
    Example:
      corenode update channel promote beta stable
    """

    async def work(store: "Store") -> Channel:
        found = (await read(store)).channels.get(source)
        if found is None:
            raise Failure(f"There is no channel {source}; `corenode update channel list` lists them.")
        return await change(store, keys.channel(_checked(destination)), Channel, lambda _: found)

    output.note(f"{destination} wants {connection.run_store(work).version}")


def _checked(name: str) -> str:
    if not name or len(name) > 64 or not all(letter.isalnum() or letter in "._-" for letter in name):
        raise click.UsageError("The name of a channel has letters, digits and . _ - only, at most 64.")
    return name
