"""The HTTP/1.1 front end: bytes on sockets become requests for a handler, and its answers become bytes.

    def handler(request: Request, reply: Reply) -> None:        # synchronous, on the loop
        if request.path == b"/version":
            reply.send(Response(200, b"Content-Type: text/plain\\r\\n", b"1.0\\n"))
        elif request.path == b"/watch":
            reply.stream(produce)                                # async def produce(outlet): ...
        else:
            store.propose(command, lambda outcome: reply.send(render(outcome)))   # later, in the same loop

    frontend = Frontend(handler, Limits())
    listeners = [*open_tcp("127.0.0.1", 2379), *open_tcp("0.0.0.0", 2380, tls=context), open_unix(path)]
    await nursery.start(frontend.serve, listeners)    # returns when drained; `listeners[0].port` is the bound port
    ...
    frontend.drain(10.0)                              # on SIGTERM; `serve` returns within ten seconds

What it promises. Requests of one connection are answered in order, the next one is read when the one before is
answered. A request reaches the handler whole (`Limits.body_max`), or not at all. Client input raises nothing in the
handler's `reply`; if the client has gone, an answer is dropped. Every size and time is bounded (`Limits`), and what
exceeds a bound costs the connection that does it; when all connections are taken, the oldest that never sent a whole
request makes room. Who is turned away is a line in the log, so many a minute (`turned_away`). An exception of the
handler or a producer is a bug and ends `serve` (`core.api.router` lets mistakes over one request cost that request).

How. One Trio task serves all connections from one epoll set (`frontend`), edge-triggered and nested in Trio's own; a
connection (`connection`) is a small object that never waits. Plain requests are read by a lean recogniser
(`recognise`), all others by h11 (`judge`). Only a streamed response has a task (`outlet`). The refused alternative, a
Trio task for each connection with h11, is measured against this in `bench/frontend.py`.

Who owns what. `Hub` owns connections and the epoll set, `Frontend` the hub and, once `serve` runs, the listeners.
Cancelled, `serve` closes all at once; `drain` is the orderly way. A stream whose client goes is cancelled at its next
checkpoint; one half-closed counts as gone. A stream cut short is closed without its last chunk, so no client takes it
for whole. Nothing is kept that a crash could lose. Queues: at most one response piece, one request and `RECEIVE_SIZE`
bytes more wait for each connection; all of them together hold at most `Limits.held_max`.

A conversation (`conversation`) is a response that is sent while the body of its request comes, such as the watches of
v3: it has no task, so ten thousand that wait cost a few objects each. The loop calls its handler's side when there is
input, when it asked for a turn, and when it is over; it reads input only while the client takes what is sent to it.

Refused: HTTP/2 and upgrades (answered as plain HTTP/1.1), trailers (read and dropped).
"""

from core.api.http.frontend import Frontend
from core.api.http.limits import Limits
from core.api.http.listeners import Listener, ListenError, open_tcp, open_unix
from core.api.http.message import Caller, Handler, Line, Outlet, Reply, Request, Response, Talk
from core.api.http.statistics import Statistics

__all__ = [
    "Caller",
    "Frontend",
    "Handler",
    "Limits",
    "Line",
    "ListenError",
    "Listener",
    "Outlet",
    "Reply",
    "Request",
    "Response",
    "Statistics",
    "Talk",
    "open_tcp",
    "open_unix",
]
