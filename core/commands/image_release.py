"""`corenode image sign`, `publish` and `verify`: one release, from the people who vouch for it to the hosts."""

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.ca import read_passphrase
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure
from core.commands.image_cluster import publish_to_cluster
from core.commands.image_keys import (
    explained,
    image_argument,
    keys_option,
    now,
    passphrase_option,
    repository_argument,
    say_progress,
    signers,
)

if TYPE_CHECKING:
    from core.trust.releases import Release

DRAFT = "targets.json"
"""In the directory of an image: the metadata that releases it, while it collects signatures."""

_CHUNK = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62}\.zst)")


@click.command()
@image_argument
@click.option(
    "--repo",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    required=True,
    metavar="DIR",
    help="The repository it will go to, or a copy of its directory metadata.",
)
@keys_option
@passphrase_option
def sign(image: Path, repo: Path, keys: Path, passphrase_file: Path | None) -> None:
    """Sign the release in IMAGE-DIR with the keys for targets that are here.

    Where more signatures are needed, IMAGE-DIR/targets.json goes on to those who hold the other keys.

    \b
    Example:
      corenode image sign image --repo repo --keys /media/stick
    """
    from tuf.api.metadata import Targets

    from core.trust.metadata import next_targets, progress, read
    from core.trust.metadata import sign as add_signatures
    from core.trust.releases import releases_in, target_of
    from core.trust.repository import Repository, put

    with explained():
        repository, release = Repository(repo), _release(image)
        root, served = repository.root().signed, repository.targets().signed
        draft = image / DRAFT
        metadata = read(Targets, draft.read_bytes(), str(draft)) if draft.exists() else None
        if (
            metadata is None
            or metadata.signed.version != served.version + 1
            or release not in releases_in(metadata.signed)
        ):
            metadata = next_targets(served, now(), add=target_of(release))
        count = add_signatures(metadata, [root], signers(keys, [root], ["targets"], read_passphrase(passphrase_file)))
        if not count:
            raise Failure(f"No key in {keys} may sign for targets; `corenode image trust status {repo}` lists who may.")
        put(draft, metadata.to_bytes())
        say_progress(progress(metadata, [root]), f"signed: corenode image publish {image}")


@click.command()
@image_argument
@click.argument("repository", metavar="[REPO-DIR]", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--online", type=click.Path(path_type=Path, exists=True, file_okay=False), metavar="DIR",
              help="With REPO-DIR: directory with the keys of the cluster.")  # fmt: skip
@connection_options
def publish(image: Path, repository: Path | None, online: Path | None, connection: Connection) -> None:
    """Let the cluster serve the signed release in IMAGE-DIR; it is done when a majority of the members has all of it.

    With REPO-DIR it goes into that directory instead.

    \b
    Examples:
      corenode image publish image
      corenode image publish image repo --online online
    """
    if repository is None:
        publish_to_cluster(image, connection)
        return
    if online is None:
        raise click.UsageError("REPO-DIR needs --online, the keys that sign for it.")
    from tuf.api.metadata import Targets

    from core.trust.metadata import enough, progress, read
    from core.trust.repository import Repository, put

    with explained():
        home, release = Repository(repository), _release(image)
        draft = image / DRAFT
        if not draft.exists():
            raise Failure(f"{image} is not signed: corenode image sign {image} --repo {repository} --keys DIR")
        targets = read(Targets, draft.read_bytes(), str(draft))
        listed = targets.signed.targets.get(release.target)
        if listed is None or listed.hashes.get("sha256") != release.sha256:
            raise Failure(f"{draft} signs for another content than {image} holds now; sign it anew.")
        roots = [home.root().signed]
        enough(progress(targets, roots))
        copied = _copy_chunks(image, repository)
        put(repository / release.path, (image / "manifest.json").read_bytes())
        home.publish(signers(online, roots, ["snapshot", "timestamp"], None), now(), targets=targets)
    output.note(f"{release.target} is published, with {copied} chunks that were not there yet")


@click.command()
@repository_argument
@click.argument("product")
@click.argument("version")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    metavar="FILE",
    help="The root of trust, as it is in the images.",
)
@click.option("--architecture", metavar="NAME", help="One architecture.  [default: all there are]")
def verify(repository: Path, product: str, version: str, root: Path, architecture: str | None) -> None:
    """Go the way a host goes, from the root of trust to the manifest of a release; exit 1 if it may not be trusted.

    \b
    Example:
      corenode image verify repo os 1.0.0 --root root.json
    """
    from core.trust.client import Trusted, manifest
    from core.trust.repository import Repository

    with explained(), tempfile.TemporaryDirectory() as scratch:
        fetch = Repository(repository).fetch
        found = Trusted(Path(scratch), root.read_bytes()).update(fetch, now())
        wanted = [
            release
            for release in found.releases
            if release[:2] == (product, version) and architecture in (None, release.architecture)
        ]
        if not wanted:
            raise Failure(f"There is no signed release {version} of {product} in {repository}.")
        for release in wanted:
            manifest(fetch, release)
            output.note(f"{release.target} is signed, sha256 {release.sha256}, good until {found.expires:%Y-%m-%d}")


def _release(image: Path) -> "Release":
    from core.trust.releases import LARGEST, release_of

    with (image / "manifest.json").open("rb") as stream:
        return release_of(stream.read(LARGEST + 1))


def _copy_chunks(image: Path, repository: Path) -> int:
    from core.trust.repository import put

    copied = 0
    for chunk in sorted((image / "chunks").glob("*/*")):
        name = chunk.relative_to(image / "chunks")
        if _CHUNK.fullmatch(str(name)) and not (repository / "chunks" / name).exists():
            put(repository / "chunks" / name, chunk.read_bytes())
            copied += 1
    return copied
