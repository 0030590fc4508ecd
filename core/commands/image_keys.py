"""What the verbs about trust share: options, keys from directories, errors in words."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.failure import Failure

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Root

    from core.trust.keys import FoundKey
    from core.trust.metadata import Signatures

_directory = click.Path(path_type=Path, exists=True, file_okay=False)

repository_argument = click.argument("repository", metavar="REPO-DIR", type=_directory)
image_argument = click.argument("image", metavar="IMAGE-DIR", type=_directory)
keys_option = click.option(
    "--keys", type=_directory, required=True, metavar="DIR", help="Directory with the offline keys that are here."
)
online_option = click.option(
    "--online", type=_directory, required=True, metavar="DIR", help="Directory with the keys of the cluster."
)
passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="File whose first line is the passphrase of the keys.  [default: ask]",
)


@contextmanager
def explained() -> Iterator[None]:
    """Turn what metadata, keys and files can be expected to say into a Failure."""
    from core.trust.errors import TrustError

    try:
        yield
    except TrustError as error:
        text = str(error)
        raise Failure(f"{text[:1].upper()}{text[1:]}.") from None
    except BlockingIOError:
        raise Failure("Somebody else is changing this just now; try again when that is done.") from None
    except FileExistsError as error:
        raise Failure(f"{error.filename2 or error.filename} is there already, and is not overwritten.") from None
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}.") from None


def now() -> datetime:
    """This host's clock."""
    return datetime.now(UTC)


def signers(
    directory: Path, roots: "Iterable[Root]", roles: Iterable[str], passphrase: bytes | None
) -> "list[CryptoSigner]":
    """The keys in a directory that may sign for one of the roles. Asks for passphrases that are needed."""
    from core.trust import keys

    allowed = {keyid for root in roots for role in roles for keyid in root.roles[role].keyids}
    found: list[CryptoSigner] = []
    for key in keys.find(directory):
        if key.public.keyid in allowed:
            signer, passphrase = _opened(key, passphrase)
            found.append(signer)
    return found


def say_progress(counts: "Iterable[Signatures]", following: str) -> None:
    """Tell how many signatures are there and how many are missing."""
    complete = True
    for count in counts:
        complete = complete and not count.missing
        rest = f", {count.missing} missing" if count.missing else ""
        output.note(f"{count.role}: {count.valid} of {count.needed} signatures by version {count.by} of the root{rest}")
    output.note(following if complete else "give it to those who hold the other keys, and let them sign as well")


def _opened(key: "FoundKey", passphrase: bytes | None) -> "tuple[CryptoSigner, bytes | None]":
    """A key, and the passphrase to try with the next one."""
    from core.trust import keys
    from core.trust.errors import PassphraseError

    try:
        return keys.open_key(key.path, passphrase), passphrase
    except PassphraseError:
        if passphrase is not None:
            raise
        asked: str = click.prompt(f"Passphrase of {key.path}", hide_input=True, err=True)
        return keys.open_key(key.path, asked.encode()), asked.encode()
