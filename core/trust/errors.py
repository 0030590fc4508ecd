"""What is refused, in words for people."""

from collections.abc import Iterator
from contextlib import contextmanager

from securesystemslib.exceptions import Error as LibraryError
from tuf.api.exceptions import (
    BadVersionNumberError,
    LengthOrHashMismatchError,
    RepositoryError,
    UnsignedMetadataError,
)
from tuf.api.serialization import DeserializationError, SerializationError


class TrustError(Exception):
    """Metadata, keys or releases are refused. The text says what and why."""


class ClockError(TrustError):
    """This host's clock is behind the metadata, so nothing can be said about what has expired."""


class ExpiredError(TrustError):
    """The metadata is older than its makers allowed it to become."""


class PassphraseError(TrustError):
    """A key is encrypted, and the passphrase is missing or wrong."""


class NotFoundError(TrustError):
    """What a `Fetch` raises for a file that the repository does not have, and says so."""


@contextmanager
def refused(what: str) -> Iterator[None]:
    """Turn whatever the libraries say about metadata into a TrustError about `what`.

    Hostile input reaches code of theirs that raises more than it documents, hence the plain kinds of errors as well.
    """
    try:
        yield
    except UnsignedMetadataError as error:
        raise TrustError(f"{what} is not signed by enough of the keys that may sign it ({error})") from error
    except BadVersionNumberError as error:
        raise TrustError(f"{what} is not the version that must come now, older or out of turn ({error})") from error
    except LengthOrHashMismatchError as error:
        raise TrustError(f"{what} is not the file that was signed for ({error})") from error
    except (DeserializationError, SerializationError) as error:
        raise TrustError(f"{what} cannot be read as metadata: damaged, cut off or something else ({error})") from error
    except (RepositoryError, LibraryError) as error:
        raise TrustError(f"{what} is refused: {error}") from error
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        raise TrustError(f"{what} holds what metadata never holds ({type(error).__name__})") from error
