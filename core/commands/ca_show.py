"""`corenode ca show`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from core.commands import output
from core.commands.ca import Life, directory_option, explained
from core.commands.failure import Failure

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from core.tls.rotation import Rotation


@click.command()
@click.argument("certificates", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@directory_option
@output.format_option(output.TABLE, output.JSON)
@click.option("--expiring-within", type=Life(), metavar="TIME", help="Only those; exit 1 if there is one.")
def command(certificates: tuple[Path, ...], directory: Path, output_: str, expiring_within: timedelta | None) -> None:
    """List the certificates in each FILE, or the authority's own and all it has issued.

    While a new root takes over (`ca rotate`) it says so, and of each certificate whether it stands under the new root
    or under the old one alone.

    \b
    Examples:
      corenode ca show --dir ca
      corenode ca show certs/node1.crt -o json
      corenode ca show certs/*.crt --expiring-within 30d
    """
    from core.tls.authority import FORMER, ISSUED, ISSUING, ROOT

    files = list(certificates)
    if not files:
        files = [path for name in (ROOT, ISSUING, FORMER) if (path := directory / name).exists()]
        files += sorted((directory / ISSUED).glob("*.crt"))
        if not files:
            raise Failure(f"There is no authority in {directory}. Name it with --dir, or name certificates.")
    now = datetime.now(UTC)
    rotation = _rotation(directory, whole=not certificates)
    with explained():
        rows = _read(files, directory / ROOT, rotation, now)
        found = sorted(rows, key=lambda row: (not row["role"].endswith("authority"), row["not_after"]))
    if expiring_within is not None:
        found = [row for row in found if row["seconds_left"] < expiring_within.total_seconds()]
    if output_ == output.JSON:
        output.json([{**row, "file": str(row["file"])} for row in found])
    elif found:
        headings = ("NAME", "ROLE", "FOR", "EXPIRES", "LEFT", "SERIAL", "FILE", *(("ROOT",) if rotation else ()))
        output.table(headings, [_row(row)[: len(headings)] for row in found])
    if expiring_within is not None and found:
        click.get_current_context().exit(1)


def _rotation(directory: Path, *, whole: bool) -> "Rotation | None":
    """The rotation under way; of a `whole` authority also told to people, with how far it is."""
    from core.tls.authority import AuthorityError
    from core.tls.identity import identity_of
    from core.tls.rotation import outstanding, under_way

    with explained():
        try:
            rotation = under_way(directory)
        except AuthorityError as error:  # shown is what there is
            output.note(f"Note: {error}.")
            return None
        if rotation is not None and whole:
            left = len(outstanding(directory, rotation))
            new, old = identity_of(rotation.new).name, identity_of(rotation.old).name
            output.note(
                f"A rotation is under way since {rotation.begun:%Y-%m-%d %H:%M} UTC: {new!r} takes over from {old!r}.\n"
                f"Certificates on record that chain only to the old root: {left}. "
                f"Which nodes trust only the old root, and the end: corenode ca rotate --dir {directory} --finish"
            )
    return rotation


def _read(files: list[Path], root: Path, rotation: "Rotation | None", now: datetime) -> Iterator[dict[str, Any]]:
    """What is shown of the first certificate of each file; those behind it are its issuers, but of `root` all."""
    from core.tls.authority import load_chain
    from core.tls.certificates import fingerprint, shown_names
    from core.tls.identity import identity_of

    for file in files:
        for certificate in load_chain(file)[: None if file == root else 1]:
            identity = identity_of(certificate)
            yield {
                "file": file,
                "name": identity.name,
                "role": _kind(certificate) or identity.role or "unknown",
                "names": list(shown_names(certificate)),
                "serial": f"{certificate.serial_number:x}",
                "fingerprint": fingerprint(certificate),
                "not_before": certificate.not_valid_before_utc.isoformat(),
                "not_after": certificate.not_valid_after_utc.isoformat(),
                "seconds_left": int((certificate.not_valid_after_utc - now).total_seconds()),
                "rotation": rotation.side(certificate) if rotation else None,
            }


def _kind(certificate: "Certificate") -> str:
    """How an authority is called; empty for what is none."""
    from cryptography import x509

    try:
        if not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return ""
    except x509.ExtensionNotFound:
        return ""
    return "root authority" if certificate.issuer == certificate.subject else "issuing authority"


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    end = datetime.fromisoformat(row["not_after"])
    names = " ".join(row["names"]) or "-"
    return (
        row["name"],
        row["role"],
        names,
        f"{end:%Y-%m-%d %H:%M}",
        _left(row["seconds_left"]),
        row["serial"],
        row["file"],
        row["rotation"] or "-",
    )


def _left(seconds: int) -> str:
    if seconds <= 0:
        return "expired"
    if seconds >= 2 * 86400:
        return f"{seconds // 86400} days"
    return f"{seconds // 3600} h {seconds % 3600 // 60} min"
