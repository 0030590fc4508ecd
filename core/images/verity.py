"""The tree of hashes by which a kernel checks each block of a file system that it reads (dm-verity).

Source: the kernel's Documentation/admin-guide/device-mapper/verity.rst, and the superblock of cryptsetup's veritysetup.
"""

import hashlib
import struct
from typing import BinaryIO

from core.images.manifest import Verity

BLOCK = 4096
_DIGESTS = BLOCK // hashlib.sha256().digest_size
_SUPERBLOCK = struct.Struct("<8sII16s32sIIQH6x256s168x")
"""Signature, version, type of hash, id, algorithm, size of a data block and of a hash block, data blocks, salt."""


def append_tree(file: BinaryIO) -> Verity:
    """Fill the file up to whole blocks, and put a superblock and the tree behind it.

    The salt and the id follow from the content, so that the same file system always gets the same tree.
    """
    file.seek(0)
    whole = hashlib.file_digest(file, "sha256").digest()  # type: ignore[arg-type] # a file opened in binary mode
    size = file.seek(0, 2)
    file.write(bytes(-size % BLOCK))
    blocks = -(-size // BLOCK)
    salt = hashlib.sha256(b"salt" + whole).digest()
    levels = _levels(file, blocks, salt)
    superblock = _SUPERBLOCK.pack(
        b"verity", 1, 1, hashlib.sha256(b"id" + whole).digest()[:16], b"sha256", BLOCK, BLOCK, blocks, len(salt), salt
    )
    file.seek(blocks * BLOCK)
    file.write(superblock.ljust(BLOCK, b"\0"))
    for level in reversed(levels[:-1]):
        file.write(level)
    return Verity(levels[-1].hex(), salt.hex(), blocks * BLOCK, BLOCK)


def _levels(file: BinaryIO, blocks: int, salt: bytes) -> list[bytes]:
    """The hashes of the data blocks in whole blocks, those of these blocks, and so on; last the one at the root."""
    salted = hashlib.sha256(salt)

    def hashed(block: bytes) -> bytes:
        state = salted.copy()
        state.update(block)
        return state.digest()

    file.seek(0)
    digests = [hashed(file.read(BLOCK)) for _ in range(blocks)]
    levels: list[bytes] = []
    while len(digests) > 1:
        level = b"".join(
            b"".join(digests[at : at + _DIGESTS]).ljust(BLOCK, b"\0") for at in range(0, len(digests), _DIGESTS)
        )
        levels.append(level)
        digests = [hashed(level[at : at + BLOCK]) for at in range(0, len(level), BLOCK)]
    return [*levels, digests[0]]
