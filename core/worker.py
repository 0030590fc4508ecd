"""The process of a host that is no member: the same doors as a member's, and behind them the members.

    run
    ├─ writes          those that are passed on; ended last, so that their outcomes are told
    └─ background      systemd's watchdog, the watch on the loop, on certificate files, on who the members are, and on
                       which certificates are revoked
       └─ front end    innermost, with the agent and the signals, as in `core.daemon`

It keeps no data of the cluster: its data directory holds the unix socket, and what its agent needs. Who is asking, a
member learns only from the Authorization header. A client certificate opens this door and no more, and so does the unix
socket: a member sees the certificate of this worker, which must give no office. What a host's certificate gives is for
its agent alone; all that is passed on is marked as such (`core.api.access.reserve`).
"""

import logging
import os
import signal
import time
from collections.abc import Callable

import trio

from core import slowness
from core.addresses import Url
from core.admission import Admission
from core.api.access import audit
from core.api.access.gate import untrusted
from core.api.access.identity import ANONYMOUS, of_certificate
from core.api.browsers import Browsers
from core.api.fleet import HostHandler
from core.api.http import Frontend, Handler, Limits, Reply, Request
from core.api.ops.metrics import Metrics
from core.api.plain import json_answer, message, plain
from core.api.store import Damage
from core.api.updates import PATH as UPDATES
from core.api.updates import UpdateDoor
from core.client.credentials import ClientCredentials
from core.client.endpoints import parse
from core.client.images import Images
from core.client.remote import RemoteStore
from core.client.transport import Transport
from core.config import Config
from core.credentials import Credentials
from core.hosting import Hosting, executor_of
from core.kv.access import Office
from core.logs import set_level
from core.process import announced, body_max, cut_short, listen, obey
from core.relay import OPENED, Relay, Revoked, Upstreams
from core.renewal import Renewal
from core.service import Notifier, StartError
from core.store_lmdb.creation import is_made
from core.this_host import machine
from core.tls.authority import load_chain
from core.tls.contexts import TlsFilesError
from core.tls.identity import Role, identity_of
from core.version import VERSION
from core.views import connection_figures

DRAIN_SECONDS = 10.0
REVOKED = "revoked.json"
"""In the data directory: the serial numbers of revoked certificates, as members last told them."""

_logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Serve until a signal ends it. StartError if it cannot start; the text is for people."""
    trio.run(_main, config)


async def _main(config: Config) -> None:
    if is_made(config.data_dir):
        raise StartError(f"{config.data_dir} holds the data of a member; give this worker another --data-dir")
    tls = _shown_to_members(config)
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(f"{config.data_dir} cannot be made: {error.strerror}") from error
    notifier = Notifier()
    try:
        members = [parse(str(url)) for url in config.members]
        agents = Transport(members, tls)
        async with Upstreams(members, tls, (agents,)) as upstreams:
            await upstreams.refresh()
            async with trio.open_nursery() as writes:
                await _serve(config, notifier, upstreams, writes, agents, tls)
    finally:
        notifier.close()
    _logger.info("stopped")


async def _serve(
    config: Config,
    notifier: Notifier,
    upstreams: Upstreams,
    writes: trio.Nursery,
    agents: Transport,
    tls: ClientCredentials | None,
) -> None:
    credentials, listeners, bound = listen(config)
    relay = Relay(upstreams, writes)
    images = Images(upstreams.endpoints, lambda: tls)
    hosting = _hosting(config, bound, agents, images)
    revoked = _revoked(config, upstreams)
    admission = Admission(revoked, Damage())
    own = _Own(config, upstreams, credentials, relay, UpdateDoor(hosting.updating, _require))
    names = [url.host for url in (*config.listen_client_urls, *config.advertise_client_urls)]
    browsers = Browsers(HostHandler(hosting.face, own, _require, upstreams.knows), names, config.cors)
    frontend = Frontend(browsers, Limits(body_max=body_max(config)), admit=admission, opened=OPENED)
    holds = slowness.Holds()
    trio.lowlevel.add_instrument(holds)
    own.metrics = Metrics([relay.figures, hosting.figures, holds.figures, lambda: connection_figures(frontend)])

    def take(fresh: Config) -> None:
        set_level(fresh.log_level)
        browsers.allow(fresh.cors)

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as background:
            background.start_soon(slowness.watch_loop)
            background.start_soon(notifier.feed_watchdog, lambda: True)
            background.start_soon(credentials.watch, listeners)
            background.start_soon(upstreams.keep)
            background.start_soon(Renewal(config, upstreams.ways, lambda: tls).run)
            if credentials.context is not None:
                background.start_soon(revoked.keep)
                background.start_soon(admission.keep, frontend)
            async with trio.open_nursery() as serving:
                await serving.start(frontend.serve, listeners)
                serving.start_soon(hosting.run)
                with announced(config, notifier, bound):
                    await obey(signals, config, notifier, take, lambda: credentials.reload(listeners))
                notifier.stopping()
                _logger.info("stopping", extra={"connections": frontend.statistics().connections})
                hosting.stop()
                if hosting.moves:
                    background.start_soon(notifier.ask_for_time)
                frontend.drain(DRAIN_SECONDS)
                background.start_soon(cut_short, signals, serving.cancel_scope)
            background.cancel_scope.cancel()


class _Own:
    """What a worker answers itself: whether it lives, its figures, and to its own host how it is."""

    def __init__(
        self, config: Config, upstreams: Upstreams, credentials: Credentials, relay: Handler, updates: Handler
    ) -> None:
        self._config = config
        self._upstreams = upstreams
        self._credentials = credentials
        self._relay = relay
        self._updates = updates
        self._started = time.time()
        self.metrics: Handler | None = None

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.path == b"/livez":
            reply.send(plain(200, b"ok"))
        elif request.path == b"/metrics" and self.metrics is not None:
            self.metrics(request, reply)
        elif request.path == b"/corenode/status" and request.method == b"GET":
            local = request.caller.local
            reply.send(json_answer(self._status(), end=b"\n") if local else message(403, "only on the unix socket"))
        elif request.path == UPDATES or request.path.startswith(UPDATES + b"/"):
            self._updates(request, reply)
        else:
            self._relay(request, reply)

    def _status(self) -> dict[str, object]:
        ways = [(way.endpoint.text, way.trouble) for way in self._upstreams.all]
        return {
            "name": self._config.name,
            "role": "worker",
            "pid": os.getpid(),
            "version": VERSION,
            "cluster_id": self._upstreams.cluster,
            "uptime_seconds": round(time.time() - self._started, 3),
            "members": [{"url": url, "trouble": trouble} for url, trouble in ways],
            "tls": self._credentials.shown,
        }


def _require(request: Request, reply: Reply, serve: Callable[[Reply], None]) -> None:
    """Serve what concerns this host's units to its root, and to who holds the office of an operator."""
    caller = request.caller
    who = ANONYMOUS if caller.certificate is None else of_certificate(caller.certificate)
    if caller.local or who.office >= Office.OPERATOR:
        serve(reply)
    else:
        audit.refused(who.name, request, "needs operator")
        reply.send(message(403, untrusted(Office.OPERATOR)))


def _revoked(config: Config, upstreams: Upstreams) -> Revoked:
    """Who is turned away. StartError."""
    file = config.data_dir / REVOKED
    try:
        return Revoked(file, upstreams)
    except (OSError, ValueError) as error:
        raise StartError(f"{file} cannot be read: {error}; remove it, and the members are asked anew") from error


def _hosting(config: Config, bound: list[Url], agents: Transport, images: Images) -> Hosting:
    """This host's part in the cluster; its agent asks by `agents`. StartError."""
    certificate = config.peer_cert_file
    own = None if certificate is None else identity_of(load_chain(certificate)[0])
    try:
        if own is None or own.role is not Role.HOST:
            if config.executor in ("systemd", "embedded"):
                raise StartError(
                    f"--executor {config.executor}: a worker runs units by a certificate of the role host; get "
                    "one with `corenode join --role worker`"
                )
            return Hosting(config, None, machine(config, "", bound), None, images)
        identifier = config.machine_id or own.name
        if identifier != own.name:
            raise StartError(f"{certificate} is that of the host {own.name}, and --machine-id says {identifier}")
        here = machine(config, identifier, config.advertised(bound))
        return Hosting(config, RemoteStore(agents), here, executor_of(config, identifier), images)
    except (TlsFilesError, ValueError) as error:
        raise StartError(str(error)) from error


def _shown_to_members(config: Config) -> ClientCredentials | None:
    """What the members are shown and trusted by. StartError if that gives an office, for all who come here would have
    it."""
    certificate = config.peer_cert_file
    try:
        if certificate is not None and identity_of(load_chain(certificate)[0]).role not in (Role.CLIENT, Role.HOST):
            raise StartError(
                f"{certificate} is neither a host's nor a plain client's certificate; whoever asks this worker would "
                "have its rights. Make one with `corenode ca issue --role host`"
            )
        if not config.members[0].secure:
            return None
        return ClientCredentials(config.peer_trusted_ca_file, certificate, config.peer_key_file)
    except (TlsFilesError, ValueError, OSError) as error:
        raise StartError(str(error)) from error
