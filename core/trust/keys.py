"""Key files: an Ed25519 key each, sealed with a passphrase, readable by its owner alone.

PKCS #8 would be the usual form, but what the libraries write there stretches a passphrase by 2048 rounds of PBKDF2,
which is little for a key that lies on a stick in a drawer. These files use scrypt, which also costs memory, and
ChaCha20-Poly1305; the public half stays readable, so a key is recognised without its passphrase.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from securesystemslib.signer import CryptoSigner, SSlibKey

from core.tls import files
from core.trust.errors import PassphraseError, TrustError

SUFFIX = ".key"
COST, BLOCK = 1 << 16, 8
"""scrypt's n and r: 64 MiB and a fifth of a second a guess."""

_LARGEST = 16384
_MEMORY = 160 << 20


class Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A private key under a passphrase; byte strings are base64."""

    n: int
    r: int
    salt: bytes
    nonce: bytes
    text: bytes


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a key file holds, as JSON. One of `sealed` and `private` is there."""

    format: int
    public: str
    """Hexadecimal."""
    sealed: Sealed | None = None
    private: bytes = b""


class FoundKey(NamedTuple):
    """A key file and its public half."""

    path: Path
    public: SSlibKey
    sealed: bool


def generate() -> CryptoSigner:
    """A new key."""
    return CryptoSigner.generate_ed25519()


def write(path: Path, signer: CryptoSigner, passphrase: bytes | None) -> None:
    """Make a key file, which must not exist: FileExistsError. OSError as the system says."""
    secret = _raw(signer)
    public: str = signer.public_key.keyval["public"]
    held = KeyFile(1, public, private=secret)
    if passphrase is not None:
        salt, nonce = os.urandom(16), os.urandom(12)
        text = ChaCha20Poly1305(_stretched(passphrase, salt, COST, BLOCK)).encrypt(nonce, secret, public.encode())
        held = KeyFile(1, public, Sealed(COST, BLOCK, salt, nonce, text))
    files.write_new(path, msgspec.json.format(msgspec.json.encode(held)) + b"\n", files.PRIVATE)


def find(directory: Path) -> list[FoundKey]:
    """The keys in a directory, in the order of their names. TrustError for one that cannot be used, OSError."""
    found = []
    for path in sorted(directory.iterdir()):
        if path.suffix == SUFFIX:
            held = _read(path)
            found.append(FoundKey(path, _public(held), held.sealed is not None))
    return found


def open_key(path: Path, passphrase: bytes | None) -> CryptoSigner:
    """A key ready to sign. PassphraseError, TrustError if the file cannot be used, OSError as the system says."""
    return _opened(_read(path), str(path), passphrase)


def parse(data: bytes, what: str) -> CryptoSigner:
    """A key from the bytes of a file that is not sealed. TrustError."""
    return _opened(_decoded(data[:_LARGEST], what), what, None)


def _opened(held: KeyFile, path: str, passphrase: bytes | None) -> CryptoSigner:
    secret = held.private
    if held.sealed is not None:
        if passphrase is None:
            raise PassphraseError(f"{path} is encrypted and needs its passphrase")
        box = held.sealed
        if not (1 < box.n <= COST * 2 and box.n.bit_count() == 1 and box.r == BLOCK and len(box.nonce) == 12):
            raise TrustError(f"{path} asks for another strength of encryption than this program uses")
        try:
            secret = ChaCha20Poly1305(_stretched(passphrase, box.salt, box.n, box.r)).decrypt(
                box.nonce, box.text, held.public.encode()
            )
        except InvalidTag:
            raise PassphraseError(f"the passphrase of {path} is another one") from None
    if len(secret) != 32:
        raise TrustError(f"{path} holds no Ed25519 key")
    signer = CryptoSigner(Ed25519PrivateKey.from_private_bytes(secret))
    if signer.public_key.keyval["public"] != held.public:
        raise TrustError(f"{path} is damaged: its two halves do not belong together")
    return signer


def _raw(signer: CryptoSigner) -> bytes:
    key = load_pem_private_key(signer.private_bytes, None)
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError("only Ed25519 keys are used here")
    return key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())


def _read(path: Path) -> KeyFile:
    with path.open("rb") as stream:
        if stat.S_IMODE(os.fstat(stream.fileno()).st_mode) & 0o077:
            raise TrustError(f"other users can read {path}: chmod 600 {path}, and think about who may have read it")
        return _decoded(stream.read(_LARGEST), str(path))


def _decoded(data: bytes, path: str) -> KeyFile:
    try:
        held = msgspec.json.decode(data, type=KeyFile)
    except msgspec.DecodeError as error:
        raise TrustError(f"{path} is no key file ({error})") from None
    if held.format != 1:
        raise TrustError(f"{path} has format {held.format}, which a newer version wrote; this one knows format 1")
    return held


def _public(held: KeyFile) -> SSlibKey:
    try:
        return SSlibKey.from_crypto(Ed25519PublicKey.from_public_bytes(bytes.fromhex(held.public)))
    except ValueError:
        raise TrustError("a key file holds no Ed25519 key") from None


def _stretched(passphrase: bytes, salt: bytes, cost: int, block: int) -> bytes:
    return hashlib.scrypt(passphrase, salt=salt, n=cost, r=block, p=1, maxmem=_MEMORY, dklen=32)
