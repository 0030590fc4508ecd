"""Plain requests over one kept connection, for tests that speak to one server a step at a time."""

import http.client
import json
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode

from tests.whole.servers import HOST

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True)
class Answer:
    """Status, headers (lower-case names) and raw body of one response."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def index(self) -> int:
        """What X-Etcd-Index says."""
        return int(self.headers["x-etcd-index"])


class Client:
    """One keep-alive connection; opens it again when the server closed it. Never repeats a request by itself."""

    def __init__(self, port: int, timeout: float = 10.0) -> None:
        self._connection = http.client.HTTPConnection(HOST, port, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def ask(self, method: str, target: str, form: dict[str, str] | None = None) -> Answer:
        """Send one request; a form makes the body."""
        body = urlencode(form) if form is not None else None
        self._connection.request(method, target, body, FORM if form is not None else {})
        response = self._connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def get(self, key: str, query: str = "") -> Answer:
        return self.ask("GET", f"/v2/keys{key}{query}")

    def put(self, key: str, value: str, **form: str) -> Answer:
        return self.ask("PUT", f"/v2/keys{key}", {"value": value, **form})

    def delete(self, key: str, query: str = "") -> Answer:
        return self.ask("DELETE", f"/v2/keys{key}{query}")
