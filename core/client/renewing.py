"""How a host without the issuing key gets a new certificate: it asks members, until one has the key."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint, parse
from core.client.errors import ClientError, StrangeAnswerError
from core.client.transport import Answer, Transport
from core.client.tree import refusal

ASK_SECONDS = 10.0
MOST_BYTES = 1 << 20
MOST_ASKED = 32
"""Members, however many are named."""
PATH = "/corenode/renew"
_MISDIRECTED = 421
_JSON = ((b"Content-Type", b"application/json"),)


class _Asked(msgspec.Struct, frozen=True):
    certificate: str
    request: str


class _Given(msgspec.Struct, frozen=True):
    certificate: str


class _Elsewhere(msgspec.Struct, frozen=True):
    message: str
    ask: tuple[str, ...] = ()


async def renew(first: Sequence[Endpoint], credentials: ClientCredentials, certificate: str, request: str) -> str:
    """The new certificate with its issuer behind it, PEM, for an old one and a request signed with its key. `first` are
    asked one after the other, then whom they name. Only TLS servers are asked. ClientError: RefusedError if it is not
    to be had, UnreachableError and the like if nobody could be asked."""
    body = msgspec.json.encode(_Asked(certificate, request))
    waiting, tried = [each for each in first if each.secure], set[str]()
    failure: ClientError = StrangeAnswerError("no member is known that can be asked by TLS")
    while waiting and len(tried) < MOST_ASKED:
        endpoint = waiting.pop(0)
        tried.add(endpoint.origin)
        try:
            async with Transport([endpoint], credentials) as transport:
                answer = await transport.call("POST", PATH, body, _JSON, ASK_SECONDS, repeatable=True, most=MOST_BYTES)
        except ClientError as error:
            failure = error
            continue
        if answer.status == 200:
            return _decoded(answer, _Given).certificate
        failure = refusal(answer)
        if answer.status == _MISDIRECTED:
            others = map(_way, _decoded(answer, _Elsewhere).ask)
            waiting += [each for each in others if each is not None and each.origin not in tried]
        elif answer.status < 500:
            break
    raise failure


T = TypeVar("T")


def _decoded(answer: Answer, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StrangeAnswerError(f"{answer.endpoint.text} answers with what is no certificate: {error}") from None


def _way(url: str) -> Endpoint | None:
    try:
        found = parse(url)
    except ValueError:
        return None
    return found if found.secure else None
