"""Rights that are taken away end the watches that rest on them, on a running node."""

import base64
import socket
import time
from pathlib import Path

import pytest

from tests.whole.servers import HOST, Server
from tests.whole.test_access_under_load import administer

pytestmark = pytest.mark.slow
AT_ONCE = 2.0
"""Seconds. It takes a fifth of one."""


def watch(server: Server, user: str = "") -> socket.socket:
    """A stream of changes that has begun."""
    shown = f"Authorization: Basic {base64.b64encode(user.encode()).decode()}\r\n" if user else ""
    connection = socket.create_connection((HOST, server.port), timeout=20)
    target = "/v2/keys/a?wait=true&stream=true&recursive=true"
    connection.sendall(f"GET {target} HTTP/1.1\r\nHost: localhost\r\n{shown}\r\n".encode())
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 200 "), head
    return connection


def cut_off(connection: socket.socket) -> float:
    """Seconds until a stream ends without its last chunk."""
    begun, received = time.monotonic(), b""
    while piece := connection.recv(65536):
        received += piece
    connection.close()
    assert not received.endswith(b"0\r\n\r\n"), "it must not look whole"
    return time.monotonic() - begun


def test_watches_end_with_the_rights_they_rest_on(tmp_path: Path) -> None:
    with Server("corenode", tmp_path) as server:
        administer(server, "PUT", "/v2/auth/users/root", {"user": "root", "password": "secret"})
        administer(server, "PUT", "/v2/auth/roles/r", {"role": "r", "permissions": {"kv": {"read": ["/a", "/a/*"]}}})
        for name in ("alice", "bob", "carol"):
            administer(server, "PUT", f"/v2/auth/users/{name}", {"user": name, "password": "x", "roles": ["r"]})
        administer(server, "PUT", "/v2/auth/roles/guest", {"role": "guest", "permissions": {"kv": {"read": []}}})
        anybody = watch(server)
        administer(server, "PUT", "/v2/auth/enable")
        assert cut_off(anybody) < AT_ONCE
        alice, bob, carol = (watch(server, f"{name}:x") for name in ("alice", "bob", "carol"))
        administer(server, "PUT", "/v2/auth/users/alice", {"user": "alice", "password": "y"})
        assert cut_off(alice) < AT_ONCE
        administer(server, "DELETE", "/v2/auth/users/bob")
        assert cut_off(bob) < AT_ONCE
        administer(server, "PUT", "/v2/keys/a", None)
        assert b'"key":"/a"' in carol.recv(65536), "who may go on goes on"
        administer(server, "PUT", "/v2/auth/users/carol", {"user": "carol", "revoke": ["r"]})
        assert cut_off(carol) < AT_ONCE
