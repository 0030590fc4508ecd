"""Plays a case against a server and says where the answers differ from the table."""

import contextlib
import http.client
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any

from tests.conformance.table import Answer, Case, Step
from tests.whole.servers import HOST, Kind

WAIT_SECONDS = 10.0
FORM = "application/x-www-form-urlencoded"
MESSAGES = {
    100: "Key not found",
    101: "Compare failed",
    102: "Not a file",
    104: "Not a directory",
    105: "Key already exists",
    107: "Root is read only",
    108: "Directory not empty",
    201: "PrevValue is Required in POST form",
    202: "The given TTL in POST form is not a number",
    203: "The given index in POST form is not a number",
    209: "Invalid field",
    210: "Invalid POST form",
    211: "Value provided on refresh",
    212: "A TTL must be provided on refresh",
    401: "The event in requested index is outdated and cleared",
}
_INDEX = re.compile(r"\{([+-]\d+)(?::(\w+))?\}")
_RANGE = re.compile(r"<(\d+)\.\.(\d+)>")
_PATTERNS = {
    "<time>": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z"),
    "<hex>": re.compile(r"[0-9a-f]{1,16}"),
    "<number>": re.compile(r"[0-9]+"),
    "<any>": re.compile(r".*"),
}


class DifferenceError(AssertionError):
    """An answer is not what the table says."""


class Reply:
    """A response as far as it was read: for a watch the head only, its events follow by `line`."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse) -> None:
        self.connection = connection
        self.response = response
        self.status = response.status

    def header(self, name: str) -> str | None:
        return self.response.getheader(name)

    def body(self) -> str:
        return self.response.read().decode()

    def line(self) -> str:
        """The next line of the body; empty at its end."""
        return self.response.readline().decode()

    def close(self) -> None:
        self.response.close()
        self.connection.close()


class Game:
    """One case being played against one server. Each has a directory of its own, removed at the end."""

    def __init__(self, kind: Kind, port: int) -> None:
        self.kind: Kind = kind
        self.port = port
        self.directory = f"/case-{secrets.token_hex(4)}"
        self.base = 0
        self.watches: dict[str, Reply] = {}
        self._replies: list[Reply] = []

    def play(self, case: Case) -> None:
        """Play all steps; DifferenceError names the first that went another way."""
        with self._board():
            for step in case.steps:
                if step.only and step.only != self.kind:
                    continue
                try:
                    self._play(step)
                except (DifferenceError, OSError, http.client.HTTPException, ValueError) as error:
                    where = f"{case.file}.txt:{step.line}, on {self.kind}, base index {self.base}"
                    raise DifferenceError(f"{where}: {type(error).__name__}: {error}") from None

    @contextlib.contextmanager
    def _board(self) -> Iterator[None]:
        reply = self.send("GET", "/v2/keys/")
        reply.body()
        self.base = int(reply.header("X-Etcd-Index") or 0)
        try:
            yield
        finally:
            try:
                self.send("DELETE", f"/v2/keys{self.directory}?recursive=true").body()
            finally:
                for reply in self._replies:
                    reply.close()

    def fill(self, text: str) -> str:
        """Put this case's directory and indexes in place of `~` and `{+n}`."""
        filled = _INDEX.sub(lambda match: format(self.base + int(match[1]), match[2] or ""), text)
        return filled.replace("~", self.directory).replace("{url}", f"http://{HOST}:{self.port}")

    def send(self, method: str, target: str, form: str = "", headers: list[tuple[str, str]] | None = None) -> Reply:
        """Send one request on a connection of its own and read the head of the answer."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=WAIT_SECONDS)
        connection.putrequest(method, target, skip_accept_encoding=True)
        body = form.encode()
        given = headers or []
        if body and not any(name.lower() == "content-type" for name, _ in given):
            given = [("Content-Type", FORM), *given]
        if body or method in ("PUT", "POST"):
            given = [("Content-Length", str(len(body))), *given]
        for name, value in given:
            connection.putheader(name, value)
        try:
            connection.endheaders(body)
            reply = Reply(connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise
        self._replies.append(reply)
        return reply

    def _play(self, step: Step) -> None:
        answer = step.answer(self.kind)
        is_sorted = "sorted=true" in step.target
        if step.what == "request":
            reply = self._request(step)
            self.check_head(reply, answer, step)
            self.check_body(reply.body(), answer, is_sorted)
        elif step.what == "open":
            self.watches[step.watch] = reply = self._request(step)
            self.check_head(reply, answer, step)
        elif step.what == "gives":
            self.check_body(self.watches[step.watch].line(), answer, is_sorted)
        else:
            rest = self.watches[step.watch].body()
            if rest.strip():
                raise DifferenceError(f"the watch was to end here but gave {rest!r}")

    def _request(self, step: Step) -> Reply:
        target = step.target
        if target.startswith("~"):
            target = f"/v2/keys{target}"
        headers = [(name, self.fill(value)) for name, value in step.headers]
        return self.send(step.method, self.fill(target), self.fill(step.form), headers)

    def check_head(self, reply: Reply, answer: Answer, step: Step) -> None:
        """Compare status and headers, among them those that every keys reply has."""
        if reply.status != answer.status:
            raise DifferenceError(f"status {reply.status}, not {answer.status}: {reply.body()!r}")
        wanted = [(name, self.fill(value)) for name, value in answer.headers]
        named = {name.lower() for name, _ in wanted}
        if step.target.startswith(("~", "/v2/keys")) and step.method != "OPTIONS":
            standing = _standing_headers(answer, self.fill(answer.body))
            wanted += [(name, value) for name, value in standing if name.lower() not in named]
        for name, value in wanted:
            _check_header(name, value, reply.header(name))

    def check_body(self, body: str, answer: Answer, is_sorted: bool) -> None:
        """Compare a whole body or one event."""
        kind, _, rest = self.fill(answer.body).partition(" ")
        if kind == "*":
            return
        if kind in ("empty", "text", "raw"):
            expected = json.loads(rest) if kind == "raw" else f"{rest}\n" if kind == "text" else ""
            if body != expected:
                raise DifferenceError(f"body {body!r}, not {expected!r}")
            return
        wanted = self._expected_json(kind, rest, answer)
        try:
            found = json.loads(body)
        except ValueError:
            raise DifferenceError(f"body {body!r} is no JSON; expected {wanted}") from None
        problem = _compare(wanted, found, is_sorted, "body")
        if problem:
            raise DifferenceError(f"{problem}\n  expected {json.dumps(wanted)}\n  found    {body.strip()}")

    def _expected_json(self, kind: str, rest: str, answer: Answer) -> Any:
        if kind == "json":
            return json.loads(rest)
        if kind == "error":
            code, cause, index = _error(rest)
            wanted: dict[str, Any] = {"errorCode": code, "message": MESSAGES[code], "index": index}
            return wanted if cause is None else {**wanted, "cause": cause}
        nodes = {name: json.loads(self.fill(text)) for name, text in answer.nodes.items()}
        return {"action": kind, **nodes}


def _error(words: str) -> tuple[int, str | None, int]:
    code, _, rest = words.partition(" ")
    cause, _, index = rest.rpartition(" ")
    return int(code), None if cause == "-" else json.loads(cause), int(index)


def _standing_headers(answer: Answer, body: str) -> list[tuple[str, str]]:
    """The headers that every reply of /v2/keys of that status has."""
    kind, _, rest = body.partition(" ")
    if kind == "error":
        standing = [("X-Etcd-Index", str(_error(rest)[2])), ("X-Raft-Index", "-"), ("X-Raft-Term", "-")]
    elif answer.status in (200, 201):
        standing = [(name, "<number>") for name in ("X-Etcd-Index", "X-Raft-Index", "X-Raft-Term")]
    else:
        return []
    return [("Content-Type", "application/json"), ("X-Etcd-Cluster-Id", "<hex>"), *standing]


def _check_header(name: str, wanted: str, found: str | None) -> None:
    if wanted == "-":
        fits = found is None
    elif wanted in _PATTERNS:
        fits = found is not None and _PATTERNS[wanted].fullmatch(found) is not None
    else:
        fits = found == wanted
    if not fits:
        raise DifferenceError(f"header {name} is {found!r}, not {wanted!r}")


def _compare(wanted: Any, found: Any, is_sorted: bool, where: str) -> str:
    """What is different, or an empty string."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        for name in sorted({*wanted, *found}):
            if name not in found or name not in wanted:
                return f"{where}.{name} is {'missing' if name in wanted else 'one too many'}"
            problem = _compare(wanted[name], found[name], is_sorted, f"{where}.{name}")
            if problem:
                return problem
        return ""
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        if not is_sorted and all(isinstance(item, dict) and "key" in item for item in [*wanted, *found]):
            wanted, found = (sorted(items, key=lambda item: item["key"]) for items in (wanted, found))
        problems = (
            _compare(a, b, is_sorted, f"{where}[{n}]") for n, (a, b) in enumerate(zip(wanted, found, strict=True))
        )
        return next((problem for problem in problems if problem), "")
    return "" if _same(wanted, found) else f"{where} is {found!r}, not {wanted!r}"


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, str) and wanted in _PATTERNS:
        return isinstance(found, str) and _PATTERNS[wanted].fullmatch(found) is not None
    if wanted == "<list>":
        return isinstance(found, list) and all(isinstance(item, str) for item in found)
    if isinstance(wanted, str) and (match := _RANGE.fullmatch(wanted)):
        return isinstance(found, int) and int(match[1]) <= found <= int(match[2])
    return type(wanted) is type(found) and bool(wanted == found)
