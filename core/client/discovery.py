"""etcd's v2 discovery protocol: hosts that know nothing but one URL find each other and found a cluster.

The URL is a directory of keys at a cluster that is there already, such as `http://host:2379/v2/keys/_etcd/registry/ID`
(any node of this program, or an etcd that serves v2), with the number of founders in `_config/size`. Each founder
creates a key named by its member id, which must not exist, whose value is `NAME=PEER-URL`, several with commas. The
first by creation, as many as the size says, are the cluster; who comes later is told that it is full.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar
from urllib.parse import quote, urlsplit

import msgspec
import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import ClientError, RefusedError, StrangeAnswerError
from core.client.transport import Answer, Transport
from core.client.tree import refusal

CALL_SECONDS = 5.0
WATCH_SECONDS = 60.0
"""One wait for another founder; then the directory is read again, whatever came."""
LONGEST_PAUSE = 32.0
CONFIG = "_config"
_FORM = ((b"Content-Type", b"application/x-www-form-urlencoded"),)
_logger = logging.getLogger(__name__)
T = TypeVar("T")


class DiscoveryError(Exception):
    """The cluster cannot be found so. The text says why, and what to do."""


class _Node(msgspec.Struct, frozen=True, rename="camel"):
    key: str = "/"
    value: str = ""
    created_index: int = 0
    nodes: tuple["_Node", ...] = ()

    @property
    def name(self) -> str:
        return self.key.rpartition("/")[2]


class _Reply(msgspec.Struct, frozen=True):
    node: _Node


class Registry:
    """The directory at a discovery URL."""

    def __init__(self, url: str, transport: Transport) -> None:
        self._url = url
        self._path = quote(urlsplit(url).path.rstrip("/"), safe="/%")
        self._transport = transport

    async def register(self, member: str, value: str) -> tuple[str, ...]:
        """Be one of the founders, and wait until all are there: their values, in order. DiscoveryError, ClientError."""
        size = await self._patiently(self._size)
        await self._patiently(lambda: self._listed(member, size))
        await self._patiently(lambda: self._create(member, value))
        while True:
            index, found = await self._patiently(lambda: self._listed(member, size))
            if len(found) >= size:
                return tuple(node.value for node in found)
            _logger.info("waiting for other founders", extra={"found": len(found), "wanted": size})
            await self._change(index + 1)

    async def _size(self) -> int:
        answer = await self._call("GET", f"/{CONFIG}/size?quorum=true")
        if answer.status == 404:
            raise DiscoveryError(
                f"{self._url} does not say how many members to wait for; say it with: "
                f"curl -X PUT {self._url}/{CONFIG}/size -d value=3"
            )
        text = _reply(answer).node.value
        if not text.isdecimal() or not 0 < int(text) < 1000:
            raise DiscoveryError(f"{self._url}/{CONFIG}/size holds {text[:40]!r}, which is no number of members")
        return int(text)

    async def _listed(self, member: str, size: int) -> tuple[int, list[_Node]]:
        """The index of the reading, and the founders as of then, at most `size`. DiscoveryError if this one is not
        among them and there is no room."""
        answer = await self._call("GET", "?quorum=true")
        if answer.status == 404:
            return _index(answer), []
        found = sorted(
            (node for node in _reply(answer).node.nodes if node.name != CONFIG), key=lambda node: node.created_index
        )[:size]
        if len(found) == size and member not in [node.name for node in found]:
            names = ", ".join(node.value.partition("=")[0] for node in found)
            raise DiscoveryError(
                f"the cluster of {self._url} is full: {names}. To join it, add this member there (corenode member add) "
                "and start it with --initial-cluster-state existing, or use `corenode join`"
            )
        return _index(answer), found

    async def _create(self, member: str, value: str) -> None:
        """Register; having done so before, and been interrupted, is as good."""
        body = f"value={quote(value, safe='')}".encode()
        answer = await self._call("PUT", f"/{member}?prevExist=false", body)
        if answer.status in (200, 201):
            return
        error = refusal(answer)
        if error.code != RefusedError.KEY_EXISTS:
            raise error
        if _reply(await self._call("GET", f"/{member}?quorum=true")).node.value != value:
            raise DiscoveryError(f"another host has registered at {self._url} with this one's id; use another --name")

    async def _change(self, index: int) -> None:
        """Wait until something happens from that index on, or for a while. The listing tells what it was."""
        target = f"{self._path}?recursive=true&wait=true&waitIndex={index}"
        try:
            await self._transport.call("GET", target, seconds=WATCH_SECONDS)
        except ClientError:
            await trio.sleep(1)

    async def _call(self, method: str, below: str, body: bytes = b"") -> Answer:
        return await self._transport.call(method, self._path + below, body, _FORM if body else (), CALL_SECONDS)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do it again, later and later, while the service cannot be asked."""
        pause = 1.0
        while True:
            try:
                return await work()
            except RefusedError as error:
                if error.status < 500:
                    raise
                why = str(error)
            except StrangeAnswerError:
                raise
            except ClientError as error:
                why = str(error)
            _logger.warning(
                "the discovery service does not answer", extra={"url": self._url, "why": why, "again": pause}
            )
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


async def discover(url: str, member: str, value: str) -> tuple[str, ...]:
    """Register at a discovery URL as `member` with `value`, `NAME=PEER-URL`, and wait for the others: the values of all
    founders. DiscoveryError, ClientError, TlsFilesError."""
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    credentials = ClientCredentials() if parts.scheme == "https" else None
    async with Transport([Endpoint(origin, origin)], credentials) as transport:
        return await Registry(url, transport).register(member, value)


def _reply(answer: Answer) -> _Reply:
    if answer.status != 200:
        raise refusal(answer)
    try:
        return msgspec.json.decode(answer.body, type=_Reply)
    except msgspec.DecodeError as error:
        raise StrangeAnswerError(f"the discovery URL does not name a directory of keys: {error}") from None


def _index(answer: Answer) -> int:
    text = answer.headers.get("x-etcd-index", "")
    if not text.isdecimal():
        raise StrangeAnswerError("the discovery URL does not name a directory of keys: the answer has no index")
    return int(text)
