"""What a host has trusted so far: one file, replaced whole, outside of the slots.

One file, because what it holds must change together: when the root retires the keys of the timestamp, what they signed
must be forgotten in the same moment, whatever cuts the power.
"""

import hashlib
from pathlib import Path

import msgspec

from core.tls import files
from core.trust.errors import TrustError

FILE = "trusted.json"
FORMAT = 1
_LARGEST = 32 << 20


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata trusted last, as it was fetched; empty where there is none yet."""

    root: bytes
    timestamp: bytes = b""
    snapshot: bytes = b""
    targets: bytes = b""


class _Stored(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    sha256: str
    state: msgspec.Raw


def load(directory: Path) -> State | None:
    """What was trusted last, None if nothing was. TrustError if it is damaged, OSError as the system says.

    A damaged state is refused and not begun anew: else whoever can damage it could have old software accepted.
    """
    path = directory / FILE
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST)
    except FileNotFoundError:
        return None
    try:
        stored = msgspec.json.decode(data, type=_Stored)
        if stored.format != FORMAT:
            raise TrustError(f"{path} has format {stored.format}; this version knows format {FORMAT}")
        if hashlib.sha256(stored.state).hexdigest() != stored.sha256:
            raise _damaged(path)
        return msgspec.json.decode(stored.state, type=State)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise _damaged(path) from None


def save(directory: Path, state: State) -> None:
    """Durable when this returns; interrupted, the one before is still there. OSError as the system says."""
    text = msgspec.json.encode(state)
    stored = _Stored(FORMAT, hashlib.sha256(text).hexdigest(), msgspec.Raw(text))
    path, data = directory / FILE, msgspec.json.encode(stored)
    for left in directory.glob(f".{FILE}.*.part"):
        left.unlink(missing_ok=True)  # of a write that was interrupted
    if path.exists():
        files.replace(path, data)
    else:
        files.write_new(path, data, files.PUBLIC)


def _damaged(path: Path) -> TrustError:
    return TrustError(
        f"{path}, what this host has trusted so far, is damaged; removing it makes the host begin again at the root of "
        "its image, without protection against old releases until the next update"
    )
