"""What `corenode image` does with a cluster that serves images by itself."""

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.image_keys import explained, now, online_option, repository_argument
from core.commands.progress import Progress

if TYPE_CHECKING:
    from core.client.transport import Transport

Chunks = dict[str, Callable[[], bytes]]


@click.command()
@repository_argument
@online_option
@connection_options
def upload(repository: Path, online: Path, connection: Connection) -> None:
    """Let the cluster serve the repository in REPO-DIR: roots, releases, and the keys it signs with by itself.

    Done again, it brings a new root or new keys. The keys then rest on the members, readable by nobody else.

    \b
    Example:
      corenode image trust upload repo --online online
    """
    from core.images.blobs import packed
    from core.trust import keys
    from core.trust.releases import releases_in
    from core.trust.repository import Repository

    with explained():
        home = Repository(repository)
        chunks: Chunks = {}

        def blob(data: bytes) -> object:
            made, there = packed(data)
            chunks.update({name: partial(bytes, data_) for name, data_ in there.items()})
            return made

        newest = home.root().signed.version
        targets = home.targets()
        publication = {
            "roots": [blob(home.root_bytes(version)) for version in range(1, newest + 1)],
            "targets": blob(targets.to_bytes()),
            "manifests": {
                each.path: blob((repository / each.path).read_bytes()) for each in releases_in(targets.signed)
            },
        }
        for place in sorted((repository / "chunks").glob("??/*.zst")):
            chunks[place.name.removesuffix(".zst")] = place.read_bytes
        held = [key.path.read_bytes() for key in keys.find(online)]
    connection.run(lambda transport: send(transport, publication, chunks, held))


@click.command()
@repository_argument
@connection_options
def download(repository: Path, connection: Connection) -> None:
    """Bring the metadata in REPO-DIR up to what the cluster serves, so that the next release is signed on top of it.

    What comes is verified from the newest root in REPO-DIR on. Images stay where they are.

    \b
    Example:
      corenode image trust download repo
    """
    from core.trust.repository import Repository, put

    with explained():
        home = Repository(repository)
        trusted = home.root_bytes()
    files = connection.run(lambda transport: _fetched(transport, trusted))
    with explained():
        for path, data in sorted(files.items(), key=lambda each: each[0].endswith("timestamp.json")):
            put(repository / path, data)  # the timestamp comes last: it says which of the others count
    output.note(f"{repository} has version {home.targets().signed.version} of the targets")


async def _fetched(transport: "Transport", root: bytes) -> dict[str, bytes]:
    """The metadata that lead from a root to what is served now. A Failure if they do not hold."""
    import trio

    from core.client.images import BASE
    from core.client.tree import refusal
    from core.trust.client import Trusted
    from core.trust.errors import NotFoundError

    files: dict[str, bytes] = {}

    def fetch(path: str, limit: int) -> bytes:
        answer = trio.from_thread.run(lambda: transport.call("GET", f"{BASE}/{path}", most=limit + 1))
        if answer.status == 404:
            raise NotFoundError(f"the cluster serves no {path}")
        if answer.status != 200:
            raise refusal(answer)
        files[path] = answer.body
        return answer.body

    with explained(), tempfile.TemporaryDirectory() as home:
        await trio.to_thread.run_sync(lambda: Trusted(Path(home), root).update(fetch, now()))
    return files


def publish_to_cluster(image: Path, connection: Connection) -> None:
    """Upload the signed release in a directory, and have it served."""
    from core.commands.image_release import DRAFT
    from core.images.blobs import packed
    from core.trust.releases import LARGEST, release_of

    with explained():
        with (image / "manifest.json").open("rb") as stream:
            data = stream.read(LARGEST + 1)
        release = release_of(data)
        draft = image / DRAFT
        if not draft.exists():
            raise Failure(f"{image} is not signed: corenode image sign {image} --repo REPO-DIR --keys DIR")
        chunks: Chunks = {}
        manifest, first = packed(data)
        targets, second = packed(draft.read_bytes())
        for name, bytes_ in (first | second).items():
            chunks[name] = partial(bytes, bytes_)
        for place in sorted((image / "chunks").glob("??/*.zst")):
            chunks[place.name.removesuffix(".zst")] = place.read_bytes
    publication = {"targets": targets, "manifests": {release.path: manifest}}
    connection.run(lambda transport: send(transport, publication, chunks))


async def send(transport: "Transport", publication: object, chunks: Chunks, keys: list[bytes] | None = None) -> None:
    """Upload what is missing, and publish."""
    from core.client.depot import Depot

    depot = Depot(transport)
    if keys:
        await depot.hand_over(keys)
    with Progress("uploading") as bar:
        count = await depot.upload(chunks, bar.advance)
    output.note(f"{count} of {len(chunks)} chunks were not there yet")
    async for step in depot.publish(publication):
        if step.error:
            raise Failure(f"{step.error[:1].upper()}{step.error[1:]}.")
        if step.done:
            output.note(f"published on {step.members} members (of {step.needed} that are needed)")
        else:
            output.note(f"{step.members} of {step.needed} members that are needed have it")
