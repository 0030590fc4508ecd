"""Events to many watches by the v3 gateway: one process writes, and reads every watch in one loop over an epoll set.

It is written in Python and the same for both sides; it takes a core of its own, as wrk does.
"""

import contextlib
import json
import select
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Self

from bench.wrk import Answers, LoadError
from tests.whole.servers import HOST

CREATED = b'"created":true'
EVENT = b'"mod_revision"'
PATIENCE_SECONDS = 20.0
WRITERS = 64


class MissingError(LoadError):
    """What was waited for did not come."""


def message(path: str, body: object) -> bytes:
    """A whole POST."""
    data = json.dumps(body).encode() if not isinstance(body, bytes) else body
    return b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(data), data)


def text(raw: str) -> str:
    return b64encode(raw.encode()).decode()


def watch_of(key: str) -> dict[str, object]:
    return {"create_request": {"key": text(key)}}


class Crowd:
    """Connections that watch, read in one loop. It counts marks in what they get. Use it in a `with`. MissingError."""

    def __init__(self, port: int, requests: Sequence[bytes], watches: int) -> None:
        self._poll = select.epoll()
        self._sockets: dict[int, socket.socket] = {}
        self._tails: dict[int, bytes] = {}
        for request in requests:
            sock = socket.create_connection((HOST, port))
            sock.sendall(request)
            sock.setblocking(False)
            self._sockets[sock.fileno()] = sock
            self._tails[sock.fileno()] = b""
            self._poll.register(sock.fileno(), select.EPOLLIN)
        try:
            self.wait(CREATED, watches)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for sock in self._sockets.values():
            sock.close()
        self._poll.close()

    def wait(self, mark: bytes, count: int, writers: "Writers | None" = None) -> None:
        """Read until so many marks came, and let writers go on meanwhile. MissingError."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        keep = len(mark) - 1
        while count > 0 or (writers is not None and writers.busy):
            if time.monotonic() > deadline:
                raise MissingError(f"{count} of {mark!r} did not come in {PATIENCE_SECONDS:g} s")
            for fd, _ in self._poll.poll(0.05):
                if writers is not None and fd in writers.sockets:
                    writers.go_on(fd)
                    continue
                data = self._sockets[fd].recv(1 << 20)
                if not data:
                    raise MissingError("the server ended a watch")
                data = self._tails[fd] + data
                count -= data.count(mark)
                self._tails[fd] = data[-keep:]

    def join(self, writers: "Writers") -> None:
        """Read the answers of writers in the same loop."""
        for fd in writers.sockets:
            self._poll.register(fd, select.EPOLLIN)


class Writers:
    """Connections that put one key after the other, each its next one when the last was answered."""

    def __init__(self, port: int, connections: int) -> None:
        self.sockets = {}
        for _ in range(connections):
            sock = socket.create_connection((HOST, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[sock.fileno()] = sock
        self.busy = 0
        self._next: Iterator[bytes] = iter(())

    def put(self, keys: Sequence[str]) -> None:
        """Begin to put these."""
        self._next = (message("/v3/kv/put", {"key": text(key), "value": text("v" * 64)}) for key in keys)
        for sock in self.sockets.values():
            self._send(sock)

    def go_on(self, fd: int) -> None:
        """An answer came: it is small, and all of it is there. LoadError."""
        answer = self.sockets[fd].recv(65536)
        if not answer.startswith(b"HTTP/1.1 200"):
            raise LoadError(f"a put was answered {answer[:300]!r}")
        self.busy -= 1
        self._send(self.sockets[fd])

    def _send(self, sock: socket.socket) -> None:
        request = next(self._next, None)
        if request is not None:
            self.busy += 1
            sock.sendall(request)

    def close(self) -> None:
        for sock in self.sockets.values():
            sock.close()


def one_key(port: int, watchers: int, seconds: float) -> Answers:
    """One writer, and so many watchers of the key it writes: a round is a put, until all have its event."""
    with Crowd(port, [message("/v3/watch", watch_of("one"))] * watchers, watchers) as crowd:
        return rounds(port, crowd, 1, lambda: ["one"], watchers, seconds)


def many_keys(port: int, watchers: int, seconds: float) -> Answers:
    """So many keys, each watched: a round puts each of them once over some connections, until all have their event."""
    keys = [f"key/{number:04}" for number in range(watchers)]
    with Crowd(port, [message("/v3/watch", watch_of(key)) for key in keys], watchers) as crowd:
        return rounds(port, crowd, WRITERS, lambda: keys, watchers, seconds)


def one_connection(port: int, watchers: int, seconds: float) -> Answers:
    """The watchers of one key, all on one connection."""
    body = json.dumps(watch_of("one")).encode() * watchers
    with Crowd(port, [message("/v3/watch", body)], watchers) as crowd:
        return rounds(port, crowd, 1, lambda: ["one"], watchers, seconds)


FANOUTS: Mapping[str, Callable[[int, int, float], Answers]] = {
    "fan-out": one_key,
    "fan-out of many keys": many_keys,
    "fan-out on one connection": one_connection,
}


def rounds(
    port: int, crowd: Crowd, connections: int, keys: Callable[[], Sequence[str]], events: int, seconds: float
) -> Answers:
    """Puts for so long. Requests are the events; times are those until the last event of a round has come."""
    writers = Writers(port, connections)
    crowd.join(writers)
    taken: list[float] = []
    with contextlib.closing(writers):
        end = time.monotonic() + seconds
        while not taken or time.monotonic() < end:
            start = time.monotonic()
            writers.put(keys())
            crowd.wait(EVENT, events, writers)
            taken.append(time.monotonic() - start)
    percentiles = [_quantile_ms(taken, part) for part in (0.5, 0.99, 0.999)]
    return Answers(events * len(taken), sum(taken), 0, *percentiles)


def _quantile_ms(taken: Sequence[float], part: float) -> float:
    return round(sorted(taken)[min(len(taken) - 1, int(part * len(taken)))] * 1e3, 3)
