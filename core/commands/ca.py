"""`corenode ca`: the internal authority and its certificates."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from core.commands import lazy, output
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.tls.authority import Authority

T = TypeVar("T")
ROLES = ("peer", "server", "client", "admin", "operator", "reader", "host")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_LIFE = re.compile(r"(\d+)([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_LONGEST = timedelta(days=36500)

_HELP = """Make and look after the cluster's own certificate authority.

Roles other than server and client stand in the certificate as organisation: O=corenode:admin.

\b
Examples:
  corenode ca init --dir ca
  corenode ca issue --dir ca --role server --name node1 --san 127.0.0.1,localhost --out certs
  corenode ca issue --dir ca --role client --name alice --out certs
  corenode ca show --dir ca
"""


class Life(click.ParamType[timedelta]):
    """A span of time such as 90d or 12h."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        if isinstance(value, timedelta):
            return value
        match = _LIFE.fullmatch(value)
        if match is None or int(match[1]) == 0 or len(match[1]) > 9:
            self.fail(f"{value!r} is no span of time; write it like 90d, 12h, 30m or 60s.", param, ctx)
        life = timedelta(**{_UNITS[match[2]]: int(match[1])})
        if life > _LONGEST:
            self.fail(f"{value!r} is more than a hundred years.", param, ctx)
        return life


directory_option = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    default=Path("ca"),
    show_default=True,
    metavar="DIR",
    help="Directory of the authority.",
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="File whose first line is the passphrase of the root's key.",
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what files and authority can be expected to say into a Failure."""
    from core.tls.authority import AuthorityError
    from core.tls.contexts import TlsFilesError

    try:
        yield
    except (AuthorityError, TlsFilesError) as error:
        raise Failure(f"{error}.") from None
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}.") from None


VERBS = {
    "Verbs": {
        "init": lazy.Verb("core.commands.ca:init", "Make a new authority."),
        "issue": lazy.Verb("core.commands.ca:issue", "Make a certificate and its key."),
        "show": lazy.Verb("core.commands.ca_show", "List certificates and when they expire."),
        "revoke": lazy.Verb("core.commands.ca_revoke", "Take a certificate's rights away, at once and everywhere."),
        "rotate": lazy.Verb("core.commands.ca_rotate:command", "Let a new root take over, while the cluster goes on."),
        "renew": lazy.Verb("core.commands.ca:renew", "Replace certificates by new ones for the same keys."),
    },
}


@click.group(cls=lazy.LazyGroup, verbs=VERBS, help=_HELP)
def command() -> None:
    """Replaced by _HELP."""


@click.command()
@directory_option
@click.option("--name", default="corenode authority", show_default=True, help="Name in the authority's certificate.")
@click.option("--passphrase", is_flag=True, help="Ask for a passphrase that encrypts the root's key.")
@passphrase_option
def init(directory: Path, name: str, passphrase: bool, passphrase_file: Path | None) -> None:
    """Make a new authority in DIR, which must be new or empty.

    DIR/ca.crt is what everybody trusts. DIR/ca.key is needed only for `ca rotate` and `ca renew --issuing`: keep it
    offline. What signs every day is DIR/issuing.key.

    \b
    Examples:
      corenode ca init --dir ca
      corenode ca init --dir ca --passphrase
    """
    from core.tls.authority import create

    if not name or len(name) > 50 or not name.isprintable():
        raise click.UsageError("--name: 1 to 50 printable characters.")
    secret = read_passphrase(passphrase_file)
    if secret is None and passphrase:
        secret = click.prompt(
            "Passphrase of the root's key", hide_input=True, confirmation_prompt=True, err=True
        ).encode()
    with explained():
        create(directory, name, secret)
    output.note(
        f"{directory / 'ca.crt'} is the authority. Next: corenode ca issue --dir {directory} --role server "
        "--name NAME --san ADDRESS,HOST --out certs"
    )


@click.command()
@directory_option
@click.option("--role", type=click.Choice(ROLES), required=True, help="What the certificate is for.")
@click.option("--name", required=True, help="Who holds it; also the name of its files.")
@click.option("--san", multiple=True, metavar="NAMES", help="Addresses and host names it is valid for, with commas.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("certs"),
    show_default=True,
    metavar="DIR",
    help="Where NAME.crt and NAME.key go.",
)
@click.option("--lifetime", type=Life(), default="90d", show_default=True, metavar="TIME",
              help="How long it is valid, such as 90d or 12h.")  # fmt: skip
def issue(directory: Path, role: str, name: str, san: tuple[str, ...], out: Path, lifetime: timedelta) -> None:
    """Make a certificate, OUT/NAME.crt, and its key, OUT/NAME.key, readable by you alone.

    \b
    Examples:
      corenode ca issue --role server --name node1 --san 10.0.0.5,node1.example.org
      corenode ca issue --role client --name alice
      corenode ca issue --role admin --name root-of-all --lifetime 12h
    """
    from core.tls.identity import Role

    if not _NAME.fullmatch(name):
        raise click.UsageError(
            f"--name {name!r}: 1 to 64 of letters, digits and . _ @ - beginning with a letter or digit."
        )
    names = [part.strip() for text in san for part in text.split(",") if part.strip()]
    with explained():
        authority = _open(directory)
        pair = authority.issue(Role(role), name, names, out, lifetime)
        output.note(f"{pair.certificate} and {pair.key}: {role} {name}, {_until(pair.certificate)}")


@click.command()
@click.argument("certificates", nargs=-1, type=click.Path(path_type=Path), metavar="[FILE]...")
@directory_option
@click.option("--issuing", is_flag=True, help="Renew the issuing authority itself; needs the root's key.")
@click.option("--lifetime", type=Life(), metavar="TIME", help="How long to be valid.  [default: as long as before]")
@passphrase_option
def renew(
    certificates: tuple[Path, ...],
    directory: Path,
    issuing: bool,
    lifetime: timedelta | None,
    passphrase_file: Path | None,
) -> None:
    """Replace the certificate in each FILE by a new one for the same key and name. Running nodes take it by themselves.

    \b
    Examples:
      corenode ca renew --dir ca certs/node1.crt
      corenode ca renew --dir ca --issuing
    """
    if not certificates and not issuing:
        raise click.UsageError("Name the certificates to renew, or --issuing.")
    with explained():
        if issuing:
            _renew_issuing(directory, read_passphrase(passphrase_file))
        if certificates:
            authority = _open(directory)
            for file in certificates:
                authority.renew(file, lifetime)
                output.note(f"{file}: renewed, {_until(file)}")


def _renew_issuing(directory: Path, passphrase: bytes | None) -> None:
    from core.tls.authority import ISSUING, renew_issuing

    with_passphrase(lambda secret: renew_issuing(directory, secret), passphrase)
    output.note(f"{directory / ISSUING}: renewed, {_until(directory / ISSUING)}")


def with_passphrase(work: Callable[[bytes | None], T], passphrase: bytes | None) -> T:
    """Do what needs the root's key; ask for its passphrase if it needs one and none was given."""
    from core.tls.authority import PassphraseError

    try:
        return work(passphrase)
    except PassphraseError:
        if passphrase is not None:
            raise
        asked: str = click.prompt("Passphrase of the root's key", hide_input=True, err=True)
        return work(asked.encode())


def _open(directory: Path) -> "Authority":
    from core.tls.authority import ISSUING_KEY, Authority

    if not (directory / ISSUING_KEY).exists():
        raise Failure(f"There is no authority in {directory}: no {ISSUING_KEY}. Name it with --dir, or make one: "
                      f"corenode ca init --dir {directory}")  # fmt: skip
    return Authority.open(directory)


def read_passphrase(file: Path | None) -> bytes | None:
    """The first line of a file, if one is named."""
    if file is None:
        return None
    try:
        first = file.read_bytes().partition(b"\n")[0].rstrip(b"\r")
    except OSError as error:
        raise Failure(f"{file}: {error.strerror}.") from None
    if not first:
        raise Failure(f"{file}: its first line, the passphrase, is empty.")
    return first


def _until(file: Path) -> str:
    from core.tls.authority import load_chain

    return f"valid until {load_chain(file)[0].not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
