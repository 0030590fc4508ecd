"""`corenode join`: make this host part of a cluster, with nothing but an address and a token."""

import platform
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from core.commands import output
from core.commands.connection import explain
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.joining import Granted

CLIENT_PORT, PEER_PORT = 2379, 2380
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def _urls(name: str, help_: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option(f"--{name}", metavar="URLS", help=help_)


@click.command()
@click.argument("url", metavar="URL")
@click.option(
    "--token",
    required=True,
    envvar="CORENODE_TOKEN",
    metavar="TOKEN",
    help="What `corenode token create` printed; CORENODE_TOKEN hides it from other users of this host.",
)
@click.option(
    "--role",
    type=click.Choice(["member", "worker"]),
    default="member",
    show_default=True,
    help="What this host becomes.",
)
@click.option("--name", metavar="NAME", help="What it is called.  [default: the host's name]")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Directory of its data; certificates go to DIR/tls.  [default: NAME.corenode]",
)
@click.option(
    "--machine-id",
    metavar="ID",
    help="A worker's id, 32 hexadecimal digits.  [default: that of the host, or of a data directory of your own]",
)
@_urls("listen-client-urls", "Where it listens for clients.  [default: port 2379 of its address]")
@_urls("advertise-client-urls", "What clients are told to connect to.  [default: the listening URLs]")
@_urls("listen-peer-urls", "Where it listens for members.  [default: the advertised peer URLs]")
@_urls("initial-advertise-peer-urls", "Where members reach it.  [default: what it listens on, port 2380]")
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="How long one request may take.",
)
def command(
    url: str,
    token: str,
    role: str,
    name: str | None,
    data_dir: Path | None,
    machine_id: str | None,
    listen_client_urls: str | None,
    advertise_client_urls: str | None,
    listen_peer_urls: str | None,
    initial_advertise_peer_urls: str | None,
    timeout: float,
) -> None:
    """Make this host part of the cluster that has a node at URL. Start it afterwards with `corenode up`.

    The node's root certificate must be the one that the token names; otherwise nothing is sent. Keys are made here and
    stay here. A member is let in as a learner, and gets its vote by itself when it has started and caught up. Whatever
    was interrupted goes on when the same command is given again.

    \b
    Examples:
      corenode join https://10.0.0.1:2379 --token mfrggzdf.…
      corenode join https://node1.example.org:2379 --token … --name node2 --data-dir /var/lib/corenode
    """
    import trio

    from core.client import endpoints, joining
    from core.client.errors import ClientError, RefusedError
    from core.commands.joined_files import JoinedFiles, Wanted
    from core.join_token import parse

    try:
        known = parse(token)
        endpoint = endpoints.parse(url if "://" in url else f"https://{url}")
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if not endpoint.secure:
        raise click.UsageError(f"{url}: hosts join by TLS only; write it like https://10.0.0.1:2379.")
    name = name or platform.node().partition(".")[0]
    if not _NAME.fullmatch(name):
        raise click.UsageError(f"--name {name!r}: 1 to 64 of letters, digits and . _ @ -, a letter or digit first.")
    here = _own_address(endpoint.origin)
    directory = (data_dir or Path(f"{name}.corenode")).absolute()
    clients = listen_client_urls or advertise_client_urls or f"https://{here}:{CLIENT_PORT}"
    peers = listen_peer_urls or initial_advertise_peer_urls or f"https://{here}:{PEER_PORT}"
    wanted = Wanted(
        role,
        name,
        directory,
        _list(clients),
        _list(advertise_client_urls or clients),
        _list(peers) if role == "member" else (),
        _list(initial_advertise_peer_urls or peers) if role == "member" else (),
        _machine_id(directory, machine_id) if role == "worker" else "",
    )
    files = JoinedFiles.begin(wanted)

    async def ask() -> "Granted":
        return await joining.join(endpoint, known, files.asked(str(known)), timeout)

    try:
        granted = trio.run(ask)
    except ClientError as error:
        final = isinstance(error, joining.WrongRootError) or (isinstance(error, RefusedError) and error.status < 500)
        hint = "" if final else "\nNothing is lost: the same command goes on from here."
        raise Failure(f"{_sentence(error)}{hint}") from None
    configuration = files.finish(granted)
    output.note(f"{name} is a {'member' if role == 'member' else 'worker'} of cluster {granted.cluster}. Next:")
    click.echo(f"corenode up --config {configuration}")


def _sentence(error: Exception) -> str:
    from core.client.errors import UnreachableError

    if isinstance(error, UnreachableError):
        return "; ".join(f"{endpoint}: {why}" for endpoint, why in error.reasons.items()) + "."
    return explain(error).partition("\n")[0]


def _machine_id(directory: Path, given: str | None) -> str:
    from core.machine_id import MachineIdError, is_machine_id, machine_id

    if given and not is_machine_id(given):
        raise click.UsageError(f"--machine-id {given!r}: an id has 32 hexadecimal digits, in small letters.")
    try:
        return machine_id(directory, given or "")
    except MachineIdError as error:
        raise Failure(f"{error}.") from None


def _own_address(origin: str) -> str:
    """The address of this host that faces the node; nothing is sent to find it out."""
    parts = urlsplit(origin)
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(parts.hostname, parts.port, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.connect(address)
            found = str(probe.getsockname()[0])
    except OSError as error:
        raise Failure(f"{origin} cannot be reached from here: {error.strerror}.") from None
    return f"[{found}]" if ":" in found else found


def _list(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
