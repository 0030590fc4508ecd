"""One connection: bytes in, requests to the handler, answers out. Driven by events; it never waits."""

import contextlib
import select
import socket

from core.api.http import wire
from core.api.http.answer import Answer
from core.api.http.conversation import Conversation
from core.api.http.hub import NEVER, Crowd, Hub, Produce
from core.api.http.judge import Judge, RefusedError, WrongProtocolError
from core.api.http.message import Caller, Request, Response, Talk
from core.api.http.outlet import StreamOutlet
from core.api.http.recognise import NEED_MORE, UNUSUAL, recognise
from core.api.http.secure import TlsFailedError, TlsLayer
from core.api.http.state import BUSY, CLOSED, FLUSHING, HANDSHAKE, IDLE, LINGERING, RECEIVING, STREAMING
from core.api.http.turned_away import Kind

RECEIVE_SIZE = 16384
"""Bytes read at once."""

DOWN = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
GONE = select.EPOLLHUP | select.EPOLLERR
IN = select.EPOLLIN
OUT = select.EPOLLOUT

TLS_HANDSHAKE = b"\x16"


class Connection:
    """One client. Owned by the hub; `close` may be called at any time and any number of times."""

    __slots__ = (
        *("_held", "_hub", "_judge", "_socket", "_tls", "caller", "deadline", "ended", "head_only", "http_1_1"),
        *("handshakes", "keep_alive", "newcomer", "out", "outlet", "pending", "plain", "queued", "readable", "state"),
    )

    def __init__(
        self, hub: Hub, sock: socket.socket, caller: Caller, tls: TlsLayer | None, handshakes: Crowd | None
    ) -> None:
        """With `tls`, `handshakes` are those of the listener that are not finished."""
        self._hub = hub
        self._socket = sock
        self._tls = tls
        self._judge: Judge | None = None
        self._held = 0
        self.caller = caller
        self.state = IDLE if tls is None else HANDSHAKE
        self.deadline = hub.idle_deadline if tls is None else hub.deadline(hub.limits.handshake_s)
        """Loop time at which the sweep ends what goes on now."""
        self.newcomer = True
        """It has not sent a whole request yet."""
        self.handshakes = handshakes
        hub.newcomers[self] = None
        if handshakes is not None:
            handshakes[self] = None
        self.pending = b""
        """Received and not yet used."""
        self.readable = False
        """There may be more to read, or the end."""
        self.ended = False
        """The client has sent its last byte, or is gone."""
        self.queued = False
        """In the hub's queue of those that go on."""
        self.out: bytearray | None = None
        """Handed over and not yet taken by the kernel."""
        self.outlet: StreamOutlet | Conversation | None = None
        self.plain = True
        """The response goes out as it is: keep-alive, with body."""
        self.keep_alive = True
        self.head_only = False
        self.http_1_1 = True

    # Input

    def on_event(self, mask: int) -> None:
        """Something happened to the socket."""
        state = self.state
        if state is IDLE and mask & IN and not mask & DOWN:
            self._receive()
            return
        if mask & OUT and self.out is not None:
            self._flush()
            state = self.state
        if state is IDLE or state is RECEIVING or state is HANDSHAKE or state is LINGERING:
            if mask & ~OUT:
                if mask & DOWN:
                    self.readable = self.ended = True
                if self._judge is None or not self._judge.unfinished:
                    self._receive()
        elif mask & (DOWN if state is STREAMING else GONE):
            self.close()
        elif mask & ~OUT:
            self.readable = True
            self.ended = self.ended or mask & DOWN != 0
            if state is STREAMING and self._judge is not None:
                self._hub.resume(self)

    def go_on(self) -> None:
        """Take the next step with what is here; called from the hub's queue."""
        self.queued = False
        if isinstance(self.outlet, Conversation):
            self.outlet.go_on()
        elif self.state is BUSY:
            return
        elif self.state is IDLE and self.pending:
            data, self.pending = self.pending, b""
            self._advance(data)
        elif self._judge is not None and self._judge.unfinished:
            self._consult(b"")
        elif self.readable and (self.state in (IDLE, RECEIVING, HANDSHAKE, LINGERING)):
            self._receive()

    def _receive(self) -> None:
        try:
            data = self._socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            self.readable = False
            return
        except OSError:
            data = b""
        if not data:
            if self.state is HANDSHAKE and self._tls is not None and self._tls.begun:
                self._hub.counters.refused["handshake"] += 1
                self._hub.turned_away(Kind.HANDSHAKE, self.caller.address, "it left in the middle of the TLS handshake")
            self.close()
            return
        if len(data) == RECEIVE_SIZE:
            self.readable = True
        if self._tls is not None or self.state is LINGERING:
            data = self._filter(data)
        if data:
            self._advance(self.pending + data if self.pending else data)
        elif self.readable and self.state is not CLOSED:
            self._hub.resume(self)

    def _filter(self, data: bytes) -> bytes:
        """What of received bytes is HTTP to be served."""
        tls = self._tls
        if self.state is LINGERING or tls is None:
            return b""
        if self.state is HANDSHAKE and not data.startswith(TLS_HANDSHAKE) and not tls.begun:
            self._tls = None
            self._leave_handshakes()
            self._hub.turned_away(Kind.PROTOCOL, self.caller.address, "it does not speak TLS, and this port does")
            self.refuse(400, "this port speaks TLS; use https://")
            return b""
        try:
            plain = tls.decrypt(data)
        except TlsFailedError as error:
            kind = Kind.HANDSHAKE if self.state is HANDSHAKE else Kind.RECORD
            self._hub.counters.refused[kind.value] += 1
            self._hub.turned_away(kind, self.caller.address, str(error))
            self._put(tls.outgoing())
            self.close()
            return b""
        self._put(tls.outgoing())
        if self.state is HANDSHAKE and tls.finished:
            # Without a session ticket nothing goes back now, and a client that has not set TCP_NODELAY holds its first
            # request back until the kernel sends its delayed acknowledgement, 40 ms later.
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            self.state = IDLE
            self._leave_handshakes()
            self.deadline = self._hub.idle_deadline
            if not self._admitted(tls.certificate):
                return b""
        if tls.ended and not plain:
            self.close()
        return plain

    def _admitted(self, certificate: bytes | None) -> bool:
        """Whether the client's certificate lets it in; if not, it is told."""
        why = "" if certificate is None else self._hub.admit(certificate)
        if why:
            self._hub.turned_away(Kind.CERTIFICATE, self.caller.address, why)
            self.refuse(403, why)
            return False
        self.caller = Caller(self.caller.address, self.caller.local, certificate)
        return True

    def _advance(self, data: bytes) -> None:
        """Find the next request in all that is here and pass it on."""
        if self._judge is None:
            found = recognise(data, self.caller)
            if found is NEED_MORE:
                self.pending = data
                self._wait(len(data))
                return
            if found is not UNUSUAL and len(found[0].body) <= self._hub.limits.body_max:
                request, used, keep_alive = found
                self.pending = data[used:] if used < len(data) else b""
                self.keep_alive = keep_alive
                self.http_1_1 = True
                self.head_only = request.method == b"HEAD"
                self.plain = keep_alive and not self.head_only
                self._hub.counters.recognised += 1
                self._serve(request)
                return
            self._judge = Judge(self._hub.limits, self.caller)
            self.pending = b""
        self._consult(data)

    def _consult(self, data: bytes) -> None:
        """Let h11 read on."""
        judge = self._judge
        if judge is None:
            raise RuntimeError("no request is being judged")
        judge.feed(data)
        if isinstance(self.outlet, Conversation):
            if self.outlet.hear(judge):
                self._judge = None
            return
        try:
            request = judge.step()
        except RefusedError as refused:
            if isinstance(refused, WrongProtocolError):
                self._hub.turned_away(Kind.PROTOCOL, self.caller.address, "it speaks TLS, and this port does not")
            self.refuse(refused.status, refused.text)
            return
        if request is None:
            if judge.take_continue():
                self.transmit(wire.CONTINUE)
            opening = judge.opening(self._hub.opened) if self.outlet is None else None
            if opening is not None:
                self._open(opening)
                return
            self._wait(judge.size)
            if judge.unfinished and self.state is RECEIVING:
                self._hub.resume(self)
            return
        self._judge = None
        self.pending = judge.rest
        self.keep_alive = judge.keep_alive
        self.http_1_1 = judge.http_1_1
        self.head_only = request.method == b"HEAD"
        self.plain = self.keep_alive and self.http_1_1 and not self.head_only
        self._hub.counters.judged += 1
        self._serve(request)

    def _open(self, request: Request) -> None:
        """Serve a request whose body is still to come. Whoever leaves it unread gets no further request."""
        self.keep_alive = self.plain = self.head_only = False
        self.http_1_1 = True
        self._hub.counters.judged += 1
        self._serve(request)

    def read_on(self) -> None:
        """Read more of the body of a conversation."""
        if self._judge is not None and self._judge.unfinished:
            self._consult(b"")
        elif self._judge is not None and self.readable:
            self._receive()

    def _wait(self, size: int) -> None:
        """Wait for the rest of a request of which `size` bytes are held here."""
        if self.state is CLOSED:
            return
        self._hold(size)
        if self._hub.held > self._hub.limits.held_max:
            self._hub.counters.refused["memory"] += 1
            self.refuse(503, "too many unfinished requests at this node; try again later")
            return
        if self.state is IDLE:
            self.state = RECEIVING
            self.deadline = self._hub.deadline(self._hub.limits.request_s)
        if self.readable:
            self._hub.resume(self)

    def _serve(self, request: Request) -> None:
        if self.newcomer:
            self.newcomer = False
            del self._hub.newcomers[self]
        if self._held:
            self._hold(0)
        self.state = BUSY
        self._hub.handler(request, Answer(self, request.body))
        if self.state is BUSY:
            self.deadline = NEVER

    # Output

    def answer(self, response: Response) -> None:
        """Send a whole response."""
        if self.state is not BUSY:
            return  # the client has gone
        self._judge = None
        hub = self._hub
        body = response.body
        status = response.status
        if self.plain and status not in wire.BODILESS and not hub.draining:
            length = b"Content-Length: %d\r\n" % len(body)
            data = b"".join((hub.heads[status], length, response.headers, b"\r\n", body))
        else:
            data = self._odd_response(response)
        if self._tls is None:
            self._put(data)
        else:
            self.transmit(data)
        self._complete()

    def _odd_response(self, response: Response) -> bytes:
        """A response without body, or the last one on this connection."""
        if self._hub.draining:
            self.keep_alive = False
        bodiless = response.status in wire.BODILESS
        length = b"" if bodiless else b"Content-Length: %d\r\n" % len(response.body)
        close = wire.CLOSE if not self.keep_alive else b"" if self.http_1_1 else wire.KEEP_ALIVE
        body = b"" if bodiless or self.head_only else response.body
        return b"%b%b%b%b\r\n%b" % (self._hub.heads[response.status], length, close, response.headers, body)

    def stream(self, produce: Produce) -> None:
        """Answer from a task of its own."""
        if self.state is not BUSY:
            return  # the client has gone
        if self.ended:
            self.close()
            return
        self._judge = None
        self.state = STREAMING
        self.deadline = NEVER
        self.outlet = StreamOutlet(self)
        self._hub.counters.streams += 1
        self._hub.spawn(self.outlet.run, produce)

    def converse(self, talk: Talk, body: bytes) -> None:
        """Answer while the body comes, if it is not here already."""
        if self.state is not BUSY:
            return  # the client has gone
        if self.ended:
            self.close()
            return
        self.state = STREAMING
        self.deadline = NEVER
        conversation = self.outlet = Conversation(self, self._hub, talk)
        self._hub.counters.streams += 1
        conversation.begin(body if self._judge is None else self._judge.take_body(), last=self._judge is None)
        if self._judge is not None:
            self._hub.resume(self)

    def begin_stream(self, status: int, headers: bytes, length: int | None = None) -> None:
        """Send the head of a streamed response, with its length if that is known."""
        if not self.http_1_1 or self._hub.draining:
            self.keep_alive = False
        framing = wire.framing(length, chunked=self.http_1_1)
        close = b"" if self.keep_alive else wire.CLOSE
        self.transmit(b"%b%b%b%b\r\n" % (self._hub.heads[status], framing, close, headers))

    def limit_write(self) -> None:
        """The client must take what waits for it in bounded time."""
        if self.out is not None:
            self.deadline = self._hub.write_deadline(len(self.out))

    def end_stream(self, *, begun: bool, whole: bool, chunked: bool = True) -> None:
        """The producer is done; with `whole` False it was cancelled, and the client must not take the body as whole."""
        self.outlet = None
        self._hub.counters.streams -= 1
        if self.state is CLOSED:
            return
        if not begun and self._hub.draining:
            self.refuse(503, "this node is stopping; try again, or another node")
        elif not begun or not (whole or self.head_only):
            self.close()
        else:
            if self.http_1_1 and chunked and not self.head_only:
                self.transmit(wire.LAST_CHUNK)
            self._complete()

    def refuse(self, status: int, text: str) -> None:
        """Answer with one line of text and close, but let the client read it first."""
        self._judge = None
        self.pending = b""
        self._hold(0)
        self.keep_alive = False
        self.readable = True
        self._hub.counters.refused[str(status)] += 1
        self.transmit(wire.refusal(self._hub.heads, status, text))
        self._complete()

    def transmit(self, data: bytes) -> None:
        """Send, or keep for later what the kernel does not take now."""
        if self._tls is not None:
            try:
                data = self._tls.encrypt(data)
            except TlsFailedError:
                self.close()
                return
        self._put(data)

    def _put(self, data: bytes) -> None:
        if self.state is CLOSED or not data:
            return
        if self.out is not None:
            self.out += data
            self._hold_output()
            return
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(data):
            self.out = bytearray(memoryview(data)[sent:])
            self._hold_output()

    def _flush(self) -> None:
        """The kernel takes more."""
        out = self.out
        if out is None:
            return
        try:
            while out:
                del out[: self._socket.send(out)]
        except BlockingIOError:
            self._hold(len(out))
            return
        except OSError:
            self.close()
            return
        self.out = None
        self._hold(0)
        if self.state is FLUSHING:
            self._complete()
        elif self.outlet is not None:
            self.deadline = NEVER
            self.outlet.resume()

    def _complete(self) -> None:
        """The response is handed over: go on with the next request, or close."""
        if self.state is CLOSED:
            return
        hub = self._hub
        if self.out is not None:
            if self.state is not FLUSHING:
                self.state = FLUSHING
                self.deadline = hub.write_deadline(len(self.out))
        elif not self.keep_alive or hub.draining:
            self._finish()
        else:
            self.state = IDLE
            self.deadline = hub.idle_deadline
            if self.pending or self.readable:
                hub.resume(self)

    def _finish(self) -> None:
        """Close after the last response. With input unread a plain close would make the kernel send a reset,
        which may overtake the response: say the end, and read until the client has closed too."""
        if self._tls is not None:
            self._put(self._tls.close())
        if self.state is CLOSED or not (self.pending or self.readable):
            self.close()
            return
        self.pending = b""
        self.state = LINGERING
        self.deadline = self._hub.deadline(self._hub.limits.linger_s)
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            self.close()
            return
        self._hub.resume(self)

    # Limits and the end

    def close(self) -> None:
        """Close at once. Whoever produces a stream for it is cancelled."""
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self._hold(0)
        self.pending = b""
        self.out = None
        self._judge = None
        self._tls = None
        self._hub.newcomers.pop(self, None)
        self._leave_handshakes()
        self._hub.forget(self._socket.fileno())
        self._socket.close()
        if self.outlet is not None:
            self.outlet.cancel()

    def _leave_handshakes(self) -> None:
        if self.handshakes is not None:
            self.handshakes.pop(self, None)
            self.handshakes = None

    def _hold_output(self) -> None:
        if self.out is not None:
            self._hold(len(self.out))
        if self._hub.held > self._hub.limits.held_max:
            self._hub.counters.refused["memory"] += 1
            self.close()

    def _hold(self, size: int) -> None:
        """Account for the bytes held for this connection: of a request or of a response, not of both."""
        self._hub.held += size - self._held
        self._held = size
