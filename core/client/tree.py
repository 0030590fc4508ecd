"""The v2 dialect: the store as a tree of files and directories."""

from collections.abc import AsyncGenerator, Callable
from urllib.parse import quote, urlencode

import msgspec
import trio

from core.client.errors import ConnectionLostError, HistoryLostError, RefusedError, StrangeAnswerError, UnreachableError
from core.client.transport import CALL_SECONDS, NO_DEADLINE, Answer, Transport

_FORM = ((b"Content-Type", b"application/x-www-form-urlencoded"),)
RECONNECT_SECONDS = (0.1, 5.0)
"""A watch that lost its connection waits so long before it tries again: at first, and at most."""


class Node(msgspec.Struct, frozen=True, rename="camel"):
    """A file or directory as a reply shows it."""

    key: str = "/"
    value: str | None = None
    dir: bool = False
    expiration: str | None = None
    ttl: int | None = None
    nodes: list["Node"] = msgspec.field(default_factory=list)
    modified_index: int = 0
    created_index: int = 0


class _Reply(msgspec.Struct, frozen=True, rename="camel"):
    action: str
    node: Node | None = None
    prev_node: Node | None = None


class Change(msgspec.Struct, frozen=True):
    """A reply: what was read or done."""

    action: str
    node: Node
    previous: Node | None
    index: int
    """X-Etcd-Index: how far the node had come; for a watch, when it began."""
    raw: bytes
    """The JSON as it came."""


class _Problem(msgspec.Struct, frozen=True, rename="camel"):
    error_code: int = 0
    message: str = ""
    cause: str = ""
    index: int = 0


class Tree:
    """The operations of `/v2/keys`. Paths are plain text; a missing slash in front is added.

    Every method raises the errors of `core.client.errors`.
    """

    def __init__(self, transport: Transport, seconds: float = CALL_SECONDS) -> None:
        self._transport = transport
        self._seconds = seconds

    async def get(self, path: str, *, recursive: bool = False, ordered: bool = False, quorum: bool = False) -> Change:
        """A file, or a directory with one level below it or all. `quorum`: linearizable, not this node's own view."""
        query = _query(recursive=recursive, sorted=ordered, quorum=quorum)
        return _change(await self._transport.call("GET", _target(path, query), seconds=self._seconds))

    async def put(
        self,
        path: str,
        value: str | None,
        *,
        ttl: int | None = None,
        exists: bool | None = None,
        previous_value: str | None = None,
        previous_index: int | None = None,
    ) -> Change:
        """Write a file, or with `value` None a directory; under conditions, if given (None: not asked)."""
        form = _query(
            value=value,
            dir=value is None,
            ttl=ttl,
            prevExist=exists,
            prevValue=previous_value,
            prevIndex=previous_index,
        )
        return await self._write("PUT", path, form)

    async def create_in_order(self, path: str, value: str, *, ttl: int | None = None) -> Change:
        """Create a file in directory `path`, named by the index it gets."""
        return await self._write("POST", path, _query(value=value, ttl=ttl))

    async def delete(
        self,
        path: str,
        *,
        directory: bool = False,
        recursive: bool = False,
        previous_value: str | None = None,
        previous_index: int | None = None,
    ) -> Change:
        """Delete a file, an empty directory or a whole tree."""
        query = _query(dir=directory, recursive=recursive, prevValue=previous_value, prevIndex=previous_index)
        return _change(await self._transport.call("DELETE", _target(path, query), seconds=self._seconds))

    async def wait(self, path: str, *, recursive: bool = False, index: int | None = None) -> Change | None:
        """The first change at or after `index` (None: from now on), however long that takes.

        None if the server ended the wait without one. Where to go on without a gap: `.node.modified_index + 1`.
        """
        target = _target(path, _query(wait=True, recursive=recursive, waitIndex=index))
        answer = await self._transport.call("GET", target, seconds=NO_DEADLINE)
        return None if answer.status == 200 and not answer.body else _change(answer)

    async def watch(
        self,
        path: str,
        *,
        recursive: bool = False,
        index: int | None = None,
        lost: Callable[[str], None] = lambda _: None,
    ) -> AsyncGenerator[Change, None]:
        """All changes at or after `index` (None: from now on), in order, none twice, none left out.

        Each is asked for by a long poll from the index after the last: that is exact on every server, while a stream
        cut off in the middle is not (etcd tells one event of history and then falls silent). A lost connection is
        told to `lost` and tried again; HistoryLostError if the server has forgotten what comes next.
        """
        pause, most = RECONNECT_SECONDS
        now = await self._now(path)  # a first contact that fails is no connection lost: it is raised
        if index is None:
            index = now + 1
        while True:
            try:
                change = await self.wait(path, recursive=recursive, index=index)
            except (ConnectionLostError, UnreachableError) as error:
                lost(str(error))
                await trio.sleep(pause)
                pause = min(pause * 2, most)
                continue
            except RefusedError as error:
                if error.code == RefusedError.HISTORY_CLEARED:
                    raise HistoryLostError(index, error.cause) from None
                raise
            pause = RECONNECT_SECONDS[0]
            if change is not None:
                yield change
                index = change.node.modified_index + 1

    async def _now(self, path: str) -> int:
        """How far the store has come. Any answer about the key says it, that it is not there as well."""
        answer = await self._transport.call("GET", _target(path, ""), seconds=self._seconds)
        try:
            return _index(answer)
        except StrangeAnswerError:
            _change(answer)
            raise

    async def _write(self, method: str, path: str, form: str) -> Change:
        return _change(
            await self._transport.call(method, _target(path, ""), form.encode(), _FORM, seconds=self._seconds)
        )


def clean(path: str) -> str:
    """The path with a slash in front."""
    return path if path.startswith("/") else f"/{path}"


def _target(path: str, query: str) -> str:
    target = "/v2/keys" + quote(clean(path), safe="/")
    return f"{target}?{query}" if query else target


def _query(**given: str | int | bool | None) -> str:
    """Form-encoded; None, and False where it is the default, are left out."""
    pairs = {}
    for name, value in given.items():
        if isinstance(value, bool):
            if value or name == "prevExist":
                pairs[name] = "true" if value else "false"
        elif value is not None:
            pairs[name] = str(value)
    return urlencode(pairs)


def _index(answer: Answer) -> int:
    try:
        return int(answer.headers["x-etcd-index"])
    except (KeyError, ValueError):
        raise StrangeAnswerError(f"the answer (HTTP {answer.status}) has no X-Etcd-Index") from None


def _change(answer: Answer) -> Change:
    if answer.status not in (200, 201):
        raise refusal(answer)
    try:
        reply = msgspec.json.decode(answer.body, type=_Reply)
    except msgspec.DecodeError as error:
        raise StrangeAnswerError(f"the answer is not in the v2 form: {error}") from None
    return Change(reply.action, reply.node or Node(), reply.prev_node, _index(answer), answer.body)


def refusal(answer: Answer) -> RefusedError:
    """The error in an answer: v2's JSON, another `message`, or plain text."""
    try:
        problem = msgspec.json.decode(answer.body, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem(message=answer.body[:200].decode(errors="replace").strip())
    message = problem.message or f"HTTP {answer.status}"
    return RefusedError(answer.status, problem.error_code, message, problem.cause, problem.index)
