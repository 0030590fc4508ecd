"""`corenode auth`: whether access is restricted by users and roles."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.lazy import VerbGroup

if TYPE_CHECKING:
    from core.client.accounts import Accounts
    from core.client.transport import Transport

T = TypeVar("T")


def ask(connection: Connection, work: "Callable[[Accounts], Awaitable[T]]") -> T:
    """Run `work` with the accounts of a node."""
    from core.client.accounts import Accounts

    async def connected(transport: "Transport") -> T:
        return await work(Accounts(transport, connection.timeout))

    return connection.run(connected)


@click.group(cls=VerbGroup)
def command() -> None:
    """Restrict access to keys by users and roles, or stop doing so.

    All but status needs the node's unix socket (taken by itself on the node's host), a client certificate of the role
    admin, or --user with the role root.

    \b
    Examples:
      corenode user add root
      corenode auth enable
      corenode role revoke guest --write '/*'
      corenode auth status
    """


@command.command()
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def status(output_: str, connection: Connection) -> None:
    """Say whether access to keys is restricted.

    \b
    Example:
      corenode auth status -o json
    """
    enabled = ask(connection, lambda accounts: accounts.enabled())
    if output_ == output.JSON:
        output.json({"enabled": enabled})
    else:
        click.echo("enabled" if enabled else "disabled")


@command.command()
@connection_options
def enable(connection: Connection) -> None:
    """Restrict access to keys: each user by roles, everybody else by the role guest. There must be a user root.

    The role guest is made if it is not there, and may then read and write every key: narrow it.

    \b
    Example:
      corenode auth enable && corenode role revoke guest --readwrite '/*'
    """
    ask(connection, lambda accounts: accounts.enable(True))
    output.note("Access is restricted. What callers without credentials may do: corenode role show guest")


@command.command()
@connection_options
def disable(connection: Connection) -> None:
    """Let everybody read and write every key again. Users and roles are kept.

    \b
    Example:
      corenode auth disable
    """
    ask(connection, lambda accounts: accounts.enable(False))
    output.note("Access is no longer restricted.")
