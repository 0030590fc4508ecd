"""`corenode events`: what happens to units and machines, as it happens."""

from typing import TYPE_CHECKING, Any

import click

from core.commands import output
from core.commands.connection import Connection, connection_options, explain
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.transport import Transport
    from core.client.units import Happened

_SHORT = 8
RETRY_SECONDS = 0.2


@click.command()
@click.option("--since", type=click.IntRange(min=1), metavar="REVISION", help="Also what happened from there on.")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def command(since: int | None, output_: str, connection: Connection) -> None:
    """Tell what happens to units and machines, until Ctrl-C.

    \b
    Examples:
      corenode events
      corenode events --since 1200 -o json
    """

    import trio

    from core.client.errors import ClientError

    try:
        trio.run(_follow, connection, since or 0, output_)
    except ClientError as error:
        raise Failure(explain(error)) from None


async def _follow(connection: Connection, since: int, form: str) -> None:
    """Tell of all there is, at one node after another: when one breaks off, at the next that is found as the first
    one was."""
    import trio

    from core.client.errors import ConnectionLostError
    from core.client.units import Units

    cluster = ""
    while True:
        async with connection.open() as transport:
            cluster = await _cluster(transport, cluster)
            try:
                async with Units(transport, connection.timeout).events(since) as happened:
                    async for event in happened:
                        _print(event, form)
                        since = event.revision + 1
            except ConnectionLostError as error:
                output.note(f"{error}; going on at the next node that answers")
                await trio.sleep(RETRY_SECONDS)


async def _cluster(transport: "Transport", known: str) -> str:
    """The id of the cluster that answers. Failure if it is not the one that is known."""
    answer = await transport.call("GET", "/v2/members")
    found = answer.headers.get("x-etcd-cluster-id", "")
    if known and found != known:
        raise Failure(f"The cluster {known} answers no more; who answers now is of another one, {found}.")
    return found


def _print(event: "Happened", form: str) -> None:
    if form == output.JSON:
        output.json(event)
    elif event.kind:
        click.echo(f"{event.revision}  {output.printable(_sentence(event))}")


def _sentence(event: "Happened") -> str:
    """One event in words."""
    now: dict[str, Any] = event.now or {}
    machine, gone = event.machine[:_SHORT], event.action == "delete"
    match event.kind:
        case "unit":
            return f"{event.unit} is destroyed" if gone else f"{event.unit} is to be {now.get('desired', 'inactive')}"
        case "placement" if gone:
            return f"{event.unit} leaves {machine}"
        case "placement":
            return f"{event.unit} goes to {machine}: {now.get('why', '')}"
        case "state" if gone:
            return f"{event.unit} is gone from {machine}"
        case "state":
            parts = [now.get("active", ""), now.get("sub", ""), now.get("health", ""), now.get("why", "")]
            return f"{event.unit} on {machine} is {', '.join(part for part in parts if part)}"
        case "machine":
            return f"machine {machine} {'is away' if gone else 'is there'}"
        case "host":
            return f"operators say of {machine}: {_words(now)}"
        case "rollout":
            return (
                f"rollout of {event.unit}: {'forgotten' if gone else now.get('state', 'running')} {now.get('why', '')}"
            )
        case "leader":
            return f"{event.leader} {'does not decide any more' if gone else 'stands for election'}"
    return f"{event.kind} {event.action}"


def _words(now: dict[str, Any]) -> str:
    if now.get("drain"):
        return "drain it"
    return f"cordon it ({now['cordoned']})" if now.get("cordoned") else "it may get units"
