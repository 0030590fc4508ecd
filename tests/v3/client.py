"""Small clients of both dialects for tests with whole servers."""

import base64
import http.client
import json
from typing import Any, NamedTuple
from urllib.parse import urlencode

from tests.v3.compare import UnixConnection
from tests.whole.servers import HOST, Server

SECONDS = 20.0


class Answer(NamedTuple):
    """A status and the JSON that came with it."""

    status: int
    body: Any


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def plain(text: str) -> bytes:
    return base64.b64decode(text)


class V3:
    """Requests of v3 to one server; over its unix socket if `admin`."""

    def __init__(self, server: Server, *, token: str = "", admin: bool = False) -> None:
        self._server = server
        self._token = token
        self._admin = admin

    def ask(self, path: str, body: object = None, *, raw: bytes | None = None) -> Answer:
        """POST to a path below `/v3/`; bytes in values become base64."""
        connection = (
            UnixConnection(self._server.data / "corenode.sock")
            if self._admin
            else http.client.HTTPConnection(HOST, self._server.port, timeout=SECONDS)
        )
        headers = {"Content-Type": "application/json"} | ({"Authorization": self._token} if self._token else {})
        try:
            sent = json.dumps(_written(body or {})).encode() if raw is None else raw
            connection.request("POST", f"/v3/{path}", sent, headers)
            response = connection.getresponse()
            text = response.read()
        finally:
            connection.close()
        return Answer(response.status, json.loads(text) if text.startswith((b"{", b"[")) else text.decode())

    def good(self, path: str, body: object = None) -> Any:
        """The body of a success."""
        answer = self.ask(path, body)
        assert answer.status == 200, answer
        return answer.body

    def get(self, key: bytes | str) -> Any:
        """A key as v3 shows it, or None."""
        kvs = self.good("kv/range", {"key": _bytes(key)}).get("kvs", [None])
        return kvs[0]

    def put(self, key: bytes | str, value: bytes | str = b"", **more: object) -> int:
        """Store a value; the revision."""
        answer = self.good("kv/put", {"key": _bytes(key), "value": _bytes(value), **more})
        return int(answer["header"]["revision"])


class V2:
    """Requests of v2 to one server."""

    def __init__(self, server: Server, user: str = "") -> None:
        self._server = server
        self._user = user

    def ask(self, method: str, target: str, **form: object) -> Answer:
        """One request below `/v2/keys`."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        if self._user:
            headers["Authorization"] = f"Basic {b64(self._user)}"
        connection = http.client.HTTPConnection(HOST, self._server.port, timeout=SECONDS)
        try:
            connection.request(method, f"/v2/keys{target}", urlencode(form), headers)
            response = connection.getresponse()
            return Answer(response.status, json.loads(response.read()))
        finally:
            connection.close()

    def node(self, path: str) -> Any:
        """The node at a path."""
        answer = self.ask("GET", path)
        assert answer.status == 200, answer
        return answer.body["node"]

    def wait(self, path: str, index: int, *, recursive: bool = True) -> Any:
        """The first event from an index on."""
        query = f"?wait=true&waitIndex={index}" + ("&recursive=true" if recursive else "")
        answer = self.ask("GET", path + query)
        assert answer.status == 200, answer
        return answer.body


def _bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _written(value: object) -> Any:
    if isinstance(value, bytes):
        return b64(value)
    if isinstance(value, dict):
        return {name: _written(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_written(part) for part in value]
    return value
