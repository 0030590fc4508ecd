"""`corenode update group`: how hosts take turns."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click
import msgspec

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup
from core.commands.update_records import change, read
from core.update import keys
from core.update.records import Group, Hours, Policy
from core.update.windows import WindowError, parse

if TYPE_CHECKING:
    from core.client import Store

VISITS_SECONDS = 86_400
"""Patience with hosts that ask by Omaha: they do so every 45 minutes, and reboot when they like."""

_name = click.argument("group", metavar="GROUP")


@click.group(cls=VerbGroup)
def command() -> None:
    """Hosts that follow one channel together, and how they take turns.

    \b
    Examples:
      corenode update group set default --channel stable --at-once 2
      corenode update group pause default --why "release party"
      corenode update group resume default
      corenode update group forget default
    """


@command.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List groups, their channels and policies.

    \b
    Example:
      corenode update group list
    """
    found = connection.run_store(read)
    if output_ == output.JSON:
        output.json(found.groups)
        return
    rows = [
        (
            name,
            group.channel,
            _pace(group.policy),
            sum(report.group == name for report in found.reports.values()),
            f"paused: {group.why or 'no reason given'}" if group.paused else "going on",
        )
        for name, group in found.groups.items()
    ]
    output.table(("GROUP", "CHANNEL", "PACE", "HOSTS", "STATE"), rows)


@command.command()
@_name
@output.format_option(output.TABLE, output.JSON)
@connection_options
def show(group: str, output_: str, connection: Connection) -> None:
    """Show the hosts of a group: what each runs, its stage, and what it is on its way to.

    \b
    Example:
      corenode update group show default
    """
    found = connection.run_store(read)
    if group not in found.groups:
        raise _absent(group)
    hosts = {machine: report for machine, report in sorted(found.reports.items()) if report.group == group}
    if output_ == output.JSON:
        offers = {machine: found.offers[machine] for machine in hosts if machine in found.offers}
        output.json({"group": found.groups[group], "hosts": hosts, "offers": offers})
        return
    rows = [
        (
            machine[:8],
            report.version,
            report.stage if machine in found.alive else f"{report.stage}, away",
            found.offers[machine].version if machine in found.offers else "-",
            f"{report.progress}%" if report.stage not in ("idle", "asking", "failed") else "-",
            report.error or "-",
        )
        for machine, report in hosts.items()
    ]
    output.table(("MACHINE", "VERSION", "STAGE", "OFFERED", "PROGRESS", "ERROR"), rows)


@command.command("set")
@_name
@click.option("--channel", metavar="NAME", help="The channel it follows.  [default: as before, or stable]")
@click.option("--at-once", type=click.IntRange(1, 10_000), metavar="N", help="Hosts under way at the same time.")
@click.option(
    "--percent", type=click.IntRange(1, 100), metavar="N", help="The same as a share of those that are there."
)
@click.option("--first-alone/--all-alike", default=None, help="Whether the first host to a version goes alone.")
@click.option("--window", nargs=2, metavar="START LENGTH", help="When hosts may begin, UTC: 'Thu 23:00' 1h30m.")
@click.option("--any-time", is_flag=True, help="Without a window.")
@click.option("--max-failures", type=click.IntRange(min=0), metavar="N", help="Pause by itself at so many; 0: never.")
@click.option(
    "--omaha",
    metavar="APP-ID",
    help="Open it to hosts that ask by Omaha, without a certificate, by this id; '': close it.",
)
@click.option("--patience", type=click.IntRange(min=60), metavar="SECONDS", help="What one host may take.")
@connection_options
def set_(
    group: str,
    channel: str | None,
    window: tuple[str, str] | None,
    any_time: bool,
    omaha: str | None,
    connection: Connection,
    **given: Any,
) -> None:
    """Make a group, or change what is given here and leave the rest.

    A group that is open to Omaha has a patience of a day unless you say otherwise: such hosts only ask now and then.

    \b
    Examples:
      corenode update group set web --channel stable --percent 10 --window 'Sat 02:00' 4h
      corenode update group set flatcar --channel flatcar --omaha e96281a6-d1af-4bde-9a0a-97b76e56dc57
    """
    if given["at_once"] and given["percent"]:
        raise click.UsageError("--at-once and --percent say the same; give one of them.")
    wanted = {name: value for name, value in given.items() if value is not None}
    if wanted.get("percent"):
        wanted["at_once"] = 0
    if wanted.get("at_once"):
        wanted["percent"] = 0
    if window is not None:
        try:
            parse(*window)
        except WindowError as error:
            raise click.UsageError(f"--window: {error}.") from None
        wanted["window"] = Hours(*window)
    elif any_time:
        wanted["window"] = None

    app = None if omaha is None else _app_id(omaha)

    def make(before: Group | None) -> Group:
        found = before or Group(channel or "stable")
        if app and found.policy.patience == Policy().patience:
            wanted.setdefault("patience", VISITS_SECONDS)
        policy = msgspec.structs.replace(found.policy, **wanted)
        opened = found.omaha if app is None else app
        return msgspec.structs.replace(found, channel=channel or found.channel, policy=policy, omaha=opened)

    _change(connection, group, make)
    output.note(f"{group} is set")


@command.command()
@_name
@click.option("--why", default="", metavar="TEXT", help="Shown to whoever asks.")
@connection_options
def pause(group: str, why: str, connection: Connection) -> None:
    """Offer nothing more; hosts that do not reboot yet stay as they are.

    \b
    Example:
      corenode update group pause web --why "the new kernel loses packets"
    """
    _change(connection, group, lambda before: msgspec.structs.replace(_there(before, group), paused=True, why=why))
    output.note(f"{group} is paused")


@command.command()
@_name
@connection_options
def resume(group: str, connection: Connection) -> None:
    """Go on. Hosts that failed are offered the version again.

    \b
    Example:
      corenode update group resume web
    """

    def make(before: Group | None) -> Group:
        found = _there(before, group)
        return msgspec.structs.replace(found, paused=False, why="", attempt=found.attempt + 1)

    _change(connection, group, make)
    output.note(f"{group} goes on")


@command.command()
@_name
@click.argument("machines", metavar="[MACHINE]...", nargs=-1)
@connection_options
def forget(group: str, machines: tuple[str, ...], connection: Connection) -> None:
    """Forget what hosts of a group reported: those named, or all that are away. One that comes back reports anew.

    \b
    Examples:
      corenode update group forget web
      corenode update group forget flatcar 6d1a2f6d0f4b4fd58f4d1c6bd8c6e0aa
    """

    async def work(store: "Store") -> int:
        from core.client import Delete

        found = await read(store)
        if group not in found.groups:
            raise _absent(group)
        here = [machine for machine, report in found.reports.items() if report.group == group]
        strange = [machine for machine in machines if machine not in here]
        if strange:
            raise Failure(
                f"{strange[0]} is no host of {group}; `corenode update group show {group} -o json` has its hosts."
            )
        gone = machines or [machine for machine in here if machine not in found.alive]
        for machine in gone:
            await store.txn([], [Delete(key(machine)) for key in (keys.report, keys.offer, keys.alive)])
        return len(gone)

    output.note(f"{connection.run_store(work)} hosts are forgotten")


def _app_id(text: str) -> str:
    found = text.strip().removeprefix("{").removesuffix("}").lower()
    if len(found) > 64 or not all(letter.isalnum() or letter in "._-" for letter in found):
        raise click.UsageError("--omaha: an application's id has letters, digits and . _ - only, at most 64.")
    return found


def _change(connection: Connection, group: str, make: Callable[[Group | None], Group]) -> None:
    if not group or len(group) > 64 or not all(letter.isalnum() or letter in "._-" for letter in group):
        raise click.UsageError("The name of a group has letters, digits and . _ - only, at most 64.")

    async def work(store: "Store") -> None:
        await change(store, keys.group(group), Group, make)

    connection.run_store(work)


def _there(found: Group | None, name: str) -> Group:
    if found is None:
        raise _absent(name)
    return found


def _absent(name: str) -> Failure:
    return Failure(f"There is no group {name}; `corenode update group list` lists them.")


def _pace(policy: Policy) -> str:
    pace = f"{policy.at_once} at once" if policy.at_once else f"{policy.percent}%"
    window = f", {policy.window.start} for {policy.window.length}" if policy.window else ""
    return pace + (", first alone" if policy.first_alone else "") + window
