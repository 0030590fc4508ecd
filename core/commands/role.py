"""`corenode role`: what may be read and written."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from core.commands import output
from core.commands.auth import ask
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup

if TYPE_CHECKING:
    from core.client.accounts import Accounts, Patterns, Role

_name = click.argument("name")


def _rights(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that name patterns by right."""
    for right in ("readwrite", "write", "read"):
        verb = click.option(
            f"--{right}", multiple=True, metavar="PATTERN", help="A key like /a, or all below it like '/a/*'."
        )(verb)
    return verb


@click.group(cls=VerbGroup)
def command() -> None:
    """Roles: permissions to read and write keys.

    Needs the node's unix socket (taken by itself on the node's host), a client certificate of the role admin, or --user
    with the role root.

    \b
    Examples:
      corenode role add developer
      corenode role grant developer --readwrite '/app/*' --read '/config/*'
      corenode role show developer
    """


@command.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List roles with their permissions.

    \b
    Example:
      corenode role list -o json
    """
    roles = ask(connection, lambda accounts: accounts.roles())
    if output_ == output.JSON:
        output.json(roles)
    else:
        _print(roles)


@command.command()
@_name
@output.format_option(output.TABLE, output.JSON)
@connection_options
def show(name: str, output_: str, connection: Connection) -> None:
    """Show role NAME.

    \b
    Example:
      corenode role show guest
    """
    role = ask(connection, lambda accounts: accounts.role(name))
    if output_ == output.JSON:
        output.json(role)
    else:
        _print([role])


@command.command()
@_name
@connection_options
def add(name: str, connection: Connection) -> None:
    """Add role NAME, without permissions.

    \b
    Example:
      corenode role add developer
    """
    ask(connection, lambda accounts: accounts.put_role(name))
    output.note(f"Role {name} added. Permissions: corenode role grant {name} --read PATTERN")


@command.command()
@_name
@connection_options
def delete(name: str, connection: Connection) -> None:
    """Remove role NAME, from every user too.

    \b
    Example:
      corenode role delete developer
    """
    ask(connection, lambda accounts: accounts.delete_role(name))
    output.note(f"Role {name} deleted.")


@command.command()
@_name
@_rights
@connection_options
def grant(
    name: str, read: tuple[str, ...], write: tuple[str, ...], readwrite: tuple[str, ...], connection: Connection
) -> None:
    """Let role NAME read or write keys.

    \b
    Example:
      corenode role grant developer --readwrite '/app/*' --read /config
    """
    given = _patterns(read, write, readwrite)
    ask(connection, lambda accounts: accounts.put_role(name, grant=given))
    output.note(f"Role {name} changed.")


@command.command()
@_name
@_rights
@connection_options
def revoke(
    name: str, read: tuple[str, ...], write: tuple[str, ...], readwrite: tuple[str, ...], connection: Connection
) -> None:
    """Take from role NAME patterns it was granted, spelled as they were.

    \b
    Example:
      corenode role revoke guest --write '/*'
    """
    taken = _patterns(read, write, readwrite)

    async def work(accounts: "Accounts") -> None:
        held = (await accounts.role(name)).permissions.kv
        for right, wanted, present in (("read", taken.read, held.read), ("write", taken.write, held.write)):
            for pattern in wanted or ():
                if pattern not in (present or ()):
                    raise Failure(f"Role {name} has no permission to {right} {pattern}. See: corenode role show {name}")
        await accounts.put_role(name, revoke=taken)

    ask(connection, work)
    output.note(f"Role {name} changed.")


def _patterns(read: tuple[str, ...], write: tuple[str, ...], readwrite: tuple[str, ...]) -> "Patterns":
    from core.client.accounts import Patterns

    if not (read or write or readwrite):
        raise click.UsageError("Say what: --read, --write or --readwrite with a pattern.")
    return Patterns(read=[*read, *readwrite], write=[*write, *readwrite])


def _print(roles: "list[Role]") -> None:
    rows = []
    for role in roles:
        held = role.permissions.kv
        rows.append((role.role, " ".join(held.read or ()) or "none", " ".join(held.write or ()) or "none"))
    output.table(("ROLE", "READ", "WRITE"), rows)
