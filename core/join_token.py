"""A token as people carry it: `ID.SECRET.FINGERPRINT`, in the small letters and digits of base 32 (RFC 4648).

The id names the token's record, the secret proves that its bearer was given it, and the fingerprint, the SHA-256 of the
root certificate, lets the bearer tell the right cluster from somebody in between, before anything is sent. Nothing in
it must be quoted, and none of its digits look like its letters.
"""

import base64
import hashlib
import re

import msgspec

ID_BYTES, SECRET_BYTES, FINGERPRINT_BYTES = 5, 20, 32
_FORM = re.compile(r"[a-z2-7]+\.[a-z2-7]+\.[a-z2-7]+")
_ADVICE = "copy it whole, as `corenode token create` printed it"


class JoinToken(msgspec.Struct, frozen=True):
    """A token in its three parts."""

    id: str
    secret: bytes
    fingerprint: str
    """SHA-256 of the root certificate, hexadecimal."""

    @property
    def digest(self) -> bytes:
        """What the cluster knows of the secret."""
        return hashlib.sha256(self.secret).digest()

    def __str__(self) -> str:
        return f"{self.id}.{_text(self.secret)}.{_text(bytes.fromhex(self.fingerprint))}"


def make(chance: bytes, fingerprint: str) -> JoinToken:
    """A token from ID_BYTES + SECRET_BYTES random bytes."""
    if len(chance) != ID_BYTES + SECRET_BYTES:
        raise ValueError(f"a token is made of {ID_BYTES + SECRET_BYTES} random bytes")
    return JoinToken(_text(chance[:ID_BYTES]), chance[ID_BYTES:], fingerprint)


def parse(text: str) -> JoinToken:
    """The token in a text; ValueError with a sentence for people."""
    text = text.strip()
    if not _FORM.fullmatch(text):
        raise ValueError(
            f"this is no token: it has three parts of small letters and digits with dots between; {_ADVICE}"
        )
    name, secret, fingerprint = text.split(".")
    _bytes(name, ID_BYTES)
    return JoinToken(name, _bytes(secret, SECRET_BYTES), _bytes(fingerprint, FINGERPRINT_BYTES).hex())


def _text(data: bytes) -> str:
    return base64.b32encode(data).decode().lower().rstrip("=")


def _bytes(text: str, length: int) -> bytes:
    """Strict: one text for each value."""
    try:
        data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    except ValueError:
        data = b""
    if len(data) != length or _text(data) != text:
        raise ValueError(f"this token is cut short or altered; {_ADVICE}")
    return data
