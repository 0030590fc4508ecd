"""Requests as typed messages: the JSON form of protocol buffers, read as etcd's gateway reads it.

A message is a Struct with the names of the .proto files. What is written in those names, in strict base64 and without
null, as nearly every client does, is decoded by msgspec in one step. Anything else is read again by hand: camelCase
names, null (as if absent), the other base64 alphabet, no padding, unknown fields (passed over), something behind the
message (passed over); and what is wrong is refused in the words of Go's decoder.

Numbers of 64 bits may come as numbers or strings, enumerations as names or numbers: such fields are of the types
`Int64` and `Name`, and whoever reads them goes through `int64` or an `Enumeration`.
"""

import base64
import binascii
import json
import re
from functools import lru_cache
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import inspect

from core.api.v3.errors import Code, RpcError

Int64 = int | str
Name = int | str
_LARGEST = (1 << 63) - 1
_SMALLEST = -(1 << 63)
_KINDS = {str: "string", bool: "bool", int: "number", list: "array", dict: "object"}
_DIGITS = re.compile(r"-?(0|[1-9][0-9]{0,30})")
_BLANK = re.compile(r"[ \t\r\n]*")


class Message(msgspec.Struct, forbid_unknown_fields=True, frozen=True, gc=False):
    """Common form of all requests."""


M = TypeVar("M", bound=Message)


class Reader(Generic[M]):
    """Decodes the bodies of one kind of request."""

    def __init__(self, kind: type[M]) -> None:
        self.kind = kind
        self._strict = msgspec.json.Decoder(kind)

    def read(self, body: bytes) -> M:
        """The message in a body; nothing at all is an empty message. RpcError 3 if it is none."""
        try:
            return self._strict.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return self._patiently(body, 0)[0] or self.kind()

    def read_all(self, body: bytes) -> list[M]:
        """The messages of a stream, one behind the other."""
        found: list[M] = []
        place = 0
        while True:
            message, place = self._patiently(body, place)
            if message is None:
                return found
            found.append(message)

    def _patiently(self, body: bytes, start: int) -> tuple[M | None, int]:
        text = _text(body)
        start = _end_of_blank(text, start)
        if start == len(text):
            return None, start
        value, end = _value(text, start)
        try:
            return _message(self.kind, {} if value is None else value), end
        except RecursionError:
            raise _wrong("not a message: it is nested too deep") from None


def int64(value: Int64) -> int:
    """A number of 64 bits. RpcError 3 if it is none."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value) is None:
            raise _wrong(f"json: cannot unmarshal {json.dumps(value)} into Go value of type int64")
        value = int(value)
    if not _SMALLEST <= value <= _LARGEST:
        raise _wrong(f"json: cannot unmarshal number {value} into Go value of type int64")
    return value


def uint64(value: Int64) -> int:
    """A number of 64 bits without sign, such as an id of a member. RpcError 3 if it is none."""
    if isinstance(value, str):
        if _DIGITS.fullmatch(value) is None:
            raise _wrong(f"json: cannot unmarshal {json.dumps(value)} into Go value of type uint64")
        value = int(value)
    if not 0 <= value < 1 << 64:
        raise _wrong(f"json: cannot unmarshal number {value} into Go value of type uint64")
    return value


class Enumeration:
    """Names and their numbers. A number without name passes, as in protocol buffers; an unknown name does not."""

    def __init__(self, title: str, *names: str) -> None:
        """`title` is what error texts call it; the names count from 0."""
        self._title = title
        self._numbers = {name: number for number, name in enumerate(names)}
        self.names = names

    def number(self, value: Name) -> int:
        """The number of a value. RpcError 3 for an unknown name or a number beyond 32 bits."""
        if isinstance(value, str):
            found = self._numbers.get(value)
            if found is None:
                raise _wrong(f"unknown value {json.dumps(value)} for enum etcdserverpb.{self._title}")
            return found
        if not -(1 << 31) <= value < 1 << 31:
            raise _wrong(f"json: cannot unmarshal number {value} into Go value of type int32")
        return value


def base64_of(raw: bytes) -> bytes:
    """Bytes as they stand in a JSON string."""
    return binascii.b2a_base64(raw, newline=False)


def _wrong(text: str) -> RpcError:
    return RpcError(Code.INVALID_ARGUMENT, text)


def _text(body: bytes) -> str:
    return body.decode(errors="replace")  # as Go's decoder does


def _end_of_blank(text: str, start: int) -> int:
    found = _BLANK.match(text, start)
    return found.end() if found is not None else start


def _refuse_constant(name: str) -> None:
    raise _wrong(f"invalid character {name[:1]!r} looking for beginning of value")


class _Fraction(str):
    """A number that is no integer, as it was written: no field takes it, and errors name it."""


_raw_decode = json.JSONDecoder(parse_constant=_refuse_constant, parse_float=_Fraction).raw_decode


def _value(text: str, start: int) -> tuple[Any, int]:
    try:
        return _raw_decode(text, start)
    except json.JSONDecodeError as error:
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated"):
            raise _wrong("unexpected EOF") from None
        raise _wrong(f"invalid character {text[error.pos]!r} at byte {error.pos}: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise _wrong(f"not a message: {error}") from None


@lru_cache(maxsize=256)
def _fields(kind: type[Message]) -> dict[str, tuple[str, inspect.Type]]:
    """The fields of a message by each name they may have: name of the attribute, and type."""
    found = {}
    described = inspect.type_info(kind)
    if not isinstance(described, inspect.StructType):
        raise TypeError(f"{kind.__name__} is no message")
    for field in described.fields:
        words = field.encode_name.split("_")
        camel = words[0] + "".join(word[:1].upper() + word[1:] for word in words[1:])
        found[field.encode_name] = found[camel] = (field.name, field.type)
    return found


def _message(kind: type[M], value: Any) -> M:
    if not isinstance(value, dict):
        raise _wrong(f"json: cannot unmarshal {_kind(value)} into Go value of type map[string]json.RawMessage")
    fields = _fields(kind)
    given = {}
    for name, part in value.items():
        if name in fields and part is not None:
            attribute, wanted = fields[name]
            given[attribute] = _converted(wanted, part)
    return kind(**given)


def _converted(wanted: inspect.Type, value: Any) -> Any:
    """A value as its field has it. RpcError 3 if it does not fit."""
    match wanted:
        case inspect.BytesType():
            return _bytes(value)
        case inspect.StructType():
            return _message(_message_type(wanted), value)
        case inspect.VarTupleType():
            return _list(wanted.item_type, value)
        case inspect.BoolType():
            return _of(bool, "bool", value)
        case inspect.StrType():
            return _of(str, "string", value)
        case inspect.UnionType():
            structs = [each for each in wanted.types if isinstance(each, inspect.StructType)]
            if structs:
                return _message(_message_type(structs[0]), value)
            if type(value) in (int, str):
                return value
            shown = f"number {value}" if isinstance(value, _Fraction) else _kind(value)
            raise _wrong(f"json: cannot unmarshal {shown} into Go value of type int64")
    raise TypeError(f"{wanted} is no type of a message")


def _message_type(wanted: inspect.StructType) -> type[Message]:
    if not issubclass(wanted.cls, Message):
        raise TypeError(f"{wanted.cls.__name__} is no message")
    return wanted.cls


def _of(kind: type, name: str, value: Any) -> Any:
    if type(value) is not kind:
        raise _wrong(f"json: cannot unmarshal {_kind(value)} into Go value of type {name}")
    return value


def _list(wanted: inspect.Type, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _wrong(f"json: cannot unmarshal {_kind(value)} into Go value of type []json.RawMessage")
    if any(item is None for item in value):
        raise _wrong("json: cannot unmarshal null into a list")
    return tuple([_converted(wanted, item) for item in value])


def _bytes(value: Any) -> bytes:
    if type(value) is not str:
        raise _wrong(f"json: cannot unmarshal {_kind(value)} into Go value of type []uint8")
    standard = value.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        bad = re.search(r"[^A-Za-z0-9+/]", standard)
        raise _wrong(f"illegal base64 data at input byte {bad.start() if bad else len(value)}") from None


def _kind(value: Any) -> str:
    return "number" if isinstance(value, _Fraction) else _KINDS.get(type(value), "null")
