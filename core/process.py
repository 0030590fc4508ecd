"""What every process of this program that serves does, member or worker: open its listeners, say that it is there, obey
signals."""

import gc
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager

import trio

from core import runtime_dir, welcome
from core.addresses import Url
from core.api.http import Listener, ListenError, open_tcp, open_unix
from core.config import Config, ConfigError
from core.credentials import Credentials
from core.service import Notifier, StartError
from core.tls.contexts import TlsFilesError

_logger = logging.getLogger(__name__)


def listen(config: Config) -> tuple[Credentials, list[Listener], list[Url]]:
    """Open every listener; with them what they show and the URLs that were bound. StartError, and then none is open."""
    listeners: list[Listener] = []
    bound: list[Url] = []
    try:
        credentials = Credentials(config)
        for url in config.listen_client_urls:
            opened = open_tcp(url.host, url.port, credentials.context if url.secure else None)
            listeners += opened
            bound.append(Url(url.scheme, url.host, opened[0].port))
        listeners.append(open_unix(config.socket))
        if config.fleet_socket is not None:
            listeners.append(open_unix(config.fleet_socket))
    except (ListenError, TlsFilesError) as error:
        for listener in listeners:
            listener.close()
        raise StartError(str(error)) from error
    return credentials, listeners, bound


def body_max(config: Config) -> int:
    """Bytes of a request body: the largest request of v3 is a third longer in base64, and has some JSON around it."""
    return config.max_request_bytes * 4 // 3 + 65_536


def collect_seldom() -> None:
    """Let Python look for cycles of garbage after so many new objects, and not at the modules. To be called before
    there is a loop that it would hold: it looks once at everything, for some 40 ms.

    A request makes some thirty and no cycle, so the default, 700, looks several times in each batch and finds nothing.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@contextmanager
def announced(config: Config, notifier: Notifier, bound: list[Url]) -> Iterator[None]:
    """Tell the command line, the service manager and people that requests are served."""
    node_file = None
    told = runtime_dir.describe(config.name, tuple(str(url) for url in bound), config.socket, config.data_dir)
    try:
        node_file = runtime_dir.write_node_file(told)
    except OSError as error:
        _logger.warning("the command line will not find this node by itself", extra={"why": str(error)})
    try:
        where = ", ".join(str(url) for url in bound)
        notifier.ready(f"serving {where}")
        _logger.info("ready", extra={"node": config.name, "endpoints": where, "data_dir": str(config.data_dir)})
        welcome.show(config, bound)
        yield
    finally:
        if node_file is not None:
            runtime_dir.remove_node_file(node_file)


async def obey(
    signals: AsyncIterator[int],
    config: Config,
    notifier: Notifier,
    take: Callable[[Config], None],
    renew_credentials: Callable[[], None],
) -> None:
    """Reload at each SIGHUP; return at the first other signal."""
    async for number in signals:
        if number != signal.SIGHUP:
            return
        notifier.reloading()
        try:
            config, restart = config.reload()
        except ConfigError as error:
            _logger.error("configuration not reloaded; going on as before", extra={"why": str(error)})
        else:
            take(config)
            _logger.info("configuration reloaded", extra={"needs_restart": ", ".join(restart) or "nothing"})
        renew_credentials()
        notifier.ready("serving")


async def cut_short(signals: AsyncIterator[int], scope: trio.CancelScope) -> None:
    """While requests in flight are finished: a second signal ends that."""
    async for number in signals:
        if number != signal.SIGHUP:
            _logger.warning("second signal: connections are cut off")
            scope.cancel()
            return
