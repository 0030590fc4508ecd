"""`corenode image package`: a file of another make, for hosts that ask by Omaha."""

import hashlib
import tempfile
from functools import partial
from pathlib import Path

import click

from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.image_cluster import Chunks, send
from core.commands.image_keys import explained
from core.commands.progress import Progress

_PIECE = 1 << 20


@click.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--product", required=True, metavar="NAME", help="What it is of: the product of the channel.")
@click.option("--version", required=True, metavar="VERSION", help="As those hosts write it.")
@click.option(
    "--architecture", default="x86_64", show_default=True, metavar="NAME", help="As `uname -m` has it on those hosts."
)
@click.option("--drop", is_flag=True, help="Serve it no more.")
@connection_options
def package(
    file: Path | None, product: str, version: str, architecture: str, drop: bool, connection: Connection
) -> None:
    """Let the cluster serve FILE as it is, to hosts of other makes that ask by Omaha; one more of the same product,
    version and architecture replaces it.

    What is in FILE those hosts verify themselves, by keys of their maker: it is not signed here. They ask at
    https://NODE/v1/update/, and get it when a group is open to them: corenode update group set --omaha.

    \b
    Examples:
      corenode image package flatcar_production_update.gz --product flatcar --version 4081.2.0
      corenode image package --drop --product flatcar --version 4081.2.0
    """
    if (file is None) is not drop:
        raise click.UsageError("Give either FILE or --drop.")
    if file is None:
        name = "/".join((product, version, architecture))
        connection.run(lambda transport: send(transport, {"dropped": [name]}, {}))
        return
    with explained(), tempfile.TemporaryDirectory() as home:
        described, chunks = _packed(file, Path(home))
        described |= {"product": product, "version": version, "architecture": architecture, "file": file.name}
        connection.run(lambda transport: send(transport, {"packages": [described]}, chunks))


def _packed(file: Path, home: Path) -> tuple[dict[str, object], Chunks]:
    """What is said of a file, and its chunks, which lie in `home` until they are uploaded. OSError."""
    import msgspec

    from core.images.blobs import pack, packed
    from core.images.manifest import Blob

    size = file.stat().st_size
    if not size:
        raise Failure(f"{file} is empty.")
    chunks: Chunks = {}
    first, second = hashlib.sha1(usedforsecurity=False), hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(_PIECE):
            first.update(piece)
            second.update(piece)

        def read(offset: int, length: int) -> bytes:
            stream.seek(offset)
            return stream.read(length)

        found = []
        try:
            with Progress("packing") as bar:
                for chunk, data in pack(read, size):
                    place = home / chunk.sha256
                    place.write_bytes(data)
                    chunks[chunk.sha256] = place.read_bytes
                    found.append(chunk)
                    bar.advance(chunk.size)
        except EOFError:
            raise Failure(f"{file} became shorter while it was read.") from None
    index, inner = packed(msgspec.json.encode(Blob(size, second.hexdigest(), tuple(found))))
    chunks |= {name: partial(bytes, data) for name, data in inner.items()}
    return {"size": size, "sha1": first.hexdigest(), "sha256": second.hexdigest(), "index": index}, chunks
