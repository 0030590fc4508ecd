"""Password hashes: scrypt (RFC 7914), as text with its parameters, so that they may grow without a change of format."""

import base64
import binascii
import hashlib
import hmac
import re
import secrets

LOG_N = 15
BLOCK = 8
PARALLEL = 3
"""32 MiB, one after the other three times: a choice of OWASP's cheat sheet on storing passwords (2024)."""
_SALT_BYTES = 16
_HASH_BYTES = 32
_MEMORY_MAX = 256 << 20
_FORM = re.compile(r"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")


def hashed(password: bytes, *, log_n: int = LOG_N) -> str:
    """A new hash, `$scrypt$ln=15,r=8,p=3$SALT$HASH`. Takes about 0.2 s of one core, without the interpreter's lock."""
    salt = secrets.token_bytes(_SALT_BYTES)
    found = _scrypt(password, salt, log_n, BLOCK, PARALLEL)
    return f"$scrypt$ln={log_n},r={BLOCK},p={PARALLEL}${_text(salt)}${_text(found)}"


def matches(password: bytes, text: str) -> bool:
    """Whether this is the hash of the password; False for text that is no hash."""
    form = _FORM.fullmatch(text)
    if form is None:
        return False
    try:
        salt, wanted = _bytes(form[4]), _bytes(form[5])
        return hmac.compare_digest(_scrypt(password, salt, int(form[1]), int(form[2]), int(form[3])), wanted)
    except (binascii.Error, ValueError):
        return False


def _scrypt(password: bytes, salt: bytes, log_n: int, block: int, parallel: int) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=1 << log_n, r=block, p=parallel, maxmem=_MEMORY_MAX, dklen=_HASH_BYTES)


def _text(data: bytes) -> str:
    return base64.b64encode(data).rstrip(b"=").decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
