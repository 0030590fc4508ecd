"""The loop: one task over an epoll set accepts, reads, calls the handler and writes for every connection."""

import contextlib
import errno
import resource
import select
import socket
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from time import perf_counter

import trio

from core.api.http import wire
from core.api.http.connection import Connection
from core.api.http.ending import expire, make_room, wind_up
from core.api.http.hub import INTEREST, Admit, Crowd, Hub
from core.api.http.limits import Limits
from core.api.http.listeners import Listener
from core.api.http.message import Handler
from core.api.http.statistics import Counters, Statistics
from core.api.http.turned_away import Kind

EVENTS_PER_TURN = 256
"""Events, and pipelined requests besides, that one look at the epoll set serves."""

ACCEPTS_PER_TURN = 64

SLICE_S = 0.002
"""After so many seconds of serving other tasks get their turn."""

FILES_RESERVED = 256
"""Open files left for the rest of the process."""

LOCAL_RESERVED = 64
"""Connections by unix socket that are let in when there is no room for others, so that an operator gets in."""

_OUT_OF_RESOURCES = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))


class Frontend:
    """Serves HTTP on listeners with one handler. `serve` once; `drain` and `statistics` from tasks of the same loop."""

    def __init__(
        self,
        handler: Handler,
        limits: Limits | None = None,
        wall: Callable[[], float] = time.time,
        admit: Admit = lambda _: "",
        opened: Collection[bytes] = frozenset(),
    ) -> None:
        """`admit` is asked once for each connection whose client showed a certificate. Requests for the paths `opened`
        are handed over with their head, for `Reply.converse`."""
        self._opened = opened
        self._handler = handler
        self._admit = admit
        self._limits = limits or Limits()
        self._wall = wall
        self._connections_max = self._limits.connections_max
        self._counters = Counters()
        self._hub: Hub | None = None
        self._listeners: dict[int, Listener] = {}
        self._handshakes: dict[Listener, Crowd] = {}
        """Those not finished, by listener."""
        self._paused: list[Listener] = []
        """Listeners taken out of the epoll set because files or memory ran out, until the next sweep."""
        self._scope = trio.CancelScope()

    async def serve(
        self, listeners: Sequence[Listener], *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Serve until drained or cancelled, then close listeners and connections. What the handler raises ends it."""
        self._connections_max = _make_room(self._limits.connections_max)
        try:
            async with trio.open_nursery() as streams:
                start = streams.start_soon
                hub = self._hub = Hub(self._handler, self._limits, self._counters, self._wall(), start, self._admit)
                hub.opened = self._opened
                hub.set_time(trio.current_time(), self._wall())
                for listener in listeners:
                    self._listeners[listener.socket.fileno()] = listener
                    self._handshakes[listener] = {}
                    hub.epoll.register(listener.socket.fileno(), select.EPOLLIN)
                streams.start_soon(self._sweep, hub)
                task_status.started()
                with self._scope:
                    await self._run(hub)
                streams.cancel_scope.cancel()
        finally:
            self._stop_listening(listeners)
            if self._hub is not None:
                self._hub.close()

    def drain(self, seconds: float) -> None:
        """Stop in order: no new connections, idle ones closed, streams cancelled, requests in flight finished within
        so many seconds, what is left then cut off. `serve` returns when that is done. Does nothing the second time."""
        if self._hub is None:
            self._scope.cancel()
        elif not self._hub.draining:
            self._hub.draining = True
            self._stop_listening(self._listeners.values())
            self._scope.deadline = trio.current_time() + seconds
            self._hub.wake()

    def review(self) -> None:
        """Ask `admit` again about every open connection, and close those it no longer lets in."""
        hub = self._hub
        if hub is None:
            return
        for connection in list(hub.connections.values()):
            certificate = connection.caller.certificate
            why = "" if certificate is None else hub.admit(certificate)
            if why:
                hub.turned_away(Kind.CERTIFICATE, connection.caller.address, why)
                connection.close()

    def statistics(self) -> Statistics:
        """The counts as of now; all zero before `serve`."""
        hub, counters = self._hub, self._counters
        return Statistics(
            connections=len(hub.connections) if hub is not None else 0,
            streams=counters.streams,
            held_bytes=hub.held if hub is not None else 0,
            accepted=counters.accepted,
            requests_recognised=counters.recognised,
            requests_judged=counters.judged,
            refused=dict(counters.refused),
        )

    async def _run(self, hub: Hub) -> None:
        poll, ready, connections, listeners = hub.epoll.poll, hub.ready, hub.connections, self._listeners
        while True:
            until = perf_counter() + SLICE_S
            events = poll(0, EVENTS_PER_TURN)
            calling = []
            for fd, mask in events:
                if perf_counter() > until:
                    await trio.lowlevel.checkpoint()
                    until = perf_counter() + SLICE_S
                connection = connections.get(fd)
                if connection is not None:
                    connection.on_event(mask)
                elif fd in listeners:
                    calling.append(listeners[fd])
            # Only now: a new connection may get the number of one closed above, and must not get its events.
            for listener in calling:
                self._accept(hub, listener)
            until = perf_counter() + SLICE_S
            while ready and perf_counter() < until:
                ready.popleft().go_on()
            if hub.draining and not _leave_busy(hub):
                return
            if ready or len(events) == EVENTS_PER_TURN:
                await trio.lowlevel.checkpoint()
            else:
                hub.parked = True
                await trio.lowlevel.wait_readable(hub.epoll.fileno())
                hub.parked = False

    def _accept(self, hub: Hub, listener: Listener) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            if hub.draining:
                return
            try:
                sock, caller = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OUT_OF_RESOURCES:
                    hub.counters.refused["files"] += 1
                    hub.epoll.unregister(listener.socket.fileno())
                    self._paused.append(listener)
                    return
                continue  # this one connection was gone before it was accepted
            if len(hub.connections) >= self._connections_max + LOCAL_RESERVED * listener.local:
                if not hub.newcomers:
                    hub.counters.refused["connections"] += 1
                    _turn_away(hub, sock, listener)
                    continue
                make_room(hub, next(iter(hub.newcomers)))
            handshakes = self._handshakes.get(listener) if listener.tls is not None else None
            if handshakes is not None and len(handshakes) >= self._limits.handshakes_max:
                make_room(hub, next(iter(handshakes)))
            hub.counters.accepted += 1
            hub.connections[sock.fileno()] = Connection(hub, sock, caller, listener.layer(), handshakes)
            hub.epoll.register(sock.fileno(), INTEREST)

    async def _sweep(self, hub: Hub) -> None:
        """Keep the time, end what is overdue, accept again."""
        while True:
            await trio.sleep(self._limits.sweep_s)
            now = trio.current_time()
            hub.set_time(now, self._wall())
            for connection in [found for found in hub.connections.values() if found.deadline < now]:
                expire(hub, connection)
            while self._paused:
                listener = self._paused.pop()
                if not hub.draining:
                    hub.epoll.register(listener.socket.fileno(), select.EPOLLIN)

    def _stop_listening(self, listeners: Iterable[Listener]) -> None:
        for listener in list(listeners):
            listener.close()
        self._listeners.clear()


def _leave_busy(hub: Hub) -> bool:
    """Close what is idle and cancel streams; whether connections are left."""
    for connection in list(hub.connections.values()):
        wind_up(connection)
    return bool(hub.connections)


def _turn_away(hub: Hub, sock: socket.socket, listener: Listener) -> None:
    """Say that there is no room, if the client can hear it at once."""
    with sock:
        if listener.tls is None:
            with contextlib.suppress(OSError):
                sock.send(wire.refusal(hub.heads, 503, "too many connections at this node; try again later"))


def _make_room(connections: int) -> int:
    """Raise the soft limit on open files as far as so many connections need and the hard one allows; returns how many
    connections there is room for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + FILES_RESERVED
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return min(connections, max(limit - FILES_RESERVED, limit // 2))
