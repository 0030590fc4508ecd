"""`/v2/auth` and what it restricts: one list of requests, asked of real etcd and of this node; the answers compared.

Indexes in bodies are left out; everything else must be the same, but for the differences that are listed with reasons.
"""

import base64
import contextlib
import http.client
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.whole.servers import HOST, Kind, Server, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing("etcd")), reason="needs Debian's package etcd-server")]

FORM = "application/x-www-form-urlencoded"

BEFORE = r"""
GET /v2/auth/enable
POST /v2/auth/enable
DELETE /v2/auth/enable
PUT /v2/auth/enable
GET /v2/auth/users
GET /v2/auth/users/
GET /v2/auth/roles
GET /v2/auth/roles/root
GET /v2/auth/roles/guest
GET /v2/auth/users/root
PUT /v2/auth/users
DELETE /v2/auth/roles
POST /v2/auth/users/x
GET /v2/auth/users/a/b
GET /v2/auth/users/a/../b
PUT /v2/auth/users/alice {
PUT /v2/auth/users/alice []
PUT /v2/auth/users/alice {"user":"bob","password":"x"}
PUT /v2/auth/users/alice {"user":"alice"}
PUT /v2/auth/users/alice {"user":"alice","roles":["r"]}
PUT /v2/auth/users/alice {"user":"alice","password":"wonder"}
PUT /v2/auth/users/alice {"user":"alice","password":"wonderland"}
PUT /v2/auth/users/alice {"user":"alice","password":"x","roles":["r"]}
PUT /v2/auth/users/alice {"user":"alice","roles":["r"],"grant":["s"]}
PUT /v2/auth/users/alice {"user":"alice","grant":["r","s"]}
PUT /v2/auth/users/alice {"user":"alice","grant":["t","s"]}
PUT /v2/auth/users/alice {"user":"alice","revoke":["t"]}
PUT /v2/auth/users/alice {"user":"alice","revoke":["s"]}
PUT /v2/auth/users/nobody {"user":"nobody","grant":["s"]}
GET /v2/auth/users/alice
GET /v2/auth/users
PUT /v2/auth/users/bob {"user":"bob","password":"builder","roles":["r","s"],"nonsense":1}
PUT /v2/auth/roles/r {
PUT /v2/auth/roles/r {"role":"s"}
PUT /v2/auth/roles/root {"role":"root"}
PUT /v2/auth/roles/root {"role":"root","grant":{"kv":{"read":["/x"]}}}
DELETE /v2/auth/roles/root
DELETE /v2/auth/roles/none
PUT /v2/auth/roles/none {"role":"none","grant":{"kv":{"read":["/x"],"write":[]}}}
PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":["/pub/*"],"write":["/mine/*","/exact"]}}}
PUT /v2/auth/roles/r {"role":"r"}
PUT /v2/auth/roles/r {"role":"r","permissions":{"kv":{"read":["/z"]}},"grant":{"kv":{"read":["/y"]}}}
PUT /v2/auth/roles/r {"role":"r","grant":{"kv":{"read":["/pub/*"]}}}
PUT /v2/auth/roles/r {"role":"r","grant":{"kv":{"write":["/exact"]}}}
PUT /v2/auth/roles/r {"role":"r","grant":{"kv":{"read":["/z"],"write":["/z"]}},"revoke":{"kv":{"write":["/exact"]}}}
PUT /v2/auth/roles/r {"role":"r","revoke":{"kv":{"write":["/none"]}}}
PUT /v2/auth/roles/r {"role":"r","revoke":{"kv":{"read":["/z"],"write":["/z","/none"]}}}
PUT /v2/auth/roles/r {"role":"r","grant":{"kv":{"read":["/mine/*"],"write":["/exact"]}}}
GET /v2/auth/roles/r
GET /v2/auth/users/alice
GET /v2/auth/users/bob
GET /v2/auth/users
PUT /v2/auth/roles/s {"role":"s","permissions":{"kv":{"read":["/b","/a"],"write":["/*"]}}}
PUT /v2/auth/roles/s {"role":"s","grant":{"kv":{"read":["/c"],"write":[]}}}
GET /v2/auth/users/bob
GET /v2/auth/roles
DELETE /v2/auth/roles/s
DELETE /v2/auth/roles/s
GET /v2/auth/roles/s
DELETE /v2/auth/users/none
PUT /v2/auth/users/bob {"user":"bob","revoke":["r"]}
PUT /v2/auth/users/gone {"user":"gone","password":"x"}
DELETE /v2/auth/users/gone
DELETE /v2/auth/users/gone
GET /v2/auth/users/gone
PUT /v2/auth/users/root {"user":"root","password":"secret"}
PUT /v2/auth/users/root {"user":"root","password":"secret"}
GET /v2/auth/users/root
PUT /v2/keys/pub/a value=1
PUT /v2/keys/mine/a value=1
PUT /v2/keys/exact value=1
PUT /v2/keys/other value=1
PUT /v2/auth/enable
"""
"""Asked by an admin: of etcd without credentials, of this node over its unix socket."""

AFTER = r"""
GET /v2/auth/enable
GET /v2/auth/users
GET /v2/auth/roles/r
PUT /v2/auth/enable
DELETE /v2/auth/enable
PUT /v2/auth/users/eve {"user":"eve","password":"x"}
DELETE /v2/auth/users/root
root:secret PUT /v2/auth/enable
root:wrong GET /v2/auth/users
alice:wonderland GET /v2/auth/users
alice:wonderland PUT /v2/auth/roles/x {"role":"x"}
nobody:x GET /v2/auth/users
root:secret GET /v2/auth/roles
root:secret GET /v2/auth/users
root:secret DELETE /v2/auth/users/root
root:secret GET /v2/auth/roles/guest
POST /v2/members {"peerURLs":["http://127.0.0.1:9"]}
alice:wonderland POST /v2/members {"peerURLs":["http://127.0.0.1:9"]}
DELETE /v2/members/1
GET /v2/keys/other
PUT /v2/keys/other value=2
alice:wonderland GET /v2/keys/pub/a
alice:wonderland GET /v2/keys/pub/none
alice:wonderland PUT /v2/keys/pub/a value=2
alice:wonderland GET /v2/keys/other
alice:wonderland GET /v2/keys/mine/a?quorum=true
alice:wonderland PUT /v2/keys/mine/a value=2
alice:wonderland PUT /v2/keys/mine/b value=2&prevExist=false
alice:wonderland POST /v2/keys/mine value=2
alice:wonderland POST /v2/keys/mine/queue value=2
alice:wonderland GET /v2/keys/mine/?recursive=true
alice:wonderland GET /v2/keys/mine?recursive=true
alice:wonderland GET /v2/keys/mine/queue?recursive=true
alice:wonderland GET /v2/keys/?recursive=true
alice:wonderland GET /v2/keys/
alice:wonderland DELETE /v2/keys/mine/queue?recursive=true
alice:wonderland DELETE /v2/keys/mine?recursive=true
alice:wonderland PUT /v2/keys/exact value=2
alice:wonderland GET /v2/keys/exact
alice:wonderland DELETE /v2/keys/exact?recursive=true
alice:wonderland DELETE /v2/keys/exact
alice:wonderland GET /v2/keys/mine/a?waitIndex=1&wait=true&recursive=true
alice:wonderland GET /v2/keys/other?wait=true
alice:wonderland PUT /v2/keys/other ttl=x
alice:wrong GET /v2/keys/pub/a
nobody:x GET /v2/keys/pub/a
garbage GET /v2/keys/pub/a
root:secret PUT /v2/keys/other value=3
root:secret GET /v2/keys/other
root:secret PUT /v2/auth/roles/guest {"role":"guest","revoke":{"kv":{"write":["/*"]}}}
PUT /v2/keys/other value=4
GET /v2/keys/other
GET /v2/keys/?recursive=true&sorted=true
HEAD /v2/keys/other
root:secret PUT /v2/auth/roles/guest {"role":"guest","revoke":{"kv":{"read":["/*"]}}}
GET /v2/keys/other
HEAD /v2/keys/other
bob:builder GET /v2/keys/other
root:secret PUT /v2/auth/users/bob {"user":"bob","grant":["root"]}
bob:builder GET /v2/keys/other
bob:builder GET /v2/auth/roles/guest
root:secret PUT /v2/auth/users/alice {"user":"alice","password":"new"}
alice:wonderland GET /v2/keys/pub/a
alice:new GET /v2/keys/pub/a
root:secret DELETE /v2/auth/users/alice
alice:new GET /v2/keys/pub/a
root:secret DELETE /v2/auth/roles/guest
GET /v2/keys/other
root:secret DELETE /v2/auth/enable
DELETE /v2/keys/mine?recursive=true
"""
"""Asked of both over TCP."""

_TAKEN = "a deleted role is taken from its users, so that one made later of the same name is not theirs"
DIFFERENT = {
    "GET /v2/auth/users/a/../b": (404, "a path is served at its clean form; Go's router answers 301"),
    'PUT /v2/auth/users/bob {"user":"bob","revoke":["r"]}': (200, _TAKEN),
    'root:secret PUT /v2/auth/users/bob {"user":"bob","grant":["root"]}': (200, _TAKEN),
    "alice:wonderland GET /v2/keys/mine/?recursive=true": (
        401,
        "patterns are held against the clean path; for etcd `/mine/` is within `/mine/*` though `/mine` is not",
    ),
}
"""Where the answers are meant to differ: our status, and why. Besides: the patterns of a role are in order and never
null; etcd's are as they were given, or null, from its creation to its first change."""


class Answer(NamedTuple):
    status: int
    body: Any
    headers: dict[str, str | None]


class _Socket(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(HOST, timeout=10)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(line: str, connection: http.client.HTTPConnection) -> Answer:
    """Send `[USER:PASSWORD] METHOD TARGET [BODY]`."""
    words = line.split(" ")
    headers = {}
    if words[0] not in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        credentials = words.pop(0)
        encoded = base64.b64encode(credentials.encode()).decode() if ":" in credentials else credentials
        headers["Authorization"] = f"Basic {encoded}"
    body = " ".join(words[2:])
    headers["Content-Type"] = FORM if words[1].startswith("/v2/keys") else "application/json"
    with contextlib.closing(connection):
        connection.request(words[0], words[1], body.encode(), headers)
        response = connection.getresponse()
        text = response.read().decode()
        shown = {name: response.getheader(name) for name in ("Content-Type", "Allow", "Location")}
        shown["X-Etcd-Cluster-Id"] = "there" if response.getheader("X-Etcd-Cluster-Id") else None
    return Answer(response.status, _meaning(text), shown)


def _meaning(text: str) -> Any:
    text = re.sub(r'"(modifiedIndex|createdIndex|index)":\d+', r'"\1":0', text)
    text = re.sub(r"/\d{20}", "/0", text)
    try:
        return json.loads(text)
    except ValueError:
        return text


def lines(table: str) -> list[str]:
    return table.strip().splitlines()


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[Kind, Server]]:
    with Server("corenode", tmp_path / "corenode") as ours, Server("etcd", tmp_path / "etcd") as theirs:
        yield {"corenode": ours, "etcd": theirs}


def _even(body: Any) -> Any:
    """With the patterns of roles in order, and never null."""
    if isinstance(body, dict):
        return {
            name: sorted(value or []) if name in ("read", "write") else _even(value) for name, value in body.items()
        }
    return [_even(item) for item in body] if isinstance(body, list) else body


def test_the_same_answers_as_etcd(servers: dict[Kind, Server]) -> None:
    ours, theirs = servers["corenode"], servers["etcd"]
    problems, different = [], {}
    for line, admin in [*((line, True) for line in lines(BEFORE)), *((line, False) for line in lines(AFTER))]:
        tcp = http.client.HTTPConnection(HOST, ours.port, timeout=10)
        found = ask(line, _Socket(ours.data / "corenode.sock") if admin else tcp)
        wanted = ask(line, http.client.HTTPConnection(HOST, theirs.port, timeout=10))
        if found._replace(body=_even(found.body)) == wanted._replace(body=_even(wanted.body)):
            continue
        different[line] = found.status
        if line not in DIFFERENT:
            problems.append(f"{line}\n    etcd     {wanted}\n    corenode {found}")
    assert not problems, "\n".join(problems)
    assert different == {line: status for line, (status, _) in DIFFERENT.items()}
