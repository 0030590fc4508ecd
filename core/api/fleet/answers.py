"""How answers and refusals look: in fleet's form below its paths, in ours elsewhere."""

from collections.abc import Callable
from urllib.parse import parse_qsl, unquote

import msgspec

from core.api.http.message import Request, Response
from core.api.plain import JSON
from core.client import errors

Refuse = Callable[[int, str], Response]
"""Makes the answer of a refusal: HTTP status, why."""

_encode = msgspec.json.Encoder().encode


class Refused(Exception):  # noqa: N818 - an answer, not a fault of the program
    """Why a request is not carried out: the HTTP status and a sentence for people."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


def whole(record: msgspec.Struct) -> dict[str, object]:
    """A record with all its fields: stored ones leave out what is as usual."""
    found = msgspec.structs.asdict(record)
    return {name: whole(value) if isinstance(value, msgspec.Struct) else value for name, value in found.items()}


def fleet_refusal(status: int, why: str) -> Response:
    """In fleet's form."""
    return Response(status, JSON, _encode({"error": {"code": status, "message": why}}))


def of_client(error: errors.ClientError) -> Refused:
    """What it means for whoever asks that the store did not do it."""
    match error:
        case errors.OutcomeUnknownError():
            return Refused(504, f"the outcome is unknown: {error}")
        case errors.NoSpaceError():
            return Refused(507, str(error))
        case errors.RefusedError() if error.status == 403:
            return Refused(403, str(error))
        case errors.UnavailableError() | errors.OverloadedError() | errors.UnreachableError():
            return Refused(503, f"the store does not answer: {error}")
        case errors.ConnectionLostError():
            return Refused(503, f"the store does not answer: {error}")
    return Refused(500, str(error))


def query_of(request: Request) -> list[tuple[str, str]]:
    """The parameters in the query. Refused 400."""
    try:
        text = request.query.decode("ascii")
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=100)
    except (UnicodeDecodeError, ValueError) as error:
        raise Refused(400, f"the query cannot be read: {error}") from None


def parameter(request: Request, name: str, default: str = "") -> str:
    """One parameter, the last if it is there several times. Refused 400."""
    return dict(query_of(request)).get(name, default)


def number(request: Request, name: str, default: int, least: int, most: int) -> int:
    """A parameter that is a whole number. Refused 400."""
    text = parameter(request, name)
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise Refused(400, f"{name}={text[:40]!r} is no number from {least} to {most}")
    return int(text)


def flag(request: Request, name: str) -> bool:
    """A parameter that is true or false. Refused 400."""
    text = parameter(request, name, "false").lower()
    if text not in ("", "1", "true", "0", "false"):
        raise Refused(400, f"{name}={text[:40]!r} is neither true nor false")
    return text in ("1", "true", "")


def parts_below(request: Request, base: bytes) -> list[str]:
    """The parts of the path below a base, each decoded. Refused 400."""
    rest = request.path[len(base) :].strip(b"/")
    try:
        return [unquote(part.decode("ascii"), errors="strict") for part in rest.split(b"/")] if rest else []
    except UnicodeDecodeError:
        raise Refused(400, "the path is no UTF-8") from None
