"""What `corenode bench` sends: requests of both dialects as bytes.

Keys are PREFIX/DIRECTORY/KEY, ten keys in a directory, so that a range is a directory in v2 and a prefix in v3.
"""

import random
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

V2, V3 = "v2", "v3"
PUT, GET, RANGE, TXN, MIXED, WATCH = OPERATIONS = ("put", "get", "range", "txn", "mixed", "watch")
RANGE_KEYS = 10
"""Keys of a directory."""
MIXED_READS = 9
"""Reads for each write."""
_FRESH = 16
"""Digits at the beginning of a value that are never the same."""
_FILL_BATCH = 100
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"


class Request(NamedTuple):
    """A whole request, and whether it writes: then no answer means an outcome that is not known."""

    data: bytes
    writes: bool


@dataclass(frozen=True)
class Plan:
    """What is asked."""

    operation: str
    dialect: str
    prefix: str
    """A path, of which everything below belongs to this run."""
    keys: int
    value_bytes: int
    batch: int
    """Puts of a transaction."""
    local: bool
    """Whether a read may be answered by one member from its memory."""


class Requests:
    """Requests with random keys and values."""

    def __init__(self, plan: Plan, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        self._plan = plan
        self.dialect = plan.dialect
        shown = b"".join(b"%b: %b\r\n" % header for header in headers)
        self._headers = b"Host: localhost\r\n" + shown
        self._random = random.Random()  # noqa: S311
        self._pad = "x" * max(0, plan.value_bytes - _FRESH)
        self._operations = {PUT: self._put, GET: self._get, RANGE: self._range, TXN: self._txn, MIXED: self._mixed}

    def next(self) -> Request:
        """The next one of the load."""
        return self._operations[self._plan.operation](self._random.randrange(self._plan.keys))

    def fill(self) -> Iterator[Request]:
        """Write every key once."""
        numbers = range(self._plan.keys)
        if self._plan.dialect == V2:
            yield from map(self._put, numbers)
            return
        # What a request may carry, 1.5 MiB, holds a batch of small values only.
        batch = max(1, min(_FILL_BATCH, (1 << 20) // (2 * self._plan.value_bytes)))
        for first in range(0, len(numbers), batch):
            yield self._puts(numbers[first : first + batch])

    def path(self, number: int) -> str:
        return f"{self._plan.prefix}/{number // RANGE_KEYS:06}/{number % RANGE_KEYS}"

    def value(self) -> str:
        fresh = f"{self._random.randrange(10**_FRESH):0{_FRESH}}"
        return (fresh + self._pad)[: self._plan.value_bytes]

    def write(self, path: str, value: str) -> Request:
        """A put of one key."""
        if self._plan.dialect == V2:
            return Request(self.message("PUT", f"/v2/keys{path}", f"value={value}", _FORM), True)
        body = f'{{"key":"{text(path)}","value":"{text(value)}"}}'
        return Request(self.message("POST", "/v3/kv/put", body, _JSON), True)

    def message(self, method: str, target: str, body: str = "", kind: str = _JSON) -> bytes:
        """A whole request of HTTP/1.1."""
        head = f"{method} {target} HTTP/1.1\r\n".encode() + self._headers
        if not body:
            return head + b"\r\n"
        data = body.encode()
        return b"%bContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (head, kind.encode(), len(data), data)

    def watched(self, beginning: str) -> Request:
        """A put of the watched key, with a value that begins so."""
        return self.write(f"{self._plan.prefix}/watched", beginning + "x" * (self._plan.value_bytes - len(beginning)))

    def watch(self) -> bytes:
        """The events of that key, without an end."""
        path = f"{self._plan.prefix}/watched"
        if self._plan.dialect == V2:
            return self.message("GET", f"/v2/keys{path}?wait=true&stream=true")
        return self.message("POST", "/v3/watch", f'{{"create_request":{{"key":"{text(path)}"}}}}')

    def _put(self, number: int) -> Request:
        return self.write(self.path(number), self.value())

    def _get(self, number: int) -> Request:
        if self._plan.dialect == V2:
            query = "" if self._plan.local else "?quorum=true"
            return Request(self.message("GET", f"/v2/keys{self.path(number)}{query}"), False)
        return self._read(f'"key":"{text(self.path(number))}"')

    def _range(self, number: int) -> Request:
        directory = self.path(number).rpartition("/")[0]
        if self._plan.dialect == V2:
            query = "" if self._plan.local else "?quorum=true"
            return Request(self.message("GET", f"/v2/keys{directory}{query}"), False)
        return self._read(f'"key":"{text(directory + "/")}","range_end":"{text(directory + "0")}"')

    def _read(self, keys: str) -> Request:
        how = ',"serializable":true' if self._plan.local else ""
        return Request(self.message("POST", "/v3/kv/range", f"{{{keys}{how}}}", _JSON), False)

    def _mixed(self, number: int) -> Request:
        return self._get(number) if self._random.randrange(MIXED_READS + 1) else self._put(number)

    def _txn(self, number: int) -> Request:
        keys = self._plan.keys
        return self._puts([(number + more) % keys for more in range(self._plan.batch)])

    def _puts(self, numbers: Sequence[int]) -> Request:
        puts = [
            f'{{"request_put":{{"key":"{text(self.path(number))}","value":"{text(self.value())}"}}}}'
            for number in numbers
        ]
        return Request(self.message("POST", "/v3/kv/txn", f'{{"success":[{",".join(puts)}]}}', _JSON), True)


def text(raw: str) -> str:
    """As the gateway of v3 writes bytes."""
    return b64encode(raw.encode()).decode()
