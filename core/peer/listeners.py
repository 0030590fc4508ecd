"""Listening on peer URLs."""

import errno
from collections.abc import Sequence
from dataclasses import dataclass

import trio

from core.addresses import Url
from core.peer.errors import PeerListenError
from core.peer.identity import plain_fault

_ADVICE = {
    errno.EADDRINUSE: "another process listens there; stop it or choose another port",
    errno.EADDRNOTAVAIL: "this host does not have that address",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EPERM: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
}


@dataclass(frozen=True)
class PeerListener:
    """An open listening socket, owned by whoever opened it until `PeerServer.serve` closes it."""

    url: Url
    """With the port that was really taken."""
    sockets: tuple[trio.SocketListener, ...]
    """One for each address of the host."""


async def open_listeners(urls: Sequence[Url]) -> list[PeerListener]:
    """Listen on each peer URL. PeerListenError says on which one not, and why."""
    opened: list[PeerListener] = []
    try:
        for url in urls:
            if plain_fault(url):
                raise PeerListenError(f"--listen-peer-urls: {plain_fault(url)}")
            opened.append(await _open(url))
    except BaseException:
        for listener in opened:
            for socket in listener.sockets:
                socket.socket.close()
        raise
    return opened


async def _open(url: Url) -> PeerListener:
    try:
        sockets = await trio.open_tcp_listeners(url.port, host=url.host)
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the address")
        raise PeerListenError(f"cannot listen on {url}: {error.strerror or error}; {advice}") from error
    port = int(sockets[0].socket.getsockname()[1])
    return PeerListener(Url(url.scheme, url.host, port), tuple(sockets))
