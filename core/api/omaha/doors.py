"""The two handlers: what to update to, and the file."""

import re
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial

import msgspec
import trio

from core.api.access.reserve import RELAYED
from core.api.http.message import Outlet, Reply, Request, Response
from core.api.omaha import protocol, visits
from core.api.omaha.protocol import Answer, App, OmahaError, Update
from core.api.plain import message, method_not_allowed, not_found
from core.api.router import Route
from core.client import KeyValue, Put, Store, prefix
from core.client.errors import ClientError, LeaseNotFoundError
from core.depot.catalogue import Package, package_key
from core.depot.keeper import Keeper, inside_package
from core.depot.shelf import Shelf
from core.images.manifest import Blob, ImageError
from core.update import keys
from core.update.plan import next_version
from core.update.records import Channel, Group, Offer, R, RecordError, Report, decode, encode

UPDATE, PACKAGES = b"/v1/update", b"/v1/packages"
MOST = 64
"""Requests under way at a time."""
VISITORS = 10_000
"""Hosts that report, those of our own included, beyond which no new visitor is taken note of."""
WAIT_SECONDS = 5.0
"""How long a host waits for the conductor's word. What comes later it gets when it asks again."""
THERE_SECONDS = 3 * 3600
"""How long a host counts as there after it has asked: update_engine does so every 45 minutes."""
_PLAIN = "Omaha is spoken over TLS and on the unix socket only: let the hosts ask at an https:// URL of this node"
_BUSY = "too many hosts ask at the same time; try again"
_BINARY = b"Content-Type: application/octet-stream\r\nAccept-Ranges: bytes\r\n"
_FILE = re.compile(rb"/v1/packages/([0-9a-f]{64})/([0-9A-Za-z.+~_-]{1,128})")
_HOST = re.compile(rb"[0-9A-Za-z.:\[\]-]{1,255}")
_RANGE = re.compile(rb"bytes=(\d{1,18})-(\d{1,18})?")

Produce = Callable[[Outlet], Awaitable[None]]


class Omaha:
    """Of one member."""

    def __init__(self, store: Store, keeper: Keeper, others: Callable[[], Sequence[str]]) -> None:
        """`others` are URLs at which other members serve clients over TLS."""
        self._store = store
        self._keeper = keeper
        self._others = others
        self._under_way = 0

    def routes(self) -> list[Route]:
        """The paths."""
        return [
            Route(UPDATE, self._asked),
            Route(UPDATE + b"/", self._asked),
            Route(PACKAGES, self._fetched, below=True),
        ]

    # What to update to

    def _asked(self, request: Request, reply: Reply) -> None:
        if request.method != b"POST":
            reply.send(method_not_allowed((b"POST",)))
        elif not _is_welcome(request):
            reply.send(message(403, _PLAIN))
        else:
            try:
                apps = protocol.parse(request.body)
            except OmahaError as error:
                reply.send(message(400, f"the request cannot be read: {error}"))
                return
            self._begin(reply, partial(self._answer, apps, self._bases(request)))

    def _begin(self, reply: Reply, produce: Produce) -> None:
        if self._under_way >= MOST:
            reply.send(message(503, _BUSY))
            return

        async def counted(outlet: Outlet) -> None:
            self._under_way += 1
            try:
                await produce(outlet)
            finally:
                self._under_way -= 1

        reply.stream(counted)

    async def _answer(self, apps: Sequence[App], bases: tuple[str, ...], outlet: Outlet) -> None:
        try:
            answers = [await self._app(app, bases) for app in apps]
        except ClientError as error:
            await _say(outlet, message(503, str(error)))
            return
        body = protocol.render(answers, int(time.time()) % 86_400)
        await _say(outlet, Response(200, protocol.HEADERS, body))

    async def _app(self, app: App, bases: tuple[str, ...]) -> Answer:
        group = await self._read(Group, keys.group(app.track))
        channel = None if group is None else await self._read(Channel, keys.channel(group.channel))
        if group is None or channel is None or not group.omaha or group.omaha != app.id:
            return Answer(app, "error-unknownApplication")
        before = (await self._store.range(keys.report(app.machine))).first
        known = None if before is None else _decoded(Report, before)
        if before is None and not await self._is_room():
            return Answer(app, "error-internal")
        if before is not None and (known is None or not known.visits):
            return Answer(app, "restricted")  # the id of a host of our own
        offer = await self._read(Offer, keys.offer(app.machine))
        report = visits.heard(known, app, app.track, channel, offer, int(time.time()))
        if report != known:
            await self._store.put(keys.report(app.machine), encode(report))
        await self._is_there(app.machine)
        if not app.check:
            return Answer(app)
        if offer is not None and offer.version != next_version(channel, report.version):
            offer = None  # it is there, or the channel has gone on; the conductor takes it back
        if not visits.may_go(report, group, offer):
            offer = None
        elif offer is None:
            offer = await self._ask(report, app.machine, channel)
        return Answer(app, update=None if offer is None else self._update(offer, bases))

    async def _ask(self, report: Report, machine: str, channel: Channel) -> Offer | None:
        """What the conductor offers this host, which waits for it; None: nothing now."""
        version = next_version(channel, report.version)
        if version is None or self._package(report.product, version, report.architecture) is None:
            return None
        asking = msgspec.structs.replace(report, stage="asking", error="", progress=0)
        asked = await self._store.put(keys.report(machine), encode(asking))
        found: Offer | None = None
        with trio.move_on_after(WAIT_SECONDS):
            async with self._store.watch(keys.offer(machine), start=asked.revision + 1) as watch:
                async for batch in watch:
                    last = batch.events[-1]
                    found = _decoded(Offer, last.kv) if last.kind == "put" else None
                    if found is not None:
                        break
        if found is None:
            await self._store.put(keys.report(machine), encode(report))
        return found

    def _update(self, offer: Offer, bases: tuple[str, ...]) -> Update | None:
        package = self._package(offer.product, offer.version, offer.architecture)
        if package is None or package.sha256 != offer.sha256:
            return None
        below = tuple(f"{base}{PACKAGES.decode()}/{package.sha256}/" for base in bases)
        return Update(package.version, package.file, package.size, package.sha1, package.sha256, below)

    def _package(self, product: str, version: str, architecture: str) -> Package | None:
        return self._keeper.served.packages.get(package_key(product, version, architecture))

    def _bases(self, request: Request) -> tuple[str, ...]:
        """The way by which this request came, and the other members."""
        host = request.header(b"host") or b""
        scheme = "http" if request.caller.address == "unix" else "https"
        own = [f"{scheme}://{host.decode()}"] if _HOST.fullmatch(host) else []
        return (*own, *self._others())

    # What is stored

    async def _read(self, kind: type[R], key: bytes) -> R | None:
        found = (await self._store.range(key)).first
        return None if found is None else _decoded(kind, found)

    async def _is_room(self) -> bool:
        return (await self._store.range(prefix(keys.REPORTS), count_only=True)).count < VISITORS

    async def _is_there(self, machine: str) -> None:
        key = keys.alive(machine)
        found = (await self._store.range(key)).first
        if found is not None and found.lease:
            try:
                await self._store.keep_alive(found.lease)
            except LeaseNotFoundError:
                pass  # it ended in this moment
            else:
                return
        lease = await self._store.grant(THERE_SECONDS)
        await self._store.txn([], [Put(key, b"", lease.id)])

    # The file

    def _fetched(self, request: Request, reply: Reply) -> None:
        found = _FILE.fullmatch(request.path)
        if request.method != b"GET":
            reply.send(method_not_allowed((b"GET",)))
        elif not _is_welcome(request):
            reply.send(message(403, _PLAIN))
        else:
            digest = b"" if found is None else found[1]
            packages = self._keeper.served.packages.values()
            package = next((each for each in packages if each.sha256 == digest.decode()), None)
            if package is None:
                reply.send(not_found())
            else:
                self._begin(reply, partial(self._send, package, request.header(b"range")))

    async def _send(self, package: Package, wanted: bytes | None, outlet: Outlet) -> None:
        try:
            if not await self._is_open(package.product):
                await _say(outlet, not_found())
                return
            span = _span(wanted, package.size)
            if span is None:
                await _say(outlet, Response(416, b"Content-Range: bytes */%d\r\n" % package.size, b""))
                return
            shelf = self._keeper.shelf
            (blob,) = await trio.to_thread.run_sync(inside_package, shelf, package.index)
            parts = _pieces(shelf, blob, *span)
            piece = await trio.to_thread.run_sync(next, parts, b"")
        except ImageError:
            self._keeper.doubt()
            await _say(outlet, message(503, "this member has not got it yet; ask another"))
            return
        except ClientError as error:
            await _say(outlet, message(503, str(error)))
            return
        if wanted is None or span == (0, package.size):
            await outlet.start(200, _BINARY, package.size)
        else:
            place = b"Content-Range: bytes %d-%d/%d\r\n" % (span[0], span[1] - 1, package.size)
            await outlet.start(206, _BINARY + place, span[1] - span[0])
        while piece:
            await outlet.send(piece)
            try:
                piece = await trio.to_thread.run_sync(next, parts, b"")
            except ImageError:
                self._keeper.doubt()
                await outlet.abort()

    async def _is_open(self, product: str) -> bool:
        """Whether a group that is open to visitors follows a channel of this product."""
        for kv in (await self._store.range(prefix(keys.GROUPS))).kvs:
            group = _decoded(Group, kv)
            if group is not None and group.omaha:
                channel = await self._read(Channel, keys.channel(group.channel))
                if channel is not None and channel.product == product:
                    return True
        return False


def _is_welcome(request: Request) -> bool:
    """A worker would answer its own callers, whoever they are, with our word."""
    return not request.caller.plain and request.header(RELAYED) is None


def _decoded(kind: type[R], kv: KeyValue) -> R | None:
    try:
        return decode(kind, kv.value)
    except RecordError:
        return None


def _span(wanted: bytes | None, size: int) -> tuple[int, int] | None:
    """From which byte up to which; all of it for a Range that is not understood, None for one that is not there."""
    found = None if wanted is None else _RANGE.fullmatch(wanted)
    if found is None:
        return 0, size
    first, last = int(found[1]), int(found[2]) if found[2] else size - 1
    return (first, min(last + 1, size)) if first <= last and first < size else None


def _pieces(shelf: Shelf, blob: Blob, start: int, end: int) -> Iterator[bytes]:
    """So many bytes of it, in pieces; each step blocks. ImageError, at any step."""
    for offset, chunk in blob.placed():
        if offset + chunk.size > start and offset < end:
            yield shelf.plain(chunk)[max(start - offset, 0) : end - offset]


async def _say(outlet: Outlet, response: Response) -> None:
    await outlet.start(response.status, response.headers)
    if response.body:
        await outlet.send(response.body)
