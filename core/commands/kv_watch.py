"""`corenode kv watch`."""

import os
import shutil
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.transport import Transport
    from core.client.tree import Change


@click.command(context_settings={"ignore_unknown_options": False})
@click.argument("key")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("-r", "--recursive", is_flag=True, help="Also everything below.")
@click.option("--after-index", type=click.IntRange(min=1), metavar="INDEX", help="From the change after INDEX on.")
@click.option("-f/-1", "--forever/--once", default=True, help="Until Ctrl-C, or one change only.  [default: forever]")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def watch(
    key: str,
    command: tuple[str, ...],
    recursive: bool,
    after_index: int | None,
    forever: bool,
    output_: str,
    connection: Connection,
) -> None:
    """Print changes of KEY as they happen: index, action, key, value.

    When the connection is lost it goes on from the last change, and leaves none out.
    A COMMAND behind -- is run for each change instead, told of it by ETCD_WATCH_ACTION, ETCD_WATCH_KEY,
    ETCD_WATCH_VALUE and ETCD_WATCH_MODIFIED_INDEX.

    \b
    Examples:
      corenode kv watch --recursive /
      corenode kv watch --once /deploy
      corenode kv watch --after-index 120 -o json /app
      corenode kv watch /app/config -- systemctl reload app
    """
    if command and shutil.which(command[0]) is None:
        raise Failure(f"There is no program {command[0]!r} to run.")

    async def work(transport: "Transport") -> None:
        from contextlib import aclosing

        from core.client.tree import Tree

        tree = Tree(transport, connection.timeout)
        index = None if after_index is None else after_index + 1
        async with aclosing(tree.watch(key, recursive=recursive, index=index, lost=_lost)) as changes:
            async for change in changes:
                if command:
                    await _run(command, change)
                else:
                    _show(change, output_)
                if not forever:
                    return

    connection.run(work)


def _lost(why: str) -> None:
    output.note(f"The connection is lost ({why}); trying again.")


def _show(change: "Change", output_: str) -> None:
    if output_ == output.JSON:
        output.raw_json(change.raw)
        return
    node = change.node
    key = f"{node.key}/" if node.dir else node.key
    value = "" if node.value is None else f"  {output.printable(node.value)}"
    click.echo(f"{node.modified_index}  {change.action}  {output.printable(key)}{value}")


async def _run(command: tuple[str, ...], change: "Change") -> None:
    import trio

    environment = {
        **os.environ,
        "ETCD_WATCH_ACTION": change.action,
        "ETCD_WATCH_KEY": change.node.key,
        "ETCD_WATCH_VALUE": change.node.value or "",
        "ETCD_WATCH_MODIFIED_INDEX": str(change.node.modified_index),
    }
    try:
        done = await trio.run_process(command, env=environment, check=False)
    except (OSError, ValueError) as error:  # ValueError: a value with a zero byte fits no environment
        output.note(f"{command[0]} could not be run for index {change.node.modified_index}: {error}.")
        return
    if done.returncode:
        output.note(f"{command[0]} failed for index {change.node.modified_index} with status {done.returncode}.")
