"""`corenode image trust`: the roles, their keys, and the metadata that says so."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.ca import read_passphrase
from core.commands.failure import Failure
from core.commands.image_cluster import download, upload
from core.commands.image_keys import (
    explained,
    keys_option,
    now,
    online_option,
    passphrase_option,
    repository_argument,
    say_progress,
    signers,
)

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata, Root, Targets

    from core.trust.repository import Repository

OFFLINE, ONLINE = ("root", "targets"), ("snapshot", "timestamp")

_count = click.IntRange(min=1, max=64)
_new_directory = click.Path(path_type=Path, file_okay=False)
_no_passphrase = click.option("--no-passphrase", is_flag=True, help="Leave new keys unencrypted.")


@click.group()
def command() -> None:
    """Make, show, change and renew what hosts trust.

    Four roles have keys. Root says who the others are; targets says which releases there are: both are signed by
    people, with keys that are kept offline. Snapshot and timestamp are signed by the cluster.

    \b
    Examples:
      corenode image trust init repo --keys keys --online online
      corenode image trust status repo
      corenode image trust upload repo --online online
      corenode image trust download repo
      corenode image trust rotate repo targets --keys keys --retire 3f9a0c1e --add 1
    """


@command.command()
@click.argument("repository", metavar="REPO-DIR", type=_new_directory)
@click.option("--keys", type=_new_directory, required=True, metavar="DIR", help="Where offline keys go.")
@click.option("--online", type=_new_directory, required=True, metavar="DIR", help="Where the cluster's keys go.")
@click.option("--root-keys", type=_count, default=3, show_default=True, help="Keys for root.")
@click.option("--root-threshold", type=_count, default=2, show_default=True, help="How many of them must sign.")
@click.option("--targets-keys", type=_count, default=2, show_default=True, help="Keys for targets.")
@click.option("--targets-threshold", type=_count, default=1, show_default=True, help="How many of them must sign.")
@passphrase_option
@_no_passphrase
def init(
    repository: Path,
    keys: Path,
    online: Path,
    root_keys: int,
    root_threshold: int,
    targets_keys: int,
    targets_threshold: int,
    passphrase_file: Path | None,
    no_passphrase: bool,
) -> None:
    """Make the keys of all roles, and a repository without releases in REPO-DIR.

    Give the files in the directory of the offline keys to those who shall hold them, one each; REPO-DIR/metadata/
    1.root.json is the root of trust that images carry.

    \b
    Example:
      corenode image trust init repo --keys keys --online online --root-keys 3 --root-threshold 2
    """
    from core.trust.metadata import first_root, first_targets
    from core.trust.metadata import sign as add_signatures
    from core.trust.repository import Repository

    home = Repository(repository)
    if home.metadata.exists():
        raise Failure(f"{repository} is a repository already.")
    counts = {"root": root_keys, "targets": targets_keys, "snapshot": 1, "timestamp": 1}
    thresholds = {"root": root_threshold, "targets": targets_threshold, "snapshot": 1, "timestamp": 1}
    for role in OFFLINE:
        if thresholds[role] > counts[role]:
            raise Failure(f"{thresholds[role]} signatures of {counts[role]} keys for {role} can never be reached.")
    secret = _new_passphrase(passphrase_file, no_passphrase)
    with explained():
        made = {role: _make(keys, role, counts[role], secret) for role in OFFLINE}
        made |= {role: _make(online, role, 1, None) for role in ONLINE}
        moment = now()
        root = first_root({role: [key.public_key for key in some] for role, some in made.items()}, thresholds, moment)
        targets = first_targets(moment)
        add_signatures(root, [root.signed], made["root"])
        add_signatures(targets, [root.signed], made["targets"])
        home.create(root, targets, [*made["snapshot"], *made["timestamp"]], moment)
    output.note(f"keys: {keys} (offline), {online} (the cluster's); repository: {repository}")


@command.command()
@repository_argument
@output.format_option(output.TABLE, output.JSON)
def status(repository: Path, output_: str) -> None:
    """Show the roles: version, end, keys and threshold, and what waits for signatures.

    \b
    Example:
      corenode image trust status repo
    """
    from core.trust.metadata import progress
    from core.trust.repository import Repository

    with explained():
        home = Repository(repository)
        root = home.root()
        files = (root.signed, home.targets().signed, home.snapshot().signed, home.timestamp().signed)
        roles = root.signed.roles
        new_root, new_targets = _drafts(home)
        pending = []
        if new_root is not None:
            pending += progress(new_root, [root.signed, new_root.signed])
        if new_targets is not None:
            pending += progress(new_targets, [(new_root or root).signed])
    if output_ == output.JSON:
        shown = [
            {
                "role": file.type,
                "version": file.version,
                "expires": file.expires.isoformat(),
                "threshold": roles[file.type].threshold,
                "keys": roles[file.type].keyids,
            }
            for file in files
        ]
        output.json({"roles": shown, "drafts": [count._asdict() | {"missing": count.missing} for count in pending]})
        return
    output.table(
        ("ROLE", "VERSION", "EXPIRES", "SIGNATURES", "KEYS"),
        [
            (
                file.type,
                file.version,
                f"{file.expires:%Y-%m-%d %H:%M}",
                roles[file.type].threshold,
                " ".join(keyid[:8] for keyid in roles[file.type].keyids),
            )
            for file in files
        ],
    )
    if pending:
        say_progress(pending, f"corenode image trust publish {repository} --online DIR")


@command.command()
@repository_argument
@click.argument("role", type=click.Choice([*OFFLINE, *ONLINE]))
@click.option("--keys", type=_new_directory, required=True, metavar="DIR", help="Where new keys go.")
@click.option("--add", type=click.IntRange(min=0, max=64), default=0, help="Make so many new keys for the role.")
@click.option("--retire", multiple=True, metavar="KEYID", help="Take a key away from it; the id's beginning is enough.")
@click.option("--threshold", type=_count, help="How many signatures it needs from now on.")
@passphrase_option
@_no_passphrase
def rotate(
    repository: Path,
    role: str,
    keys: Path,
    add: int,
    retire: tuple[str, ...],
    threshold: int | None,
    passphrase_file: Path | None,
    no_passphrase: bool,
) -> None:
    """Draft a root by which a role has other keys. It counts when it is signed and published.

    Without any change it is the same root for longer. May be called several times before signing.

    \b
    Examples:
      corenode image trust rotate repo timestamp --keys online --add 1 --retire 3f9a0c1e
      corenode image trust sign repo --keys keys
      corenode image trust publish repo --online online
    """
    from core.trust.metadata import next_root
    from core.trust.repository import Repository, put

    with explained():
        home = Repository(repository)
        served, (draft, _) = home.root().signed, _drafts(home)
        base = served if draft is None else draft.signed
        gone = [_full(base.roles[role].keyids, some) for some in retire]
        secret = _new_passphrase(passphrase_file, no_passphrase) if add and role in OFFLINE else None
        new = _make(keys, role, add, secret)
        root = next_root(
            base,
            now(),
            add={role: [key.public_key for key in new]},
            retire={role: gone},
            thresholds={} if threshold is None else {role: threshold},
        )
        root.signed.version = served.version + 1
        put(home.draft("root"), root.to_bytes())
        if role == "targets" and (gone or threshold is not None):
            _draft_targets(home)
    output.note(f"drafted: corenode image trust sign {repository} --keys DIR")


@command.command()
@repository_argument
def renew(repository: Path) -> None:
    """Draft the same targets for longer, for when no new release comes before they expire.

    \b
    Example:
      corenode image trust renew repo && corenode image trust sign repo --keys keys
    """
    from core.trust.repository import Repository

    with explained():
        _draft_targets(Repository(repository))
    output.note(f"drafted: corenode image trust sign {repository} --keys DIR")


@command.command()
@repository_argument
@keys_option
@passphrase_option
def sign(repository: Path, keys: Path, passphrase_file: Path | None) -> None:
    """Sign the drafts with the keys that are here.

    \b
    Example:
      corenode image trust sign repo --keys /media/stick
    """
    from core.trust.metadata import progress
    from core.trust.metadata import sign as add_signatures
    from core.trust.repository import Repository, put

    with explained():
        home = Repository(repository)
        old, (root, targets) = home.root().signed, _drafts(home)
        if root is None and targets is None:
            raise Failure("Nothing waits for signatures; `rotate` and `renew` draft something.")
        roots = [old] if root is None else [old, root.signed]
        held = signers(keys, roots, OFFLINE, read_passphrase(passphrase_file))
        counts = []
        if root is not None:
            add_signatures(root, roots, held)
            put(home.draft("root"), root.to_bytes())
            counts += progress(root, roots)
        if targets is not None:
            add_signatures(targets, roots[-1:], held)
            put(home.draft("targets"), targets.to_bytes())
            counts += progress(targets, roots[-1:])
    say_progress(counts, f"signed: corenode image trust publish {repository} --online DIR")


@command.command()
@repository_argument
@online_option
def publish(repository: Path, online: Path) -> None:
    """Serve the drafts, when they have all their signatures.

    \b
    Example:
      corenode image trust publish repo --online online
    """
    from core.trust.repository import Repository

    with explained():
        home = Repository(repository)
        root, targets = _drafts(home)
        roots = [home.root().signed if root is None else root.signed]
        home.publish(signers(online, roots, ONLINE, None), now(), root=root, targets=targets)
        for role in OFFLINE:
            home.draft(role).unlink(missing_ok=True)
    output.note(f"hosts go on with version {roots[0].version} of the root")


@command.command()
@repository_argument
@online_option
def refresh(repository: Path, online: Path) -> None:
    """Sign snapshot and timestamp again, before they expire. A cluster does this by itself.

    \b
    Example:
      corenode image trust refresh repo --online online
    """
    from core.trust.repository import Repository

    with explained():
        home = Repository(repository)
        home.publish(signers(online, [home.root().signed], ONLINE, None), now())
        end = home.timestamp().signed.expires
    output.note(f"good until {end:%Y-%m-%d %H:%M} UTC")


@command.command()
@repository_argument
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, metavar="FILE")
def root(repository: Path, out: Path) -> None:
    """Write the newest root of trust to FILE, to be put into images. The chain that leads to it is checked first.

    \b
    Example:
      corenode image trust root repo --out rootfs/usr/share/corenode/root.json
    """
    from core.trust.client import root_chain
    from core.trust.repository import Repository, put

    with explained():
        home = Repository(repository)
        newest = home.root().signed.version
        chain = [home.root_bytes(version) for version in range(1, newest + 1)]
        version = root_chain(chain[0], chain[1:])
        put(out, chain[-1])
    output.note(f"version {version} of the root is in {out}")


command.add_command(upload)
command.add_command(download)


def _make(directory: Path, role: str, count: int, passphrase: bytes | None) -> "list[CryptoSigner]":
    from core.trust import keys

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = [keys.generate() for _ in range(count)]
    for signer in made:
        keys.write(directory / f"{role}-{signer.public_key.keyid[:8]}{keys.SUFFIX}", signer, passphrase)
    return made


def _new_passphrase(file: Path | None, none: bool) -> bytes | None:
    if none:
        return None
    given = read_passphrase(file)
    if given is not None:
        return given
    asked: str = click.prompt("Passphrase of the new keys", hide_input=True, confirmation_prompt=True, err=True)
    return asked.encode()


def _drafts(home: "Repository") -> "tuple[Metadata[Root] | None, Metadata[Targets] | None]":
    from tuf.api.metadata import Root, Targets

    from core.trust.metadata import read

    root, targets = home.draft("root"), home.draft("targets")
    return (
        read(Root, root.read_bytes(), str(root)) if root.exists() else None,
        read(Targets, targets.read_bytes(), str(targets)) if targets.exists() else None,
    )


def _draft_targets(home: "Repository") -> None:
    from core.trust.metadata import next_targets
    from core.trust.repository import put

    put(home.draft("targets"), next_targets(home.targets().signed, now()).to_bytes())


def _full(keyids: Iterable[str], beginning: str) -> str:
    found = [keyid for keyid in keyids if keyid.startswith(beginning)]
    if len(found) != 1:
        raise Failure(f"{len(found)} keys of this role begin with {beginning!r}; one must.")
    return found[0]
