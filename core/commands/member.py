"""`corenode member`: who belongs to the cluster."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup

if TYPE_CHECKING:
    from core.client.members import Member, Members
    from core.client.transport import Transport

T = TypeVar("T")
POLL_SECONDS = 0.1

_member = click.argument("member", metavar="MEMBER")
_peer_urls = click.option(
    "--peer-urls", required=True, metavar="URLS", help="Where the others reach it, separated by commas."
)


@click.group(cls=VerbGroup)
def command() -> None:
    """The members of the cluster. MEMBER is a name or an id of the list.

    Changes need the node's unix socket (taken by itself on the node's host) or a client certificate of the role admin.

    \b
    Examples:
      corenode member list
      corenode member add node4 --peer-urls https://10.0.0.4:2380 --learner
      corenode member promote node4
      corenode member remove node2
    """


@command.command("list")
@output.format_option(output.TABLE, output.JSON)
@connection_options
def list_(output_: str, connection: Connection) -> None:
    """List the members, who leads, and how the asked node is linked with them.

    \b
    Example:
      corenode member list -o json
    """
    found = _ask(connection, lambda members: members.list())
    if output_ == output.JSON:
        output.json(found)
    else:
        output.table(("ID", "NAME", "ROLE", "PEER URLS", "CLIENT URLS", "VERSION", "LINK"), [_row(m) for m in found])


@command.command()
@click.argument("name")
@_peer_urls
@click.option("--learner", is_flag=True, help="Without a vote, until `member promote`: the safe way to grow.")
@connection_options
def add(name: str, peer_urls: str, learner: bool, connection: Connection) -> None:
    """Let a new member in, before it starts for the first time, and print how to start it.

    \b
    Example:
      corenode member add node4 --peer-urls https://10.0.0.4:2380 --learner
    """
    urls = _urls(peer_urls)

    async def work(members: "Members") -> "tuple[Member, ...]":
        new = await members.add(name, urls, learner=learner)
        output.note(f"added {name} as member {new}{', a learner' if learner else ''}")
        return await members.list()

    known = _ask(connection, work)
    cluster = {f"{member.name}={url}" for member in known if member.name for url in member.peer_urls}
    cluster |= {f"{name}={url}" for url in urls}
    click.echo(
        f"corenode up --name {name} --initial-cluster-state existing --initial-cluster {','.join(sorted(cluster))}"
    )


@command.command()
@_member
@connection_options
def promote(member: str, connection: Connection) -> None:
    """Give a learner a vote. It must have caught up with the leader.

    \b
    Example:
      corenode member promote node4
    """

    async def work(members: "Members") -> None:
        await members.promote((await _find(members, member)).id)

    _ask(connection, work)
    output.note(f"{member} votes now")


@command.command()
@_member
@connection_options
def remove(member: str, connection: Connection) -> None:
    """Put a member out of the cluster for good. It stops by itself, and cannot come back with its data.

    \b
    Example:
      corenode member remove node2
    """

    async def work(members: "Members") -> None:
        await members.remove((await _find(members, member)).id)

    _ask(connection, work)
    output.note(f"{member} is removed; it stops by itself, and its data directory is of no use to the cluster any more")


@command.command()
@_member
@_peer_urls
@connection_options
def update(member: str, peer_urls: str, connection: Connection) -> None:
    """Say where the others reach a member from now on. Then restart it with the new URLs.

    \b
    Example:
      corenode member update node4 --peer-urls https://10.0.0.14:2380
    """
    urls = _urls(peer_urls)

    async def work(members: "Members") -> None:
        await members.update((await _find(members, member)).id, urls)

    _ask(connection, work)
    output.note(f"{member} is reached at {', '.join(urls)} now")


@command.command("move-leader")
@_member
@connection_options
def move_leader(member: str, connection: Connection) -> None:
    """Let another member lead, and wait until it does.

    \b
    Example:
      corenode member move-leader node2
    """

    async def work(members: "Members") -> bool:
        import trio

        heir = await _find(members, member)
        await members.move_leader(heir.id)
        with trio.move_on_after(connection.timeout):
            while True:
                await trio.sleep(POLL_SECONDS)
                if (await _find(members, heir.id)).role == "leader":
                    return True
        return False

    if not _ask(connection, work):
        raise Failure(f"{member} does not lead yet; it may lag behind. Look again with `corenode member list`.")
    output.note(f"{member} leads")


def _ask(connection: Connection, work: "Callable[[Members], Awaitable[T]]") -> T:
    from core.client.members import Members

    async def ask(transport: "Transport") -> T:
        return await work(Members(transport, connection.timeout))

    return connection.run(ask)


async def _find(members: "Members", text: str) -> "Member":
    return _pick(await members.list(), text)


def _pick(known: "tuple[Member, ...]", text: str) -> "Member":
    found = [member for member in known if text in (member.name, member.id)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(member.name or member.id for member in known)
    raise Failure(f"There is no member {text!r}; there are {names}.")


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(part.strip() for part in text.split(",") if part.strip())
    if not urls:
        raise click.UsageError("--peer-urls is empty; write it like https://10.0.0.4:2380.")
    return urls


def _row(member: "Member") -> tuple[object, ...]:
    return (
        member.id,
        member.name or "not started yet",
        member.role,
        ",".join(member.peer_urls),
        ",".join(member.client_urls) or "none",
        member.version or "?",
        member.link,
    )
