"""`corenode kv lease`. Ids are in hexadecimal, as etcdctl writes them."""

import math
from typing import TYPE_CHECKING, Any

import click

from core.commands import lazy, output
from core.commands.connection import Connection, connection_options

if TYPE_CHECKING:
    from core.client import LeaseStatus, Store

RETRY_SECONDS = 0.5


class LeaseId(click.ParamType[int]):
    """The id of a lease."""

    name = "id"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            return int(value, 16)
        except ValueError:
            self.fail(f"{value!r} is no lease id: those are hexadecimal, like 694d7c1b2f3e5a07.", param, ctx)


_id = click.argument("lease_id", metavar="ID", type=LeaseId())


@click.group(cls=lazy.VerbGroup)
def lease() -> None:
    """Leases: keys put under one are removed together when its time is over, unless it is kept alive.

    \b
    Example:
      id=$(corenode kv lease grant 60)
      printf '\\nput --lease '$id' /alive/web1 yes\\n' | corenode kv txn
      corenode kv lease keep-alive $id
    """


@lease.command()
@click.argument("ttl", type=click.IntRange(min=1))
@click.option("--id", "wanted", type=LeaseId(), default=0, metavar="ID", help="Under this id.  [default: any]")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def grant(ttl: int, wanted: int, output_: str, connection: Connection) -> None:
    """Make a lease of TTL seconds and print its id.

    \b
    Example:
      corenode kv lease grant 60
    """

    async def work(store: "Store") -> "LeaseStatus":
        return await store.grant(ttl, wanted)

    granted = connection.run_store(work)
    if output_ == output.JSON:
        output.json({"id": f"{granted.id:x}", "ttl": granted.ttl})
        return
    click.echo(f"{granted.id:x}")
    if granted.ttl != ttl:
        output.note(f"It has {granted.ttl} s: the server gives no less.")


@lease.command()
@_id
@connection_options
def revoke(lease_id: int, connection: Connection) -> None:
    """End a lease and remove its keys.

    \b
    Example:
      corenode kv lease revoke 694d7c1b2f3e5a07
    """

    async def work(store: "Store") -> None:
        await store.revoke(lease_id)

    connection.run_store(work)
    output.note(f"Lease {lease_id:x} is revoked.")


@lease.command("keep-alive")
@_id
@click.option("--once", is_flag=True, help="Only once.")
@output.format_option(output.PLAIN, output.JSON)
@connection_options
def keep_alive(lease_id: int, once: bool, output_: str, connection: Connection) -> None:
    """Keep a lease alive until Ctrl-C; print the seconds it has each time. Fails when the lease is gone.

    \b
    Examples:
      corenode kv lease keep-alive 694d7c1b2f3e5a07
      corenode kv lease keep-alive --once 694d7c1b2f3e5a07
    """

    async def work(store: "Store") -> None:
        import trio

        from core.client.errors import ClientError, LeaseNotFoundError

        good_until = -math.inf
        while True:
            asked = trio.current_time()
            try:
                ttl = await store.keep_alive(lease_id)
            except ClientError as error:
                if once or isinstance(error, LeaseNotFoundError) or trio.current_time() > good_until:
                    raise
                output.note(f"It could not be kept alive ({error}); trying again.")
                await trio.sleep(RETRY_SECONDS)
                continue
            good_until = asked + ttl
            if output_ == output.JSON:
                output.json({"id": f"{lease_id:x}", "ttl": ttl})
            else:
                click.echo(ttl)
            if once:
                return
            await trio.sleep(ttl / 3)

    connection.run_store(work)


@lease.command()
@_id
@click.option("--keys", is_flag=True, help="Also its keys.")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def timetolive(lease_id: int, keys: bool, output_: str, connection: Connection) -> None:
    """Show how many seconds a lease still has, of how many it was granted.

    \b
    Example:
      corenode kv lease timetolive --keys 694d7c1b2f3e5a07
    """

    async def work(store: "Store") -> "LeaseStatus":
        return await store.time_to_live(lease_id, keys=keys)

    found = connection.run_store(work)
    names = [key.decode(errors="backslashreplace") for key in found.keys]
    if output_ == output.JSON:
        told: dict[str, object] = {"id": f"{found.id:x}", "ttl": found.ttl, "granted": found.granted}
        output.json(told | ({"keys": names} if keys else {}))
        return
    headings, row = ["ID", "LEFT", "GRANTED"], [f"{found.id:x}", found.ttl, found.granted]
    rows = [[*row, name] for name in names] or [[*row, ""]]
    output.table([*headings, "KEY"] if keys else headings, rows if keys else [row])


@lease.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List the ids of all leases.

    \b
    Example:
      corenode kv lease list
    """

    async def work(store: "Store") -> list[int]:
        return await store.leases()

    found = [f"{each:x}" for each in connection.run_store(work)]
    if output_ == output.JSON:
        output.json(found)
    else:
        output.table(["ID"], [[each] for each in found])
