"""Plays a case against a server, with every number that is the server's own replaced by a name."""

import base64
import http.client
import json
import re
import socket
from pathlib import Path
from typing import Any, NamedTuple

from tests.v3.table import Case, Step
from tests.whole.servers import HOST, Server

REVISIONS = frozenset(("revision", "create_revision", "mod_revision", "compact_revision", "hash_revision"))
IDS = frozenset(("cluster_id", "member_id", "ID", "leader", "memberID"))
HIDDEN = frozenset(("raft_term", "raftTerm", "raftIndex", "raftAppliedIndex", "token"))
SECONDS = 20.0
_OWN_ID = 1 << 40
"""Ids below this are the test's own."""


class Answer(NamedTuple):
    """What came back, with names for the server's own numbers."""

    status: int
    content_type: str
    body: Any


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__(HOST, timeout=SECONDS)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Player:
    """One case on one server."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._names: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    def play(self, case: Case) -> list[Answer]:
        """The answers to all steps."""
        return [self.ask(step) for step in case.steps]

    def ask(self, step: Step) -> Answer:
        """Send one request."""
        body = json.loads(step.body) if step.raw else _encoded(self._filled(step.body))
        headers = {"Content-Type": "application/json"}
        if step.token:
            headers["Authorization"] = self._tokens.get(step.token, step.token)
        connection = self._connection(step)
        try:
            connection.request(step.method, step.target, body.encode(), headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        kind = (response.getheader("Content-Type") or "").partition(";")[0]
        found = _parsed(text)
        if step.keep:
            self._tokens[step.keep] = found[0]["token"]
        return Answer(response.status, kind, self._named(found, step.about))

    def _connection(self, step: Step) -> http.client.HTTPConnection:
        if step.admin and self._server.kind == "corenode":
            return UnixConnection(self._server.data / "corenode.sock")
        return http.client.HTTPConnection(HOST, self._server.port, timeout=SECONDS)

    def _filled(self, text: str) -> str:
        return re.sub(r"\$[rm]\d+", lambda name: self._values.get(name[0], name[0]), text)

    def known(self, text: str) -> str:
        """The text with 0 in place of revisions that have not appeared yet."""
        return re.sub(r'"\$r\d+"', lambda name: name[0] if name[0].strip('"') in self._values else '"0"', text)

    def _name(self, kind: str, value: str) -> str:
        if kind + value not in self._names:
            name = f"${kind}{sum(each.startswith('$' + kind) for each in self._values) + 1}"
            self._names[kind + value] = name
            self._values[name] = value
        return self._names[kind + value]

    def _named(self, value: Any, about: frozenset[str]) -> Any:
        if isinstance(value, list):
            return [self._named(item, about) for item in value]
        if not isinstance(value, dict):
            return value
        found = {}
        for name, part in value.items():
            if name in ("error", "message") and isinstance(part, str):
                found[name] = part if part.startswith("etcdserver: ") else "words of the decoder"
            elif name in about or name in HIDDEN:
                found[name] = "about"
            elif name in REVISIONS and isinstance(part, str):
                found[name] = self._name("r", part)
            elif name in IDS and isinstance(part, str) and abs(int(part)) >= _OWN_ID:
                found[name] = self._name("m", part)
            else:
                found[name] = self._named(part, about)
        return found


def _encoded(text: str) -> str:
    """With base64 in place of `"b:..."`."""

    def encode(found: re.Match[str]) -> str:
        raw = json.loads(f'"{found[1]}"').encode("latin-1")
        return json.dumps(base64.b64encode(raw).decode())

    return re.sub(r'"b:((?:[^"\\]|\\.)*)"', encode, text)


def _parsed(text: str) -> list[Any]:
    """The JSON values of a body, one behind the other; or the text itself."""
    decoder = json.JSONDecoder()
    found = []
    place = 0
    while place < len(text.rstrip()):
        try:
            value, place = decoder.raw_decode(text, place + len(text[place:]) - len(text[place:].lstrip()))
        except ValueError:
            return [text]
        found.append(value)
    return found
