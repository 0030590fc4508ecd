"""The daemon: one nursery tree from the data directory up to the listeners.

    run
    ├─ member          opened first, closed last; its loop ends after everything that may propose
    └─ background      systemd's watchdog, the hashing of passwords, the watch on the loop, on certificate files, on
                       revocations and on the records of access, requests about units, the engine
       └─ front end    innermost, with the agent and the signals: SIGTERM and SIGINT begin the orderly end, SIGHUP
                       reads the configuration again

The orderly end: the agent leaves its units running or moves them, no new connections, requests in flight are finished
(DRAIN_SECONDS at most), long polls and streams are cut off so that no client takes them for whole, the member carries
out what is queued and flushes, then the directory is let go. A second signal cuts all of it short at once.

Everything that can be wrong with configuration, directory, addresses or certificates is found before the first
request is served, and is a `StartError`. An exception in any task after that ends the daemon.
"""

import gc
import logging
import signal
import time

import trio

from core import slowness
from core.addresses import Url
from core.admission import Admission
from core.api.access.gate import Gate
from core.api.access.hashing import Hashing
from core.api.browsers import Browsers
from core.api.figures import Source
from core.api.http import Frontend, Handler, Limits, Listener
from core.api.images.doors import BASE as IMAGES
from core.api.ops import joining, renewing
from core.api.ops import routes as operations
from core.api.router import Route, Router
from core.api.v2 import routes as tree
from core.api.v2.counters import Counters
from core.api.v2.keys import Keys
from core.api.v3 import routes as flat
from core.client import connect
from core.config import Config
from core.credentials import Credentials
from core.enrolment import Door, Enrolment
from core.hosting import guarded
from core.imaging import Imaging
from core.joining import JoinError, beginning
from core.logs import set_level
from core.managing import Managing
from core.member import Member
from core.node.local import LocalStore
from core.peer import PeerListener, PeerListenError, open_listeners
from core.process import announced, body_max, collect_seldom, cut_short, listen, obey
from core.renewal import Renewal
from core.salvage import go_on_alone
from core.service import Notifier, StartError
from core.store_lmdb.errors import StoreError
from core.version import VERSION
from core.views import View, connection_figures

DRAIN_SECONDS = 10.0
STUCK_SECONDS = 20.0
"""A drive loop that carries nothing out for so long gives systemd no sign of life."""

_logger = logging.getLogger(__name__)


def run(config: Config) -> None:
    """Serve until a signal ends it. StartError if it cannot start; the text is for people."""
    collect_seldom()
    trio.run(_main, config)


async def _main(config: Config) -> None:
    notifier = Notifier()
    try:
        if config.force_new_cluster:
            await go_on_alone(config)
        member = Member.open(config, await beginning(config))
    except (StoreError, JoinError) as error:
        raise StartError(str(error)) from error
    try:
        credentials, listeners, bound = listen(config)
        peer_listeners = await _listen_for_peers(config)
        advertised = [str(url) for url in config.advertised(bound)]
        async with trio.open_nursery() as nursery:
            await nursery.start(member.run, peer_listeners, advertised)
            await _serve(config, member, notifier, credentials, listeners, bound)
            member.stop()
    finally:
        member.close()
        notifier.close()
    _logger.info("stopped")


async def _serve(
    config: Config,
    member: Member,
    notifier: Notifier,
    credentials: Credentials,
    listeners: list[Listener],
    bound: list[Url],
) -> None:
    """Everything above the member, from the listeners to the orderly end."""
    view = View(config, member, credentials)
    store = LocalStore(member.node)
    admission = Admission(member.keyspace, member.node.damage)
    hashing = Hashing()
    gate = Gate(member.keyspace.access, hashing, member.node.damage)
    enrolment = Enrolment(config, member)
    units = Managing(config, connect("local:", node=store), gate, bound, member, view.doors, view.voting)
    images = Imaging(
        *(config, connect("local:", node=store), gate, view.self_id, view.doors),
        *(units.credentials, lambda: view.voters, lambda: member.node.leads),
    )
    holds = slowness.Holds()
    trio.lowlevel.add_instrument(holds)
    frontend, browsers = _frontend(config, store, view, admission, gate, enrolment, units, images, holds)

    def take(fresh: Config) -> None:
        set_level(fresh.log_level)
        browsers.allow(fresh.cors)

    view.client_urls = tuple(str(url) for url in config.advertised(bound))
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        async with trio.open_nursery() as background:
            background.start_soon(slowness.watch_loop)
            background.start_soon(hashing.run)
            background.start_soon(enrolment.run, credentials)
            background.start_soon(notifier.feed_watchdog, lambda: not member.node.is_stuck(STUCK_SECONDS))
            background.start_soon(credentials.watch, listeners)
            background.start_soon(Renewal(config, view.doors, units.credentials).run)
            background.start_soon(admission.keep, frontend)
            background.start_soon(gate.claims.run)
            background.start_soon(units.run)
            background.start_soon(guarded, "service of images", images.run)
            async with trio.open_nursery() as serving:
                await serving.start(frontend.serve, listeners)
                gc.freeze()  # what the start has made is not looked at again
                serving.start_soon(units.hosting.run)
                with announced(config, notifier, bound):
                    await obey(signals, config, notifier, take, lambda: credentials.reload(listeners))
                notifier.stopping()
                _logger.info("stopping", extra={"connections": frontend.statistics().connections})
                units.hosting.stop()
                if units.hosting.moves:
                    background.start_soon(notifier.ask_for_time)
                frontend.drain(DRAIN_SECONDS)
                background.start_soon(cut_short, signals, serving.cancel_scope)
            background.cancel_scope.cancel()


def _frontend(
    config: Config,
    store: LocalStore,
    view: View,
    admission: Admission,
    gate: Gate,
    enrolment: Enrolment,
    units: Managing,
    images: Imaging,
    holds: slowness.Holds,
) -> tuple[Frontend, Browsers]:
    """The front end with everything it serves, and what stands between it and web pages."""
    counters = Counters()
    calls = flat.routes(store, gate, view, view, config.max_request_bytes)
    sources: list[Source] = [
        *(view.figures, counters.figures, flat.figures_of(calls), units.figures, holds.figures),
        lambda: connection_figures(frontend),
    ]
    # Bound methods: to call an object that has `__call__` leaves the interpreter's loop and enters it again.
    handler: Handler = Router(
        Keys(store, gate, view.id, counters).__call__,
        [
            *tree.routes(store, gate, view, counters, time.time),
            *calls,
            *operations.routes(store, gate, view, view, view, sources, VERSION),
            *joining.routes(store, gate, enrolment, enrolment.signing),
            Route(renewing.PATH, renewing.RenewHandler(store, enrolment, enrolment.signing)),
            *units.routes(),
            *images.routes(),
        ],
        store.damage,
    ).__call__
    handler = units.in_front_of(handler, (IMAGES + b"/", renewing.PATH))
    if config.client_cert_auth:
        handler = Door(handler).__call__
    names = [url.host for url in (*config.listen_client_urls, *config.advertise_client_urls)]
    browsers = Browsers(handler, names, config.cors)
    frontend = Frontend(browsers.__call__, Limits(body_max=body_max(config)), admit=admission, opened=flat.OPENED)
    return frontend, browsers


async def _listen_for_peers(config: Config) -> list[PeerListener]:
    try:
        return await open_listeners(config.listen_peer_urls)
    except PeerListenError as error:
        raise StartError(str(error)) from error
