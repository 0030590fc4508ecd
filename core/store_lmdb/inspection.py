"""A look at an LMDB file before LMDB maps it.

LMDB trusts what it maps: a file cut short ends the process at the first touch of a missing page, and garbage in a page
may end it too. So the meta pages are always checked here. A file that is not large is walked whole: every page that can
be reached, every free one, every count (`lmdb.verify`, which reads and never maps). So is a file that is shorter than
its meta page says, since only the walk can tell whether what is missing was in use. In a larger file damage inside a
page is found by the checksums of the rows when they are read.
"""

import struct
from pathlib import Path

from lmdb.verify import VerifyError, verify

from core.store_lmdb.errors import CorruptError, translated

WALKED = 128 << 20
"""Bytes up to which a file is walked at every start; some 2.5 ms a MiB."""
_META = struct.Struct("<QHHHHII16xI44x48xQQ")
"""Page number, pad, flags, lower, upper; magic, version, page size, last page, transaction."""
_META_FLAG = 0x08
_MAGIC = 0xBEEFC0DE
_VERSION = 1
_LEAST_PAGE = 512


def inspect(file: Path) -> None:
    """Raise CorruptError unless `file` can be given to LMDB."""
    with translated(file, "read"):
        size = file.stat().st_size
        with file.open("rb") as stream:
            first = _Meta(file, stream.read(_META.size), 0)
            stream.seek(first.page_size)
            second = _Meta(file, stream.read(_META.size), 1)
    if first.page_size != second.page_size:
        raise CorruptError(file, "its two meta pages differ in page size")
    pages = max(first, second, key=lambda meta: meta.transaction).last_page + 1
    if size < pages * first.page_size:
        walk(file, f"{size} bytes long where {pages * first.page_size} were written: ")
    elif size <= WALKED:
        walk(file)


def walk(file: Path, known: str = "") -> None:
    """Check the structure of the whole file; CorruptError with what is `known` and the first thing that is wrong."""
    try:
        with translated(file, "read"):
            problems: list[str] = verify(str(file), subdir=False)  # type: ignore[no-untyped-call]
    except VerifyError as error:
        raise CorruptError(file, str(error)) from error
    if problems:
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise CorruptError(file, known + problems[0] + more)


class _Meta:
    """One of the two meta pages."""

    def __init__(self, file: Path, data: bytes, number: int) -> None:
        if len(data) < _META.size:
            raise CorruptError(file, f"cut short in meta page {number}")
        _, _, flags, _, _, magic, version, self.page_size, self.last_page, self.transaction = _META.unpack(data)
        if magic != _MAGIC or not flags & _META_FLAG:
            raise CorruptError(file, f"meta page {number} is not one of an LMDB file")
        if version != _VERSION:
            raise CorruptError(file, f"LMDB file version {version} where {_VERSION} was written")
        if self.page_size < _LEAST_PAGE or self.page_size & (self.page_size - 1):
            raise CorruptError(file, f"meta page {number} has page size {self.page_size}")
