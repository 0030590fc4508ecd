"""The row of one key or directory: where its versions rest, oldest first.

A row is 12 bytes that point to older versions (zeros: none; else a position, key of the OLDER table, whose value is a
row again), then 20 bytes a version: its position, then its mod revision with the top bit set if it is a deletion.
A row holds at most LIMIT versions; then all of them move to the OLDER table, in one chunk.
"""

LIMIT = 8
"""A row is read, checked and written whole by every write of its key, so a short one is cheap. Members with other
limits agree: what a state is hashed from leaves out how rows are laid out."""
_POINTER = 12
_VERSION = 20
_GONE = 1 << 63
EMPTY = bytes(_POINTER)


def newest_live(row: bytes | None) -> bytes | None:
    """Position of the newest version, or None if there is none or it is a deletion."""
    if row is None or row[-8] & 0x80:
        return None
    return row[-_VERSION:-8]


def newest(row: bytes) -> bytes:
    """Position of the newest version, deletion or not."""
    return row[-_VERSION:-8]


def appended(row: bytes, position: bytes, revision: int, gone: bool) -> bytes:
    """The row with one version more."""
    return row + position + (revision | _GONE if gone else revision).to_bytes(8, "big")


def with_newest_revision(row: bytes, revision: int) -> bytes:
    """The row with another mod revision for its newest version."""
    gone = row[-8] & 0x80
    return row[:-8] + (revision | _GONE if gone else revision).to_bytes(8, "big")


def is_full(row: bytes) -> bool:
    """Whether the next version must go to a new row."""
    return len(row) >= _POINTER + LIMIT * _VERSION


def pointing_to(position: bytes) -> bytes:
    """An empty row whose older versions rest at `position` of the OLDER table."""
    return position


def pruned(row: bytes, floor: int) -> bytes:
    """The row without the versions that no revision from `floor` on shows."""
    for start in range(len(row) - _VERSION, _POINTER - 1, -_VERSION):
        if _revision(row, start) <= floor:
            return EMPTY + row[start:]
    return row


def find(row: bytes, revision: int) -> tuple[bytes | None, bytes | None]:
    """(position, None) of the version shown at `revision`; (None, pointer) if it may be among the older ones;
    (None, None) if the key was not there."""
    if len(row) > _POINTER and _revision(row, _POINTER) > revision:  # a long chain is passed without a look at each
        return None, older(row)
    for start in range(len(row) - _VERSION, _POINTER - 1, -_VERSION):
        if _revision(row, start) <= revision:
            if row[start + _POINTER] & 0x80:
                return None, None
            return row[start : start + _POINTER], None
    return None, older(row)


def older(row: bytes) -> bytes | None:
    """Position, in the OLDER table, of the row of the versions before these; None if there are none."""
    pointer = row[:_POINTER]
    return None if pointer == EMPTY else pointer


def positions(row: bytes) -> list[bytes]:
    """Positions of the versions of a row, oldest first."""
    return [row[start : start + _POINTER] for start in range(_POINTER, len(row), _VERSION)]


def _revision(row: bytes, start: int) -> int:
    return int.from_bytes(row[start + _POINTER : start + _VERSION], "big") & ~_GONE
