"""`corenode kv election`."""

from typing import TYPE_CHECKING

import click

from core.commands import holding, lazy, output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.kv_lock import ttl_option, wait_option

if TYPE_CHECKING:
    from core.client import KeyValue, Store


@click.group(cls=lazy.VerbGroup)
def election() -> None:
    """Of all who stand for an election the one that stands longest leads. Users of etcdctl's elect are among them.

    \b
    Examples:
      corenode kv election campaign db-primary $(hostname) -- ./serve-as-primary
      corenode kv election leader db-primary
      corenode kv election observe db-primary
    """


@election.command()
@click.argument("name")
@click.argument("value")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@ttl_option
@wait_option
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def campaign(
    name: str,
    value: str,
    command: tuple[str, ...],
    ttl: int,
    wait: float | None,
    output_: str,
    connection: Connection,
) -> None:
    """Stand for the election NAME, lead while COMMAND runs, end with its exit code. Without one: until Ctrl-C.

    VALUE is what others see of the leader. COMMAND stands behind --, and finds the key of the lead in ETCD_ELECTION_KEY
    and its revision in ETCD_ELECTION_REV. If the lead is lost COMMAND is ended.

    \b
    Examples:
      corenode kv election campaign db-primary 10.0.0.5:5432
      corenode kv election campaign db-primary $(hostname) -- ./serve-as-primary
    """
    holding.check_program(command)

    async def work(store: "Store") -> int:
        patience = holding.patience(wait)
        standing = store.election(name.encode()).campaign(value.encode(), ttl=ttl, patience=patience)
        async with standing as leadership:
            claim = leadership.claim
            key = claim.key.decode(errors="backslashreplace")
            if not command:
                if output_ == output.JSON:
                    output.json({"key": key, "revision": claim.revision, "lease": f"{claim.lease:x}"})
                else:
                    click.echo(key)
            return await holding.run(command, {"ETCD_ELECTION_KEY": key, "ETCD_ELECTION_REV": str(claim.revision)})

    holding.run_held(connection, work)


@election.command()
@click.argument("name")
@output.format_option(output.PLAIN, output.TABLE, output.JSON)
@connection_options
def leader(name: str, output_: str, connection: Connection) -> None:
    """Print what the leader of NAME says of itself. Fails if nobody leads.

    \b
    Example:
      corenode kv election leader db-primary
    """

    async def work(store: "Store") -> "KeyValue | None":
        return await store.election(name.encode()).leader()

    found = connection.run_store(work)
    if found is None:
        raise Failure(f"Nobody leads {name}.")
    _show(found, output_)


@election.command()
@click.argument("name")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def observe(name: str, output_: str, connection: Connection) -> None:
    """Print what the leader of NAME says, and each change of it, until Ctrl-C.

    \b
    Example:
      corenode kv election observe db-primary
    """

    async def work(store: "Store") -> None:
        async with store.election(name.encode()).observe() as leaders:
            async for found in leaders:
                _show(found, output_)

    connection.run_store(work)


def _show(found: "KeyValue", output_: str) -> None:
    key, value = (text.decode(errors="backslashreplace") for text in (found.key, found.value))
    if output_ == output.JSON:
        output.json({"key": key, "value": value, "revision": found.create_revision, "lease": f"{found.lease:x}"})
    elif output_ == output.TABLE:
        output.table(["KEY", "VALUE", "SINCE"], [[key, value, found.create_revision]])
    else:
        click.echo(output.printable(value))
