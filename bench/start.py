"""How long a member takes from its start to the first request that it serves."""

import contextlib
import socket
import time

from bench.servers import Cluster, ServerError
from tests.whole.servers import HOST

PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.002
_PUT = (
    b"PUT /v2/keys/first HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    b"Content-Length: 7\r\nConnection: close\r\n\r\nvalue=x"
)


def first_answer(cluster: Cluster) -> float:
    """Start its one member; seconds until a PUT was answered with success. ServerError."""
    (member,) = cluster.members
    begun = time.monotonic()
    member.start(cluster.names)
    while not _put(member.plain_port):
        member.require_running()
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise ServerError(f"{cluster.program.name} serves nothing. {member.output()}")
        time.sleep(_PAUSE_SECONDS)
    return round(time.monotonic() - begun, 3)


def _put(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(_PUT)
        return connection.recv(64).startswith((b"HTTP/1.1 200", b"HTTP/1.1 201"))
    return False
