"""`corenode snapshot`: the whole store in one file."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.lazy import VerbGroup
from core.commands.progress import Progress

if TYPE_CHECKING:
    from core.client.transport import Transport
    from core.founding import Founders
    from core.store_lmdb.snapshot import Summary
    from core.store_lmdb.state import StateStore

_file = click.argument("file", type=click.Path(path_type=Path))


@click.group(cls=VerbGroup)
def command() -> None:
    """Save, check and restore the whole store as one file.

    \b
    Examples:
      corenode snapshot save backup.snapshot
      corenode snapshot status backup.snapshot
      corenode snapshot restore backup.snapshot --data-dir new-data
    """


@command.command()
@_file
@connection_options
def save(file: Path, connection: Connection) -> None:
    """Save the store of a running node, as it is now, to FILE, which must not exist.

    FILE appears only when all of it has arrived, was checked against its hash and is on the disk. Needs the node's unix
    socket or a client certificate of the role operator or admin.

    \b
    Example:
      corenode snapshot save /backup/$(date +%F).snapshot
    """
    from core.client.operations import Operations
    from core.store_lmdb.snapshot import verify

    if file.exists():
        raise Failure(f"{file} exists already; choose another name.")
    part = file.with_name(f".{file.name}.{secrets.token_hex(4)}.part")

    try:
        with _explained(file):
            with open(part, "xb", opener=_private) as out, Progress("receiving") as progress:

                async def receive(transport: "Transport") -> None:
                    async with Operations(transport, connection.timeout).snapshot() as stream:
                        async for piece in stream.pieces:
                            out.write(piece)
                            progress.advance(len(piece))

                connection.run(receive)
                out.flush()
                os.fsync(out.fileno())
            summary = verify(part)
            part.rename(file)
            _sync(file.parent)
    finally:
        part.unlink(missing_ok=True)
    output.note(f"{file}: revision {summary.header.revision}, {summary.size} bytes, SHA-256 {summary.sha256}")


@command.command()
@_file
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, metavar="DIR", help="New or empty.")
@click.option("--name", default="default", show_default=True, help="Name of the member that will use it.")
@click.option(
    "--initial-cluster", default="", metavar="MEMBERS", help="NAME=URL of each member, where there will be several."
)
@click.option("--initial-advertise-peer-urls", default="", metavar="URLS", help="Where others reach this member.")
@click.option("--initial-cluster-token", default="corenode", show_default=True, help="Goes into the cluster's id.")
@click.option(
    "--skip-revisions",
    default=0,
    show_default=True,
    type=click.IntRange(0, 2**40),
    metavar="N",
    help="Go on so many revisions later, with no history: more than were written since the snapshot was saved.",
)
def restore(
    file: Path,
    data_dir: Path,
    name: str,
    initial_cluster: str,
    initial_advertise_peer_urls: str,
    initial_cluster_token: str,
    skip_revisions: int,
) -> None:
    """Make the data directory of a member of a new cluster from FILE.

    The cluster gets an id of its own, so that members of the old one cannot take it for theirs. For several members
    restore the same FILE once for each, with the same --initial-cluster. Clients that remember revisions, and watch
    from there, need --skip-revisions: they are then told that history is gone, instead of missing changes.

    \b
    Examples:
      corenode snapshot restore backup.snapshot --data-dir data && corenode up --data-dir data
      corenode snapshot restore backup.snapshot --data-dir n1 --name n1 --skip-revisions 1000000 \\
        --initial-cluster n1=https://10.0.0.1:2380,n2=https://10.0.0.2:2380,n3=https://10.0.0.3:2380
    """
    from core.kv.refounding import refound
    from core.raft.members import encode
    from core.store_lmdb.creation import Identity
    from core.store_lmdb.restore import restore as steps
    from core.store_lmdb.snapshot import Summary
    from core.version import VERSION

    founders = _founders(name, initial_cluster, initial_advertise_peer_urls, initial_cluster_token)
    identity = Identity(founders.cluster, founders.own)
    revision = 0

    def adapt(state: "StateStore") -> bytes:
        counted = encode(founders.members)
        refound(state, counted, founders.described, skip=skip_revisions)
        return counted

    with _explained(file), Progress("restoring", bytes_known=False):
        file.open("rb").close()
        for step in steps(file, data_dir, identity, f"corenode {VERSION}", adapt):
            if isinstance(step, Summary):
                revision = step.header.revision + skip_revisions
    flags = f"--data-dir {data_dir}" + (f" --name {name}" if name != "default" else "")
    output.note(f"{data_dir}: revision {revision}. Start it with: corenode up {flags}")


def _founders(name: str, cluster: str, peer_urls: str, token: str) -> "Founders":
    from core.founding import founders
    from core.setting_texts import initial_cluster, urls

    try:
        members = initial_cluster(cluster)
        own = urls(peer_urls) or dict(members).get(name, ())
    except ValueError as error:
        raise click.UsageError(f"{error}.") from None
    if members and name not in dict(members):
        raise click.UsageError(f"--initial-cluster does not name {name}; say with --name which of them this is.")
    return founders(name, members, own, token)


@command.command()
@_file
@output.format_option(output.TABLE, output.JSON)
def status(file: Path, output_: str) -> None:
    """Check FILE whole against its hash, and show what it holds. Exit 1 if it is damaged.

    \b
    Example:
      corenode snapshot status -o json backup.snapshot
    """
    summary = _verified(file)
    if output_ == output.JSON:
        output.json(summary)
        return
    header = summary.header
    rows = " ".join(f"{table}={count}" for table, count in summary.rows.items() if count)
    output.table(
        ("CLUSTER", "REVISION", "RAFT", "BYTES", "ROWS", "SHA-256"),
        [(header.cluster, header.revision, f"{header.term}/{header.index}", summary.size, rows, summary.sha256)],
    )


@command.command()
@_file
def verify(file: Path) -> None:
    """Check FILE whole against its hash. Exit 1 if it is damaged.

    \b
    Example:
      corenode snapshot verify backup.snapshot
    """
    summary = _verified(file)
    output.note(f"{file}: whole, revision {summary.header.revision}, {summary.size} bytes")


def _verified(file: Path) -> "Summary":
    from core.store_lmdb.snapshot import verify

    with _explained(file):
        file.open("rb").close()  # a file that is not there is no trouble with the disk, as the store would take it
        return verify(file)


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn what disk and file can be expected to say into a Failure."""
    from core.store_lmdb.errors import StoreError

    try:
        yield
    except StoreError as error:
        raise Failure(_sentence(str(error))) from None
    except OSError as error:
        _refuse(file, error)


def _refuse(file: Path, error: OSError) -> NoReturn:
    raise Failure(f"{error.filename or file}: {error.strerror}.") from None


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _private(name: str, flags: int) -> int:
    return os.open(name, flags | os.O_CLOEXEC, 0o600)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
