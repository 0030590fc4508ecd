"""The members as a worker knows them: those of its configuration, and those that they name."""

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec
import trio

from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint, parse
from core.client.errors import ClientError
from core.client.pool import CONNECT_SECONDS, KEEPALIVE
from core.client.transport import Answer, Transport

REFRESH_SECONDS = 10.0
ASK_SECONDS = 3.0

_logger = logging.getLogger(__name__)


class _Member(msgspec.Struct, frozen=True, rename={"client_urls": "clientURLs"}):
    name: str = ""
    client_urls: tuple[str, ...] = ()


class _Members(msgspec.Struct, frozen=True):
    members: tuple[_Member, ...]


class Upstream:
    """One way to a member."""

    def __init__(self, endpoint: Endpoint, tls: ClientCredentials | None) -> None:
        self.endpoint = endpoint
        self._tls = tls
        self.transport = Transport([endpoint], tls)
        self.trouble = ""
        """Why it did not answer when it was asked last."""
        self.stranger = False
        """It belongs to another cluster."""

    async def connect(self) -> trio.abc.Stream:
        """A connection of one's own. OSError, BrokenResourceError, TooSlowError."""
        host, _, port = self.endpoint.origin.partition("://")[2].rpartition(":")
        with trio.fail_after(CONNECT_SECONDS):
            plain = await trio.open_tcp_stream(host.strip("[]"), int(port))
            for option in KEEPALIVE:
                plain.setsockopt(*option)
            if not self.endpoint.secure:
                return plain
            context = None if self._tls is None else self._tls.context()
            if context is None:
                raise OSError("there is nothing by which its certificate could be verified")
            try:
                secure = trio.SSLStream(plain, context, server_hostname=host.strip("[]"), https_compatible=True)
                await secure.do_handshake()
            except BaseException:
                await trio.aclose_forcefully(plain)
                raise
            return secure

    async def close(self) -> None:
        """Break off what goes on with it."""
        await self.transport.__aexit__(None, None, None)


class Upstreams:
    """All of them, in the order in which they are asked: the one that answered last comes first."""

    def __init__(
        self, seeds: Sequence[Endpoint], tls: ClientCredentials | None, followers: Sequence[Transport] = ()
    ) -> None:
        """`followers` are told whom to ask: the members as they are known."""
        self.cluster = ""
        """Id of the cluster, once one of its members has answered."""
        self._names: frozenset[str] = frozenset()
        self._tls = tls
        self._followers = followers
        self._seeds = tuple(seeds)
        self._all = {seed: Upstream(seed, tls) for seed in seeds}
        self._order = list(self._all.values())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for upstream in self._order:
            await upstream.close()

    @property
    def all(self) -> list[Upstream]:
        """Every way that is known."""
        return list(self._order)

    def endpoints(self) -> list[Endpoint]:
        """Where the members are, in the order in which they are asked."""
        return [upstream.endpoint for upstream in self.in_order()]

    def in_order(self) -> list[Upstream]:
        """Those to ask, one after the other."""
        return [upstream for upstream in self._order if not upstream.stranger]

    def knows(self, name: str) -> bool:
        """Whether there was a member of that name when they were asked last."""
        return name in self._names

    def ways(self) -> list[Endpoint]:
        """The same, as endpoints."""
        return [upstream.endpoint for upstream in self.in_order()]

    def prefer(self, upstream: Upstream) -> None:
        """It answered: ask it first."""
        if upstream.trouble:
            _logger.info("a member answers again", extra={"member": upstream.endpoint.text})
            upstream.trouble = ""
        if self._order[0] is not upstream:
            self._order.sort(key=lambda each: each is not upstream)

    def avoid(self, upstream: Upstream, why: str) -> None:
        """It did not answer, or knows no leader: ask it last."""
        if not upstream.trouble:
            _logger.warning("a member does not answer", extra={"member": upstream.endpoint.text, "why": why})
        upstream.trouble = why
        self._order.sort(key=lambda each: each is upstream)

    async def refresh(self) -> None:
        """Ask all of them who the members are, and use those from now on."""
        told: dict[Upstream, tuple[_Member, ...]] = {}
        async with trio.open_nursery() as nursery:
            for upstream in self._order:
                nursery.start_soon(self._ask, upstream, told)
        if not told:
            return
        # Never from https:// to http://, whatever is advertised.
        schemes = {seed.secure for seed in self._seeds}
        members = [member for members in told.values() for member in members]
        self._names = frozenset(member.name for member in members)
        named = {url for member in members for url in member.client_urls}
        wanted = {*self._seeds, *(found for found in map(_way, named) if found is not None and found.secure in schemes)}
        for endpoint in wanted - self._all.keys():
            self._all[endpoint] = upstream = Upstream(endpoint, self._tls)
            self._order.append(upstream)
        for endpoint in self._all.keys() - wanted:
            upstream = self._all.pop(endpoint)
            self._order.remove(upstream)
            await upstream.close()
        for follower in self._followers:
            await follower.follow(self.ways())

    async def keep(self) -> None:
        """Refresh until cancelled."""
        while True:
            await trio.sleep(REFRESH_SECONDS)
            await self.refresh()

    async def _ask(self, upstream: Upstream, told: dict[Upstream, tuple[_Member, ...]]) -> None:
        try:
            answer = await upstream.transport.call("GET", "/v2/members", seconds=ASK_SECONDS)
            if answer.status != 200:
                raise ValueError(f"/v2/members: HTTP status {answer.status}")
            members = msgspec.json.decode(answer.body, type=_Members).members
        except (ClientError, ValueError, msgspec.DecodeError) as error:
            self.avoid(upstream, str(error))
            return
        if self._is_ours(upstream, answer):
            told[upstream] = members

    def _is_ours(self, upstream: Upstream, answer: Answer) -> bool:
        cluster = answer.headers.get("x-etcd-cluster-id", "")
        self.cluster = self.cluster or cluster
        if cluster == self.cluster:
            upstream.stranger = False
        elif not upstream.stranger:
            upstream.stranger = True
            _logger.error(
                "a member of another cluster is not asked; check --members",
                extra={"member": upstream.endpoint.text, "its_cluster": cluster, "ours": self.cluster},
            )
        return not upstream.stranger


def _way(url: str) -> Endpoint | None:
    """The way to a member that another one names; None if it is none, or leads to a socket of this host."""
    try:
        found = parse(url)
    except ValueError:
        return None
    return found if found.socket is None else None
