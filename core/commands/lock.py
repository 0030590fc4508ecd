"""`corenode lock`: the lock under which hosts reboot, a few at a time."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup

if TYPE_CHECKING:
    from core.client import Store
    from core.update.reboot_lock import Holder, RebootLock
    from core.update.voters import Turns

T = TypeVar("T")
MACHINE_ID = Path("/etc/machine-id")

group_option = click.option(
    "--group", default="", metavar="NAME", help="Hosts that take turns among themselves.  [default: all that name none]"
)
_machine = click.argument("machine", metavar="[MACHINE]", default="")


@click.group(cls=VerbGroup)
def command() -> None:
    """The lock under which hosts reboot, a few at a time. MACHINE is a machine id; left out, this host's.

    The record is that of locksmith, whose tools may be used beside these verbs. The general lock is `corenode kv lock`.

    \b
    Examples:
      corenode lock status
      corenode lock acquire && systemctl reboot
      corenode lock set-max 2 --group workers
    """


@command.command()
@group_option
@output.format_option(output.TABLE, output.JSON)
@connection_options
def status(group: str, output_: str, connection: Connection) -> None:
    """Show who holds the lock, since when, and how many more may.

    \b
    Example:
      corenode lock status --group workers -o json
    """
    found = ask(connection, group, lambda lock: lock.status())
    if output_ == output.JSON:
        output.json(found)
        return
    expiry = f", who lose it after {found.expiry} s of silence" if found.expiry else ""
    output.note(f"{found.available} of {found.max} may still take it{expiry}")
    if found.holders:
        output.table(("MACHINE", "SINCE", "STATE"), [_row(holder) for holder in found.holders])


@command.command()
@_machine
@group_option
@connection_options
def acquire(machine: str, group: str, connection: Connection) -> None:
    """Take the lock; exit 1 if no place is free. Whoever holds it already gets it again.

    A host whose node is a voting member takes a place in the group `voters` with it, and only while enough other voters
    are there to decide without it.

    \b
    Example:
      corenode lock acquire && systemctl reboot
    """
    holder = machine or own_id()
    for name in take(connection, group, lambda turns: turns.acquire(holder)):
        output.note(f"{name} had been silent for longer than the group's expiry, and lost its place")
    output.note(f"{holder} holds the lock")


@command.command()
@_machine
@group_option
@connection_options
def release(machine: str, group: str, connection: Connection) -> None:
    """Let the lock go, for this host or for one that will not do so itself.

    \b
    Example:
      corenode lock release 113f16a7b1c24ab8a3fd8a01c33ab4b9
    """
    holder = machine or own_id()
    take(connection, group, lambda turns: turns.release(holder))
    output.note(f"{holder} does not hold the lock any more")


@command.command("set-max")
@click.argument("number", type=click.IntRange(min=0))
@group_option
@connection_options
def set_max(number: int, group: str, connection: Connection) -> None:
    """Let so many hosts hold it at the same time. Nobody loses it by that.

    \b
    Example:
      corenode lock set-max 3 --group workers
    """
    before = ask(connection, group, lambda lock: lock.set_max(number))
    output.note(f"{number} may hold the lock now; it was {before}")


@command.command("set-expiry")
@click.argument("seconds", type=click.IntRange(min=0))
@group_option
@connection_options
def set_expiry(seconds: int, group: str, connection: Connection) -> None:
    """Let a holder lose the lock that was silent for SECONDS; 0: never. It should be longer than a reboot takes.

    \b
    Example:
      corenode lock set-expiry 3600
    """
    ask(connection, group, lambda lock: lock.set_expiry(seconds))
    output.note(
        f"who takes the lock from now on loses it after {seconds} s of silence" if seconds else "nobody loses it"
    )


def ask(connection: Connection, group: str, work: "Callable[[RebootLock], Awaitable[T]]") -> T:
    """Do something with the lock of a group. Failure if it cannot be done."""
    from core.update.reboot_lock import RebootLock

    async def asked(store: "Store") -> T:
        return await work(RebootLock(store, group))

    return _run(connection, asked)


def take(connection: Connection, group: str, work: "Callable[[Turns], Awaitable[T]]") -> T:
    """Take or let go what a host of a group needs. Failure if it cannot be done."""
    connection = connection.asked()

    async def asked(store: "Store") -> T:
        return await turns(connection, store, group, work)

    return _run(connection, asked)


async def turns(connection: Connection, store: "Store", group: str, work: "Callable[[Turns], Awaitable[T]]") -> T:
    """Do something with the locks that a host of a group needs, knowing who votes. SemaphoreError, RebootLockError,
    ClientError."""
    from core.client.errors import ClientError
    from core.client.members import Members
    from core.update.voters import Turns, Voter

    voters: list[Voter] = []
    with suppress(ClientError):  # an etcd does not say it, nor does a node to whoever may not ask
        async with connection.open() as transport:
            members = await Members(transport, connection.timeout).list()
        voters = [Voter(each.name, each.link in ("self", "up")) for each in members if each.role != "learner"]
    return await work(Turns(store, group, lambda: voters))


def _run(connection: Connection, work: "Callable[[Store], Awaitable[T]]") -> T:
    from core.update.reboot_lock import RebootLockError
    from core.update.semaphore import SemaphoreError

    try:
        return connection.run_store(work)
    except SemaphoreError as error:
        raise Failure(f"The lock stays as it is: {error}. `corenode lock status` says who holds it.") from None
    except RebootLockError as error:
        raise Failure(f"The lock stays as it is: {error}.") from None


def own_id() -> str:
    """This host's machine id. Failure if it has none."""
    try:
        return MACHINE_ID.read_text().strip()
    except OSError as error:
        raise Failure(f"This host's id cannot be read from {MACHINE_ID} ({error.strerror}); name a machine.") from None


def _row(holder: "Holder") -> tuple[object, ...]:
    since = datetime.fromtimestamp(holder.since, UTC).isoformat(" ", "seconds") if holder.since else "not told"
    return holder.id, since, holder.state or "-"
