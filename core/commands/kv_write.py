"""`corenode kv put`, `mk`, `update`, `rm` and `compact`."""

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.transport import Transport
    from core.client.tree import Change, Tree


class Seconds(click.ParamType[int]):
    """A time to live, as a whole number of seconds."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            seconds = int(value)
        except ValueError:
            raise click.UsageError(f"--ttl: {value!r} is no number of seconds; try --ttl 60.", ctx) from None
        if seconds < 1:
            raise click.UsageError(f"--ttl: {value!r} seconds is no time to live; try --ttl 60.", ctx)
        return seconds


_ttl = click.option("--ttl", type=Seconds(), metavar="SECONDS", help="Remove it after so long.")
_dir = click.option("--dir", "directory", is_flag=True, help="A directory: no value.")


@click.command()
@click.argument("key")
@click.argument("value", required=False)
@_ttl
@_dir
@click.option("--swap-with-value", metavar="VALUE", help="Only if the value is this now.")
@click.option("--swap-with-index", type=click.IntRange(min=1), metavar="INDEX", help="Only if unchanged since INDEX.")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def put(
    key: str,
    value: str | None,
    ttl: int | None,
    directory: bool,
    swap_with_value: str | None,
    swap_with_index: int | None,
    output_: str,
    connection: Connection,
) -> None:
    """Set KEY to VALUE, read from standard input if left out. A VALUE that begins with - goes behind --.

    \b
    Examples:
      corenode kv put /app/port 8080
      corenode kv put --ttl 60 /alive/web1 yes
      corenode kv put --swap-with-value 8080 /app/port 9090
      corenode kv put /app/config < config.json
    """
    content = _content(value, directory)

    async def work(tree: "Tree") -> "Change":
        return await tree.put(key, content, ttl=ttl, previous_value=swap_with_value, previous_index=swap_with_index)

    _write(connection, work, output_)


@click.command()
@click.argument("key")
@click.argument("value", required=False)
@_ttl
@_dir
@click.option("--in-order", is_flag=True, help="Make it below KEY, named by the index it gets; print that name.")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def mk(
    key: str,
    value: str | None,
    ttl: int | None,
    directory: bool,
    in_order: bool,
    output_: str,
    connection: Connection,
) -> None:
    """Make KEY with VALUE (or standard input); fail if it is there.

    \b
    Examples:
      corenode kv mk /locks/backup web1
      corenode kv mk --dir /queue
      corenode kv mk --in-order /queue job1
    """
    if in_order and directory:
        raise click.UsageError("--in-order makes keys, not directories.")
    content = _content(value, directory)

    async def work(tree: "Tree") -> "Change":
        if in_order:
            return await tree.create_in_order(key, content or "", ttl=ttl)
        return await tree.put(key, content, ttl=ttl, exists=False)

    change = _write(connection, work, output_)
    if in_order and output_ == output.PLAIN:
        click.echo(change.node.key)


@click.command()
@click.argument("key")
@click.argument("value", required=False)
@_ttl
@_dir
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def update(key: str, value: str | None, ttl: int | None, directory: bool, output_: str, connection: Connection) -> None:
    """Give KEY, which must be there, a new VALUE (or standard input); with --dir only a new TTL.

    Without --ttl it loses the TTL it had.

    \b
    Examples:
      corenode kv update /app/port 9090
      corenode kv update --dir --ttl 300 /sessions
    """
    content = _content(value, directory)

    async def work(tree: "Tree") -> "Change":
        return await tree.put(key, content, ttl=ttl, exists=True)

    _write(connection, work, output_)


@click.command()
@click.argument("key")
@click.option("--dir", "directory", is_flag=True, help="Also an empty directory.")
@click.option("-r", "--recursive", is_flag=True, help="Also a directory with everything below.")
@click.option("--with-value", metavar="VALUE", help="Only if the value is this now.")
@click.option("--with-index", type=click.IntRange(min=1), metavar="INDEX", help="Only if unchanged since INDEX.")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def rm(
    key: str,
    directory: bool,
    recursive: bool,
    with_value: str | None,
    with_index: int | None,
    output_: str,
    connection: Connection,
) -> None:
    """Remove KEY.

    \b
    Examples:
      corenode kv rm /app/port
      corenode kv rm --with-value web1 /locks/backup
      corenode kv rm --recursive /app
    """

    async def work(tree: "Tree") -> "Change":
        return await tree.delete(
            key,
            directory=directory,
            recursive=recursive,
            previous_value=with_value,
            previous_index=with_index,
        )

    _write(connection, work, output_)


@click.command()
@click.argument("revision", type=click.IntRange(min=1))
@connection_options
def compact(revision: int, connection: Connection) -> None:
    """Forget history before REVISION: it can then no longer be read or watched. Nodes do this by themselves by age.

    Needs the node's unix socket or a client certificate of the role operator or admin.

    \b
    Example:
      corenode kv compact 120000
    """
    from core.client.operations import Operations

    async def work(transport: "Transport") -> None:
        await Operations(transport, connection.timeout).compact(revision)

    connection.run(work)
    output.note(f"History before revision {revision} is forgotten.")


def _content(value: str | None, directory: bool) -> str | None:
    """The value given or piped in; None for a directory."""
    if directory:
        if value is not None:
            raise click.UsageError("A directory has no value: leave out VALUE or --dir.")
        return None
    if value is not None:
        return value
    if sys.stdin.isatty():
        raise click.UsageError("VALUE is missing: give it behind KEY, or pipe it in.")
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise Failure("Standard input is not UTF-8 text, and values of the v2 dialect are text.") from None


def _write(connection: Connection, work: "Callable[[Tree], Awaitable[Change]]", output_: str) -> "Change":
    from core.client.tree import Tree

    async def connected(transport: "Transport") -> "Change":
        return await work(Tree(transport, connection.timeout))

    change = connection.run(connected)
    if output_ == output.JSON:
        output.raw_json(change.raw)
    else:
        output.note(f"{change.node.key}: {change.action} at index {change.node.modified_index}")
    return change
