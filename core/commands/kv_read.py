"""`corenode kv get` and `kv ls`."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.transport import Transport
    from core.client.tree import Change, Node

_quorum = click.option("-q", "--quorum", is_flag=True, help="Ask the cluster, not only this node's own copy.")


@click.command()
@click.argument("key")
@_quorum
@output.format_option(output.PLAIN, output.TABLE, output.JSON)
@connection_options
def get(key: str, quorum: bool, output_: str, connection: Connection) -> None:
    """Print the value of KEY.

    \b
    Examples:
      corenode kv get /app/port
      corenode kv get --quorum -o json /app/port
    """
    change = _read(connection, key, quorum=quorum)
    if change.node.dir:
        raise Failure(f"{key} is a directory. List it with: corenode kv ls {key}")
    if output_ == output.JSON:
        output.raw_json(change.raw)
    elif output_ == output.TABLE:
        output.table(_HEADINGS, [_row(change.node)])
    else:
        click.echo(change.node.value)


@click.command()
@click.argument("key", default="/")
@click.option("--sort", is_flag=True, help="Order by key.")
@click.option("-r", "--recursive", is_flag=True, help="Everything below, not one level only.")
@click.option("-p", "mark", is_flag=True, help="Put a slash behind directories.")
@_quorum
@output.format_option(output.PLAIN, output.TABLE, output.JSON)
@connection_options
def ls(key: str, sort: bool, recursive: bool, mark: bool, quorum: bool, output_: str, connection: Connection) -> None:
    """List directory KEY (default /). Keys with a component that begins with _ are hidden.

    \b
    Examples:
      corenode kv ls
      corenode kv ls --recursive -p --sort /app
      corenode kv ls -r -o table /
    """
    change = _read(connection, key, recursive=recursive, ordered=sort, quorum=quorum)
    if output_ == output.JSON:
        output.raw_json(change.raw)
        return
    nodes = list(_below(change.node)) if change.node.dir else [change.node]
    if output_ == output.TABLE:
        output.table(_HEADINGS, [_row(node, mark) for node in nodes])
        return
    for node in nodes:
        click.echo(_name(node, mark))


_HEADINGS = ("KEY", "VALUE", "TTL", "MODIFIED", "CREATED")


def _row(node: "Node", mark: bool = True) -> tuple[object, ...]:
    value = "" if node.value is None else node.value
    return _name(node, mark), value, node.ttl or "", node.modified_index, node.created_index


def _name(node: "Node", mark: bool) -> str:
    return f"{node.key}/" if mark and node.dir else node.key


def _below(node: "Node") -> "Iterator[Node]":
    """All nodes below, each directory before what is in it."""
    for child in node.nodes:
        yield child
        yield from _below(child)


def _read(
    connection: Connection, key: str, *, recursive: bool = False, ordered: bool = False, quorum: bool = False
) -> "Change":
    from core.client.tree import Tree

    async def work(transport: "Transport") -> "Change":
        tree = Tree(transport, connection.timeout)
        return await tree.get(key, recursive=recursive, ordered=ordered, quorum=quorum)

    return connection.run(work)
