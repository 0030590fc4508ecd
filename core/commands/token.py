"""`corenode token`: tokens by which hosts join the cluster."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.ca import Life
from core.commands.connection import Connection, connection_options
from core.commands.lazy import VerbGroup

if TYPE_CHECKING:
    from core.client.tokens import NewToken, Token
    from core.client.transport import Transport


@click.group(cls=VerbGroup)
def command() -> None:
    """Tokens by which hosts join the cluster.

    All of it needs the node's unix socket (taken by itself on the node's host) or a client certificate of the role
    admin.

    \b
    Examples:
      corenode token create --ttl 1h
      corenode token create --ttl 30m --uses 5 --role worker
      corenode token list
      corenode token revoke mfrggzdf
    """


@command.command()
@click.option("--ttl", type=Life(), default="1h", show_default=True, metavar="TIME", help="How long it is good.")
@click.option("--uses", type=click.IntRange(1, 100), default=1, show_default=True, help="How many hosts it lets in.")
@click.option(
    "--role",
    type=click.Choice(["member", "worker"]),
    default="member",
    show_default=True,
    help="What a host becomes by it.",
)
@connection_options
def create(ttl: timedelta, uses: int, role: str, connection: Connection) -> None:
    """Make a token and print it. Whoever has it can join until it is used up: pass it on as you would a password.

    \b
    Example:
      corenode token create --ttl 1h --uses 2
    """

    async def work(transport: "Transport") -> "NewToken":
        from core.client.tokens import Tokens

        return await Tokens(transport, connection.timeout).create(int(ttl.total_seconds()), uses, role)

    made = connection.run(work)
    click.echo(made.token)
    hosts = "one host" if uses == 1 else f"{uses} hosts"
    output.note(
        f"good for {hosts} as {role} until {_moment(made.expires)}. On the new host: "
        f"corenode join https://THIS-NODE:2379 --token TOKEN{'' if role == 'member' else ' --role worker'}"
    )


@command.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List the tokens that are known, those that ended lately too. Their secrets are known to nobody here.

    \b
    Example:
      corenode token list -o json
    """

    async def work(transport: "Transport") -> "tuple[Token, ...]":
        from core.client.tokens import Tokens

        return await Tokens(transport, connection.timeout).list()

    found = connection.run(work)
    if output_ == output.JSON:
        output.json(found)
    else:
        rows = [
            (each.id, each.role, f"{each.used} of {each.uses}", each.state, _moment(each.expires), each.creator)
            for each in found
        ]
        output.table(("ID", "ROLE", "USED", "STATE", "EXPIRES", "MADE BY"), rows)


@command.command()
@click.argument("token", metavar="ID")
@connection_options
def revoke(token: str, connection: Connection) -> None:
    """Make a token useless at once. ID is the part before its first dot. Hosts that have joined by it stay.

    \b
    Example:
      corenode token revoke mfrggzdf
    """
    name = token.partition(".")[0]

    async def work(transport: "Transport") -> None:
        from core.client.tokens import Tokens

        await Tokens(transport, connection.timeout).revoke(name)

    connection.run(work)
    output.note(f"{name}: revoked")


def _moment(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S} UTC"
