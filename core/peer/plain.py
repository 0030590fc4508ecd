"""Plain values as CBOR (RFC 8949), read strictly.

Plain are None, booleans, integers of up to 64 bits, text, bytes, and lists of these. Nothing else is accepted: no tags
(which could make dates, patterns, shared and circular values), no maps, no floats, no strings in pieces, nothing
behind the value.

A body of the largest size can hold one item a byte. Decoding 8 MiB of empty lists takes over a second and half a
gigabyte; only who holds the certificate of a member can send that.
"""

from io import BytesIO
from types import NoneType
from typing import NoReturn

import cbor2

from core.peer.errors import FrameError

Plain = None | bool | int | str | bytes | list["Plain"]
"""What travels between members."""

DEPTH = 16
"""Lists within lists."""

_TYPES = frozenset((NoneType, bool, int, str, bytes, list))


def encode(value: Plain) -> bytes:
    """The value as CBOR."""
    return cbor2.dumps(value)


def decode(body: bytes) -> Plain:
    """The value in a body; FrameError if it is not exactly one plain value."""
    file = BytesIO(body)
    try:
        value = cbor2.load(
            file, tag_hook=_refuse_tag, semantic_decoders=_BUILT_IN, max_depth=DEPTH, allow_indefinite=False
        )
    except (cbor2.CBORError, FrameError, ValueError) as error:
        raise FrameError(f"its body is not CBOR of plain values: {error}") from None
    if file.tell() != len(body):
        raise FrameError("there are bytes behind the value in its body")
    _check([value])
    plain: Plain = value
    return plain


def _check(values: list[object]) -> None:
    kinds = set(map(type, values))
    if not kinds <= _TYPES:
        names = sorted(kind.__name__ for kind in kinds - _TYPES)
        raise FrameError(f"there is a value of the type {names[0]} in its body")
    if list in kinds:
        for value in values:
            if type(value) is list:
                _check(value)


def _refuse_tag(*_: object) -> NoReturn:
    raise FrameError("it has a tag")


_BUILT_IN = dict.fromkeys(
    (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 52, 54, 100, 256, 258, 260, 261, 1004, 43000, 55799), _refuse_tag
)
"""Tags that the library would carry out while it decodes. All others come to the hook."""
