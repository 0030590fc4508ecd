"""How a host joins a cluster from outside: it has an address and a token, and trusts nobody yet.

The root is fetched first, from whoever answers, and compared with the fingerprint in the token. Only a server whose
certificate that root verifies is sent anything. Asking again with the same keys and token does no harm: the cluster
knows a host by its key.
"""

import ssl
from collections.abc import Sequence

import msgspec
import trio

from core.client import endpoints
from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import ClientError, OutcomeUnknownError, StrangeAnswerError, UnreachableError
from core.client.transport import Answer, Transport
from core.client.tree import refusal
from core.join_token import JoinToken
from core.tls.enrolment import EnrolmentError, context_for, root_of, unverified_context

PATIENCE_SECONDS = 15.0
"""How long it is tried again while the cluster elects, changes, or opens its door for a token of a moment ago."""
PAUSE_SECONDS = 0.5
_AGAIN = (503, 504)
_MISDIRECTED = 421
_JSON = ((b"Content-Type", b"application/json"),)


class WrongRootError(ClientError):
    """Whoever answers is not of the cluster that the token is for. Nothing was sent to it."""


class Asked(msgspec.Struct, frozen=True):
    """What a host asks for; `identity` and `server` are certificate requests, PEM."""

    token: str
    role: str
    name: str
    identity: str
    server: str
    client_urls: tuple[str, ...]
    peer_urls: tuple[str, ...]
    machine: str
    """The machine id of a worker."""


class Neighbour(msgspec.Struct, frozen=True):
    """A member of the cluster."""

    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class Granted(msgspec.Struct, frozen=True):
    """What it gets: ids in hexadecimal, certificates as PEM with their issuer behind them."""

    cluster: str
    member: str
    root: str
    identity: str
    server: str
    client_cert_auth: bool
    members: tuple[Neighbour, ...]


class _Elsewhere(msgspec.Struct, frozen=True):
    message: str
    ask: tuple[str, ...] = ()


class _Given(ClientCredentials):
    """A context that is there already."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._ready = context

    def context(self) -> ssl.SSLContext:
        return self._ready


async def join(first: Endpoint, token: JoinToken, asked: Asked, seconds: float) -> Granted:
    """Ask `first`, and whom it names if it cannot issue certificates. `seconds` bound one request. ClientError."""
    deadline = trio.current_time() + PATIENCE_SECONDS
    while True:
        try:
            return await _ask(first, token, asked, seconds)
        except _LaterError as later:
            if trio.current_time() >= deadline:
                raise later.reason from None
        await trio.sleep(PAUSE_SECONDS)


class _LaterError(Exception):
    """Worth another try."""

    def __init__(self, reason: ClientError) -> None:
        self.reason = reason


async def _ask(first: Endpoint, token: JoinToken, asked: Asked, seconds: float) -> Granted:
    root = await _root(first, token, seconds)
    waiting, tried, told = [first], set[str](), ""
    while waiting:
        endpoint = waiting.pop(0)
        tried.add(endpoint.origin)
        answer = await _send(endpoint, root, asked, seconds, optional=endpoint is not first)
        if answer is None:
            continue
        if answer.status == 200:
            return _granted(answer)
        if answer.status != _MISDIRECTED:
            error = refusal(answer)
            raise _LaterError(error) if answer.status in _AGAIN else error
        told, others = _elsewhere(answer)
        waiting += [each for each in others if each.origin not in tried]
    raise StrangeAnswerError(f"no member that can be reached has the issuing authority: {told}")


async def _root(endpoint: Endpoint, token: JoinToken, seconds: float) -> str:
    """The root of that fingerprint, from whoever answers there."""
    try:
        async with Transport([endpoint], _Given(unverified_context())) as transport:
            answer = await transport.call("GET", "/corenode/root", seconds=seconds)
    except UnreachableError as error:
        raise _closed(error) from None
    if answer.status != 200:
        raise refusal(answer)
    try:
        found = root_of(answer.body.decode(errors="replace"), token.fingerprint)
    except EnrolmentError as error:
        raise StrangeAnswerError(f"{endpoint.text}: {error}") from None
    if found is None:
        raise WrongRootError(
            f"{endpoint.text} has another root certificate than the token names: it is another cluster, the token was "
            "altered, or somebody stands in between. Nothing was sent"
        )
    return found


async def _send(endpoint: Endpoint, root: str, asked: Asked, seconds: float, *, optional: bool) -> Answer | None:
    """The answer of a server that this root verifies; None if an optional one cannot be reached."""
    try:
        async with Transport([endpoint], _Given(context_for(root))) as transport:
            return await transport.call("POST", "/corenode/join", msgspec.json.encode(asked), _JSON, seconds)
    except UnreachableError as error:
        if optional:
            return None
        for why in error.reasons.values():
            if "verif" in why or "issuer" in why or "self-signed" in why or "match" in why or "valid for" in why:
                raise WrongRootError(
                    f"{endpoint.text} shows a certificate that the root of the token does not verify ({why}). Nothing "
                    "was sent"
                ) from None
        raise _closed(error) from None
    except OutcomeUnknownError as error:
        raise _LaterError(error) from None


def _closed(error: UnreachableError) -> Exception:
    """A node where every client must show a certificate lets a host in only while there is a good token."""
    if not any("accepts only clients" in why or "broke off" in why for why in error.reasons.values()):
        return error
    told = "it knows no token that is good now: this one has expired, or was revoked; `corenode token create` makes one"
    return _LaterError(UnreachableError({text: f"{why}; {told}" for text, why in error.reasons.items()}))


def _granted(answer: Answer) -> Granted:
    try:
        return msgspec.json.decode(answer.body, type=Granted)
    except msgspec.DecodeError as error:
        raise StrangeAnswerError(f"the answer is not that of a cluster which lets a host in: {error}") from None


def _elsewhere(answer: Answer) -> tuple[str, Sequence[Endpoint]]:
    try:
        found = msgspec.json.decode(answer.body, type=_Elsewhere)
        return found.message, [endpoints.parse(url) for url in found.ask]
    except (msgspec.DecodeError, ValueError) as error:
        raise StrangeAnswerError(f"the answer does not say whom to ask instead: {error}") from None
