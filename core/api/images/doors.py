"""The handlers of all paths below /corenode/images."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
import trio

from core.api.access import audit
from core.api.access.gate import Denied, Gate
from core.api.access.reserve import RELAYED
from core.api.http.message import Outlet, Reply, Request, Response
from core.api.plain import JSON, json_answer, message, method_not_allowed
from core.api.router import Route
from core.client.errors import ClientError
from core.depot.catalogue import CatalogueError
from core.depot.keeper import Keeper
from core.depot.publishing import Publication, Publisher, RefusedPublicationError
from core.depot.serving import AbsentError, NotHereError, find, pieces
from core.depot.shelf import NoRoomError
from core.depot.signing import KeyFiles, Keyring
from core.images.manifest import ImageError
from core.kv.access import Identity, Office
from core.trust.errors import TrustError

BASE = b"/corenode/images"
MOST = 128
"""Answers under way at a time."""
_BINARY = b"Content-Type: application/octet-stream\r\n"
_BUSY = "too many requests about images are under way; try again"
_UNDECIDED = "the cluster decides nothing now ({}), and serves what it did; try again when corenode health is good"
_PLAIN = "images are served over TLS and on the unix socket only"
_MAY_NOT = "images are for hosts, members and those with an office of this cluster"

Produce = Callable[[Outlet], Awaitable[None]]

log = logging.getLogger(__name__)


class _Missing(msgspec.Struct, frozen=True):
    chunks: tuple[str, ...]


class Doors:
    """Of one member."""

    def __init__(self, gate: Gate, keeper: Keeper, keyring: Keyring, publisher: Publisher) -> None:
        self._gate = gate
        self._keeper = keeper
        self._keyring = keyring
        self._publisher = publisher
        self._under_way = 0

    def routes(self) -> list[Route]:
        """The paths."""
        return [
            Route(BASE, self._file, below=True),
            Route(BASE + b"/status", self._office(Office.READER, b"GET", self._status)),
            Route(BASE + b"/missing", self._office(Office.OPERATOR, b"POST", self._missing)),
            Route(BASE + b"/publish", self._office(Office.OPERATOR, b"POST", self._publish)),
            Route(BASE + b"/keys", self._keys),
        ]

    # Who may

    def _office(
        self, office: Office, method: bytes, produce: Callable[[Request, Outlet], Awaitable[None]]
    ) -> Callable[[Request, Reply], None]:
        def handler(request: Request, reply: Reply) -> None:
            if request.method != method:
                reply.send(method_not_allowed((method,)))
            elif request.caller.plain:
                reply.send(message(403, _PLAIN))
            else:
                self._gate.require(office, request, reply, lambda given: self._begin(given, partial(produce, request)))

        return handler

    def _for(self, request: Request, reply: Reply, may: Callable[[Identity], bool], produce: Produce) -> None:
        """Serve whoever `may`."""

        def identified(found: Identity | Denied) -> None:
            if isinstance(found, Denied):
                reply.send(message(found.status, found.why, found.headers()))
            elif request.caller.plain or request.header(RELAYED) is not None or not may(found):
                audit.refused(found.name, request, "images")
                reply.send(message(403, _PLAIN if request.caller.plain else _MAY_NOT))
            else:
                self._begin(reply, produce)

        self._gate.identify(request, identified)

    def _begin(self, reply: Reply, produce: Produce) -> None:
        if self._under_way >= MOST:
            reply.send(message(503, _BUSY))
            return
        reply.stream(partial(self._produce, produce))

    async def _produce(self, produce: Produce, outlet: Outlet) -> None:
        self._under_way += 1
        try:
            await produce(outlet)
        except (TrustError, RefusedPublicationError, CatalogueError) as error:
            await _say(outlet, message(409, str(error)))
        except NoRoomError as error:
            await _say(outlet, message(507, str(error)))
        except ImageError as error:
            await _say(outlet, message(400, str(error)))
        except OSError as error:
            log.warning("a file of images failed: %s", error)
            await _say(outlet, message(507, f"the disk of this member says: {error.strerror}"))
        finally:
            self._under_way -= 1

    # Files

    def _file(self, request: Request, reply: Reply) -> None:
        path = request.path[len(BASE) + 1 :].decode("latin-1")
        kind, _, name = path.partition("/")
        if request.method == b"PUT" and kind == "chunks":
            keep = partial(self._keep, name, request.body)
            if request.caller.plain:
                reply.send(message(403, _PLAIN))
            else:
                self._gate.require(Office.OPERATOR, request, reply, lambda given: self._begin(given, keep))
        elif request.method == b"GET":
            self._for(request, reply, _may_read, partial(self._send, path))
        else:
            reply.send(method_not_allowed((b"GET", b"PUT")))

    async def _send(self, path: str, outlet: Outlet) -> None:
        try:
            parts = pieces(self._keeper.shelf, find(self._keeper.served, path))
            piece = await trio.to_thread.run_sync(next, parts, b"")
        except AbsentError:
            await _say(outlet, message(404, "the repository has no such file"))
            return
        except NotHereError:
            self._keeper.doubt()
            await _say(outlet, message(503, "this member has not got it yet; ask another"))
            return
        await outlet.start(200, _BINARY)
        while piece:
            await outlet.send(piece)
            try:
                piece = await trio.to_thread.run_sync(next, parts, b"")
            except NotHereError:
                self._keeper.doubt()
                await outlet.abort()

    async def _keep(self, name: str, body: bytes, outlet: Outlet) -> None:
        if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
            await _say(outlet, message(400, "a chunk is named by the SHA-256 of its bytes"))
            return
        await trio.to_thread.run_sync(self._keeper.shelf.keep, name, body)
        await _say(outlet, json_answer({}))

    # What operators do

    async def _status(self, request: Request, outlet: Outlet) -> None:
        keeper = self._keeper
        served = keeper.served
        told = {
            "roots": len(served.roots),
            "targets_version": served.targets_version,
            "timestamp_version": served.timestamp_version,
            "expires": served.expires,
            "releases": sorted(served.manifests),
            "packages": [msgspec.structs.asdict(each) | {"index": None} for each in served.packages.values()],
            "held": {member: held.served >= keeper.served_revision for member, held in keeper.held.items()},
            "trouble": {member: held.trouble for member, held in keeper.held.items() if held.trouble},
        }
        await _say(outlet, json_answer(told))

    async def _missing(self, request: Request, outlet: Outlet) -> None:
        try:
            asked = msgspec.json.decode(request.body, type=_Missing).chunks
        except msgspec.DecodeError as error:
            await _say(outlet, message(400, f"this is no list of chunks: {error}"))
            return
        has = self._keeper.shelf.want  # what is here will not be uploaded: it must not go meanwhile
        names = [name for name in asked if len(name) == 64 and set(name) <= set("0123456789abcdef")]
        found = await trio.to_thread.run_sync(lambda: [name for name in names if not has(name)])
        await _say(outlet, json_answer({"missing": found}))

    def _keys(self, request: Request, reply: Reply) -> None:
        if request.method == b"GET":
            self._for(request, reply, lambda found: found.member, self._give_keys)
        else:
            self._office(Office.OPERATOR, b"POST", self._take_keys)(request, reply)

    async def _give_keys(self, outlet: Outlet) -> None:
        await _say(outlet, json_answer(await trio.to_thread.run_sync(self._keyring.give)))

    async def _take_keys(self, request: Request, outlet: Outlet) -> None:
        try:
            given = msgspec.json.decode(request.body, type=KeyFiles)
        except msgspec.DecodeError as error:
            await _say(outlet, message(400, f"these are no key files: {error}"))
            return
        await _say(outlet, json_answer({"new": await trio.to_thread.run_sync(self._keyring.take, given)}))

    async def _publish(self, request: Request, outlet: Outlet) -> None:
        try:
            wanted = msgspec.json.decode(request.body, type=Publication)
        except msgspec.DecodeError as error:
            await _say(outlet, message(400, f"this is no publication: {error}"))
            return
        steps = self._publisher.publish(wanted)
        begun = False
        try:
            async for step in steps:
                if not begun:
                    begun = True
                    await outlet.start(200, JSON)
                await outlet.send(msgspec.json.encode(step) + b"\n")
        except (TrustError, RefusedPublicationError, ImageError, ClientError, CatalogueError, OSError) as error:
            if not begun:
                if isinstance(error, ClientError):
                    await _say(outlet, message(503, _UNDECIDED.format(error)))
                    return
                raise
            await outlet.send(msgspec.json.encode({"error": str(error)}) + b"\n")
        finally:
            with trio.CancelScope(shield=True):
                await steps.aclose()


def _may_read(found: Identity) -> bool:
    return found.member or bool(found.host) or found.office >= Office.READER


async def _say(outlet: Outlet, response: Response) -> None:
    await outlet.start(response.status, response.headers)
    await outlet.send(response.body)
