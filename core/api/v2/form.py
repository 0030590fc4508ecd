"""What a request on `/v2/keys` asks for: its key and its parameters, or a RequestError.

Parameters come from the query and, for PUT and POST, from a form body, which wins; of a repeated one the first counts.
"""

import binascii
import re

import msgspec

from core.api.http.message import Request
from core.api.v2.errors import (
    INDEX_NOT_A_NUMBER,
    INVALID_FIELD,
    INVALID_FORM,
    PREVIOUS_VALUE_REQUIRED,
    REFRESH_WITH_VALUE,
    REFRESH_WITHOUT_TTL,
    TTL_NOT_A_NUMBER,
    RequestError,
)
from core.kv import paths
from core.kv.tree import LONGEST_TTL

PREFIX = b"/v2/keys"
MAX_KEY = 64 * 1024
"""Bytes of a key."""
MAX_PARAMETERS = 256
MAX_NUMBER = 2**64 - 1

_TRUE = frozenset((b"1", b"t", b"T", b"TRUE", b"true", b"True"))
_FALSE = frozenset((b"0", b"f", b"F", b"FALSE", b"false", b"False"))
_is_usual = re.compile(rb"(?:/[0-9A-Za-z_-][-0-9A-Za-z._~:@+]*)+").fullmatch
"""Nearly every key is one that needs no decoding and is clean."""
_AMPERSAND, _SEMICOLON, _PLUS, _PERCENT = b"&;+%"
"""Numbers: to look for one in bytes takes a sixth of the time that looking for bytes takes."""
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)


class BadPathError(Exception):
    """The path holds a `%` that begins no escape: no URL at all."""


class Parameters(msgspec.Struct, frozen=True, gc=False):
    """The parameters of one request; the defaults are what a request without any means."""

    value: bytes = b""
    ttl: int | None = None
    """Seconds."""
    directory: bool = False
    previous_value: bytes | None = None
    """Never empty."""
    previous_index: int = 0
    """0: not asked."""
    previous_exists: bool | None = None
    refresh: bool = False
    recursive: bool = False
    quorum: bool = False
    wait: bool = False
    wait_index: int = 0
    """0: the next change."""
    stream: bool = False
    quiet: bool = False
    """`noValueOnSuccess`."""


NONE = Parameters()


def key_of(path: bytes) -> bytes:
    """The clean key of a path that begins with PREFIX. Raises BadPathError or RequestError."""
    key = path[len(PREFIX) :]
    if _is_usual(key) and len(key) <= 2 * paths.MAX_DEPTH:
        return key
    if _PERCENT in key:
        key = _unescape(key)
    if not paths.is_clean(key):
        try:
            key = paths.clean(key.decode())
        except UnicodeDecodeError:
            raise RequestError(INVALID_FIELD, "the key is not valid UTF-8") from None
    if len(key) > MAX_KEY:
        raise RequestError(INVALID_FIELD, f"the key has {len(key)} bytes; at most {MAX_KEY} are possible")
    if key.count(b"/") > paths.MAX_DEPTH:
        depth = key.count(b"/")
        raise RequestError(INVALID_FIELD, f"the key has {depth} components; at most {paths.MAX_DEPTH} are possible")
    return key


def parameters_of(request: Request) -> Parameters:
    """The parameters of a request. Raises RequestError."""
    query = request.query
    body = request.body
    if not body or request.method not in (b"PUT", b"POST") or not _is_form(request.header(b"content-type")):
        body = b""
    if not query:
        if not body:
            return NONE
        if body[:6] == b"value=" and _AMPERSAND not in body and _SEMICOLON not in body:
            return Parameters(_decoded(body[6:]))
    fields: dict[bytes, bytes] = {}
    _collect(body, fields)
    _collect(query, fields)
    return _read(fields, request.method)


def _is_form(content_type: bytes | None) -> bool:
    if content_type is None:
        return False
    if content_type == b"application/x-www-form-urlencoded":
        return True
    media_type = content_type.partition(b";")[0].strip().lower()
    if content_type and not media_type:
        raise RequestError(INVALID_FORM, "mime: no media type")
    return media_type == b"application/x-www-form-urlencoded"


def _collect(text: bytes, fields: dict[bytes, bytes]) -> None:
    if text.count(b"&") >= MAX_PARAMETERS:
        raise RequestError(INVALID_FORM, f"more than {MAX_PARAMETERS} parameters")
    if _SEMICOLON in text:
        raise RequestError(INVALID_FORM, "invalid semicolon separator in query")
    for pair in text.split(b"&"):
        if pair:
            name, _, value = pair.partition(b"=")
            fields.setdefault(_decoded(name), _decoded(value))


def _decoded(text: bytes) -> bytes:
    """A name or value of a form, decoded."""
    if _PLUS in text:
        text = text.replace(b"+", b" ")
    if _PERCENT in text:
        try:
            return _unescape(text)
        except BadPathError as error:
            raise RequestError(INVALID_FORM, str(error)) from None
    return text


def _unescape(text: bytes) -> bytes:
    bad = _BAD_ESCAPE.search(text)
    if bad:
        shown = msgspec.json.encode(bad[0].decode(errors="replace")).decode()
        raise BadPathError(f"invalid URL escape {shown}")
    # Quoted-printable is the same code with another sign, and the standard library decodes it in C.
    return binascii.a2b_qp(text.replace(b"=", b"=3D").replace(b"%", b"="))


def _read(fields: dict[bytes, bytes], method: bytes) -> Parameters:
    """Check every parameter, whether the method uses it or not, in etcd's order."""
    previous_index = _number(fields, b"prevIndex", INDEX_NOT_A_NUMBER)
    wait_index = _number(fields, b"waitIndex", INDEX_NOT_A_NUMBER)
    recursive = _flag(fields, b"recursive")
    _flag(fields, b"sorted")  # listings are always sorted
    wait = _flag(fields, b"wait")
    directory = _flag(fields, b"dir")
    quorum = _flag(fields, b"quorum")
    stream = _flag(fields, b"stream")
    if wait and method != b"GET":
        raise RequestError(INVALID_FIELD, '"wait" can only be used with GET requests')
    previous_value = fields.get(b"prevValue")
    if previous_value == b"":
        raise RequestError(PREVIOUS_VALUE_REQUIRED, '"prevValue" cannot be empty')
    quiet = _flag(fields, b"noValueOnSuccess")
    ttl = _ttl(fields)
    previous_exists = _flag(fields, b"prevExist", quoted=False) if b"prevExist" in fields else None
    refresh = _flag(fields, b"refresh", quoted=False)
    if refresh and fields.get(b"value"):
        raise RequestError(REFRESH_WITH_VALUE, "A value was provided on a refresh")
    if refresh and ttl is None:
        raise RequestError(REFRESH_WITHOUT_TTL, "No TTL value set")
    return Parameters(
        fields.get(b"value", b""),
        ttl,
        directory,
        previous_value,
        previous_index,
        previous_exists,
        refresh,
        recursive,
        quorum,
        wait,
        wait_index,
        stream,
        quiet,
    )


def _flag(fields: dict[bytes, bytes], name: bytes, *, quoted: bool = True) -> bool:
    """A boolean as Go reads it; False if absent."""
    word = fields.get(name)
    if word is None or word in _FALSE:
        return False
    if word in _TRUE:
        return True
    shown = f'"{name.decode()}"' if quoted else name.decode()
    raise RequestError(INVALID_FIELD, f"invalid value for {shown}")


def _number(fields: dict[bytes, bytes], name: bytes, code: int) -> int:
    """An unsigned decimal of 64 bits; 0 if absent."""
    digits = fields.get(name)
    if digits is None:
        return 0
    significant = digits.lstrip(b"0") or b"0"
    if not digits.isdigit() or len(significant) > 20 or int(significant) > MAX_NUMBER:
        raise RequestError(code, f'invalid value for "{name.decode()}"')
    return int(significant)


def _ttl(fields: dict[bytes, bytes]) -> int | None:
    if not fields.get(b"ttl"):
        return None
    ttl = _number(fields, b"ttl", TTL_NOT_A_NUMBER)
    if ttl > LONGEST_TTL:
        raise RequestError(TTL_NOT_A_NUMBER, f'invalid value for "ttl": at most {LONGEST_TTL} seconds are possible')
    return ttl
