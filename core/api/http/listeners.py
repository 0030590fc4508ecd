"""Listening sockets: TCP, unix, with or without TLS."""

import errno
import os
import socket
import ssl
import stat
import struct
from pathlib import Path

from core.api.http.message import Caller
from core.api.http.secure import TlsLayer

BACKLOG = 4096
UNIX_PATH_MAX = 107
"""Bytes of a path that fit into a unix socket address."""

_CREDENTIALS = struct.Struct("=iII")  # pid, uid, gid: struct ucred


class ListenError(Exception):
    """A listener cannot be opened. The text says why and what to do."""


class Listener:
    """An open listening socket. Whoever opened it passes it to `Frontend.serve`, which closes it."""

    def __init__(self, sock: socket.socket, name: str, tls: ssl.SSLContext | None, path: Path | None) -> None:
        self.socket = sock
        self.name = name
        """For people: `http://127.0.0.1:2379` or `unix:/run/corenode.sock`."""
        self.tls = tls
        self._path = path
        self._inode = path.stat().st_ino if path is not None else 0

    @property
    def port(self) -> int:
        """The TCP port, 0 for a unix socket."""
        return 0 if self._path is not None else int(self.socket.getsockname()[1])

    @property
    def local(self) -> bool:
        """Whether only processes of this host can connect, by a file that its mode protects."""
        return self._path is not None

    def accept(self) -> tuple[socket.socket, Caller]:
        """The next connection that waits, non-blocking; OSError as from `socket.accept`."""
        sock, address = self.socket.accept()
        sock.setblocking(False)
        if self._path is not None:
            _, uid, _ = _CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
            return sock, Caller("unix", local=uid in (0, os.geteuid()))
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        return sock, Caller(f"{host}:{address[1]}", plain=self.tls is None)

    def layer(self) -> TlsLayer | None:
        """The TLS state for a new connection."""
        return None if self.tls is None else TlsLayer(self.tls)

    def close(self) -> None:
        """Stop listening; the socket file goes if it is still the one made here."""
        self.socket.close()
        path, self._path = self._path, None
        if path is not None:
            try:
                if path.stat().st_ino == self._inode:
                    path.unlink()
            except FileNotFoundError:
                pass


def open_tcp(host: str, port: int, tls: ssl.SSLContext | None = None) -> list[Listener]:
    """Listen on every address of `host` (a name or an address, v4 or v6). ListenError says which one and why not."""
    scheme = "http" if tls is None else "https"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, UnicodeError) as error:
        raise ListenError(f"cannot listen on {host}:{port}: {host} is no address of this host ({error})") from error
    listeners: list[Listener] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            sock = socket.socket(family, kind, protocol)
            text = f"[{address[0]}]" if family == socket.AF_INET6 else str(address[0])
            try:
                _listen_tcp(sock, address)
            except OSError as error:
                sock.close()
                raise ListenError(f"cannot listen on {text}:{port}: {error.strerror}; {_advice(error)}") from error
            listeners.append(Listener(sock, f"{scheme}://{text}:{sock.getsockname()[1]}", tls, None))
    except ListenError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listen_tcp(sock: socket.socket, address: tuple[object, ...]) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # Linux: accepted sockets inherit it
    if sock.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    sock.bind(address)
    sock.listen(BACKLOG)


def _advice(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there; stop it or choose another port"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this host does not have that address"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "ports below 1024 need root or CAP_NET_BIND_SERVICE"
    return "check the address"


def open_unix(path: Path) -> Listener:
    """Listen on a unix socket with mode 0600. The socket file of a dead process is replaced, of a live one never."""
    if len(os.fsencode(path)) > UNIX_PATH_MAX:
        raise ListenError(f"cannot listen on {path}: longer than {UNIX_PATH_MAX} bytes; choose a shorter path")
    _clear(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        os.fchmod(sock.fileno(), 0o600)  # Linux: bind makes the file with this mode, so it is never open to others
        sock.bind(os.fspath(path))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"cannot listen on {path}: {error.strerror}; check its directory") from error
    return Listener(sock, f"unix:{path}", None, path)


def _clear(path: Path) -> None:
    """Remove a socket file nobody listens on."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"cannot listen on {path}: {error.strerror}; check its directory") from error
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on {path}: it exists and is no socket; move it away or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(os.fspath(path))
        except ConnectionRefusedError:
            path.unlink()
            return
        except OSError as error:
            if error.errno != errno.EAGAIN:
                raise ListenError(f"cannot listen on {path}: {error.strerror}; check the file") from error
            raise ListenError(f"cannot listen on {path}: a live process listens there") from error
        pid = _CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))[0]
    raise ListenError(f"cannot listen on {path}: process {pid} listens there; stop it or choose another path")
