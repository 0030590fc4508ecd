"""`corenode kv lock`: the general lock. That of reboots, which counts several holders, is `corenode lock`."""

from typing import TYPE_CHECKING

import click

from core.commands import holding, output
from core.commands.connection import Connection, connection_options

if TYPE_CHECKING:
    from core.client import Store

ttl_option = click.option("--ttl", type=click.IntRange(min=2), default=10, show_default=True, metavar="SECONDS",
                          help="After so long it is free again if this host dies.")  # fmt: skip
wait_option = click.option("--wait", type=click.FloatRange(min=0), metavar="SECONDS",
                           help="Fail if it is not had in so long.  [default: wait for ever]")  # fmt: skip


@click.command()
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@ttl_option
@wait_option
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def lock(
    name: str, command: tuple[str, ...], ttl: int, wait: float | None, output_: str, connection: Connection
) -> None:
    """Wait for the lock NAME, hold it while COMMAND runs, end with its exit code. Without one: until Ctrl-C.

    COMMAND stands behind --, and finds the key of the lock in ETCD_LOCK_KEY and its revision, which grows from holder
    to holder, in ETCD_LOCK_REV. If the lock is lost COMMAND is ended. Those waiting are served in the order they came,
    users of etcdctl's lock among them.

    \b
    Examples:
      corenode kv lock backup -- /usr/local/bin/backup --all
      corenode kv lock --wait 0 nightly -- ./run-unless-running
      corenode kv lock maintenance
    """
    holding.check_program(command)

    async def work(store: "Store") -> int:
        async with store.lock(name.encode(), ttl=ttl, patience=holding.patience(wait)) as claim:
            key = claim.key.decode(errors="backslashreplace")
            if not command:
                if output_ == output.JSON:
                    output.json({"key": key, "revision": claim.revision, "lease": f"{claim.lease:x}"})
                else:
                    click.echo(key)
            return await holding.run(command, {"ETCD_LOCK_KEY": key, "ETCD_LOCK_REV": str(claim.revision)})

    holding.run_held(connection, work)
