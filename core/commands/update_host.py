"""`corenode update status|check|apply`: the updates of one host, asked of its own node."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.progress import Progress

if TYPE_CHECKING:
    from core.client.transport import Transport
    from core.client.updates import HostUpdates, Served, UpdateStatus

LOOK_SECONDS = 1.0
_WORKING = ("fetching", "writing", "comparing")


@click.command()
@output.format_option(output.TABLE, output.JSON)
@connection_options
def status(output_: str, connection: Connection) -> None:
    """Show what this host runs, what is under way, and both slots.

    \b
    Examples:
      corenode update status
      corenode update status -o json
    """

    async def work(transport: "Transport") -> "UpdateStatus":
        return await _updates(transport).status()

    found = connection.run(work)
    if output_ == output.JSON:
        output.json(found)
        return
    if found.off:
        output.note(f"this host is not updated: {found.off}")
        return
    output.note(f"{found.product} {found.version} in slot {found.slot} of {found.disk}, group {found.group}")
    output.note(_told(found))
    rows = [
        (each.slot, each.version or "-", _word(each.good), each.tries, _word(each.next), _word(each.in_use))
        for each in found.slots
    ]
    output.table(("SLOT", "VERSION", "GOOD", "TRIES", "NEXT", "IN USE"), rows)


@click.command()
@output.format_option(output.TABLE, output.JSON)
@connection_options
def check(output_: str, connection: Connection) -> None:
    """Look which releases for this host are signed and served, and which one it may have now.

    \b
    Example:
      corenode update check
    """

    async def work(transport: "Transport") -> "Served":
        return await _updates(transport).check()

    found = connection.run(work)
    if output_ == output.JSON:
        output.json(found)
        return
    end = datetime.fromtimestamp(found.expires, UTC).isoformat(" ", "minutes")
    output.note(f"this host runs {found.product} {found.version}; what is served is signed until {end}")
    if not found.newer:
        output.note("nothing newer is served")
    rows = [
        (version, _word(version == found.version), _word(version in found.newer), _word(version == found.offer))
        for version in found.releases
    ]
    output.table(("VERSION", "RUNS", "NEWER", "OFFERED"), rows)


@click.command()
@click.argument("version", metavar="[VERSION]", default="")
@click.option("--now", is_flag=True, help="Restart whatever the strategy and the window say.")
@click.option("--no-block", is_flag=True, help="Do not wait until it is installed.")
@connection_options
def apply(version: str, now: bool, no_block: bool, connection: Connection) -> None:
    """Install a version on this host now, whatever its channel says; the newest one if none is named.

    It restarts as the host's strategy says, at once with --now; it must prove itself as any update, or the host goes
    back. If something is installed already and waits, --now is what it waits for.

    \b
    Examples:
      corenode update apply
      corenode update apply 1.2.0 --now
    """

    async def work(transport: "Transport") -> "UpdateStatus | None":
        updates = _updates(transport)
        chosen = await updates.apply(version, now=now)
        output.note(f"{chosen} is on its way, and goes on whether this command does or not")
        return None if no_block else await _follow(updates, chosen, now=now)

    found = connection.run(work)
    if found is None:
        return
    if found.stage == "failed":
        raise Failure(f"{found.why}.")
    output.note(_told(found))


async def _follow(updates: "HostUpdates", chosen: str, *, now: bool) -> "UpdateStatus":
    """How it stands when there is nothing more to watch: it is installed, and with `now` the host restarts."""
    import trio

    begun, why = False, ""
    with Progress("waiting") as bar:
        while True:
            found = await updates.status()
            begun = begun or found.wanted == chosen
            if begun and found.stage not in (*_WORKING, *(("waiting",) if now else ())):
                return found
            if found.stage == "waiting" and found.why != why:
                why = found.why
                output.note(_told(found))
            bar.show(found.stage, found.done, found.total)
            await trio.sleep(LOOK_SECONDS)


def _updates(transport: "Transport") -> "HostUpdates":
    from core.client.updates import HostUpdates

    return HostUpdates(transport)


def _told(found: "UpdateStatus") -> str:
    """The stage in words."""
    share = f", {100 * found.done // found.total}%" if found.total and found.stage in _WORKING else ""
    why = f": {found.why}" if found.why else ""
    if found.stage == "idle":
        text = "up to date with what the cluster offers" if found.cluster_known else "the cluster was not heard yet"
        return f"idle: {found.why or text}"
    if found.stage == "failed":
        return f"failed to reach {found.wanted}{why}"
    return f"{found.stage}, on the way to {found.wanted or 'nothing'}{share}{why}"


def _word(value: bool) -> str:
    return "yes" if value else "no"
