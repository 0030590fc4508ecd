"""`corenode user`: who may log in, and with which roles."""

import sys
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.auth import ask
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup

if TYPE_CHECKING:
    from core.client.accounts import Accounts

_name = click.argument("name")
_roles = click.argument("roles", nargs=-1, required=True, metavar="ROLE...")


@click.group(cls=VerbGroup)
def command() -> None:
    """Users and their roles.

    Needs the node's unix socket (taken by itself on the node's host), a client certificate of the role admin, or --user
    with the role root.

    \b
    Examples:
      corenode user add alice
      corenode user grant alice developer
      corenode user list
    """


@command.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List users with the names of their roles.

    \b
    Example:
      corenode user list
    """
    users = ask(connection, lambda accounts: accounts.users())
    found = {user.user: [role.role for role in user.roles or ()] for user in users}
    if output_ == output.JSON:
        output.json([{"user": name, "roles": roles} for name, roles in found.items()])
    else:
        output.table(("USER", "ROLES"), [(name, " ".join(roles) or "none") for name, roles in found.items()])


@command.command()
@_name
@connection_options
def add(name: str, connection: Connection) -> None:
    """Add user NAME with a password that is asked for, or read from standard input (its first line).

    \b
    Examples:
      corenode user add alice
      pass show alice | corenode user add alice
    """
    password = _password(name)

    async def work(accounts: "Accounts") -> None:
        if any(user.user == name for user in await accounts.users()):
            raise Failure(f"User {name} is there already. For another password: corenode user passwd {name}")
        await accounts.put_user(name, password)

    ask(connection, work)
    output.note(f"User {name} added. Roles: corenode user grant {name} ROLE")


@command.command()
@_name
@connection_options
def passwd(name: str, connection: Connection) -> None:
    """Give user NAME another password, asked for or read from standard input (its first line).

    \b
    Example:
      corenode user passwd alice
    """
    password = _password(name)

    async def work(accounts: "Accounts") -> None:
        await accounts.user(name)
        await accounts.put_user(name, password)

    ask(connection, work)
    output.note(f"User {name} has a new password.")


@command.command()
@_name
@connection_options
def delete(name: str, connection: Connection) -> None:
    """Remove user NAME. Its credentials are refused from then on.

    \b
    Example:
      corenode user delete alice
    """
    ask(connection, lambda accounts: accounts.delete_user(name))
    output.note(f"User {name} deleted.")


@command.command()
@_name
@_roles
@connection_options
def grant(name: str, roles: tuple[str, ...], connection: Connection) -> None:
    """Give user NAME roles. The role root may do everything.

    \b
    Example:
      corenode user grant alice developer
    """
    ask(connection, lambda accounts: accounts.put_user(name, grant=roles))
    output.note(f"User {name} has now: {' '.join(roles)}")


@command.command()
@_name
@_roles
@connection_options
def revoke(name: str, roles: tuple[str, ...], connection: Connection) -> None:
    """Take roles from user NAME.

    \b
    Example:
      corenode user revoke alice developer
    """
    ask(connection, lambda accounts: accounts.put_user(name, revoke=roles))
    output.note(f"User {name} has no longer: {' '.join(roles)}")


def _password(name: str) -> str:
    """From a prompt, twice, or from the first line of what is piped in."""
    if sys.stdin.isatty():
        password: str = click.prompt(f"New password of {name}", hide_input=True, confirmation_prompt=True, err=True)
        return password
    password = sys.stdin.readline().rstrip("\n")
    if not password:
        raise click.UsageError("The password is missing: run this on a terminal, or pipe it in as one line.")
    return password
