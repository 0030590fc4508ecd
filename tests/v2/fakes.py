"""A store, a reply and an outlet small enough to be seen through."""

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from types import TracebackType
from typing import Self

import trio

from core.api.http.message import Caller, Outlet, Request, Response, Talk
from core.api.store import Damage, Outcome, ProposalError
from core.kv import paths
from core.kv.commands import Command
from core.kv.errors import CompactedError, TreeError
from core.kv.memo import Memo
from core.kv.records import DIRECTORY, GONE, NOWHERE, POSITION, Action, Event, Record
from core.kv.tree import Page

SECOND = 1_000_000_000
NOW = 1_000 * SECOND
EPOCH = 1_790_000_000.25
"""The Unix time of cluster time 0."""


def record(
    key: bytes,
    value: bytes = b"",
    *,
    index: int = 7,
    modified: int | None = None,
    created: int | None = None,
    action: Action = Action.SET,
    directory: bool = False,
    gone: bool = False,
    deadline: int = 0,
) -> Record:
    return Record(
        position=POSITION.pack(index, 0),
        key=key,
        value=value,
        action=action,
        flags=DIRECTORY * directory | GONE * gone,
        revision=index,
        modified=index if modified is None else modified,
        created=index if created is None else created,
        create_revision=index,
        version=1,
        lease=0,
        deadline=deadline,
        previous=NOWHERE,
        time=NOW,
    )


class FakeClock:
    def now(self) -> int:
        return NOW

    def wall(self, cluster_time: int) -> float:
        return EPOCH + cluster_time / SECOND


class FakeWatch:
    def __init__(self, batches: Iterable[Sequence[Event] | TreeError]) -> None:
        self._batches = deque(batches)
        self.open = False

    async def next(self, limit: int = 100) -> Sequence[Event]:
        if not self._batches:
            await trio.sleep_forever()
        batch = self._batches.popleft()
        await trio.lowlevel.checkpoint()
        if isinstance(batch, TreeError):
            raise batch
        if batch[limit:]:
            self._batches.appendleft(batch[limit:])
        return batch[:limit]

    def __enter__(self) -> Self:
        self.open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open = False


class FakeStore:
    """Answers every proposal with `outcome` (or raises it, if `refuses`) and reads from `nodes`."""

    def __init__(self, *nodes: Record, revision: int = 40) -> None:
        self.clock = FakeClock()
        self.damage = Damage()
        self.revision = revision
        self.raft_index = self.applied_index = 50
        self.numbers = self
        self.memo = Memo()
        self.raft_term = 3
        self.nodes = {node.key: node for node in nodes}
        self.commands: list[Command] = []
        self.outcome: Outcome = Event(record(b"/k", b"v"), None)
        self.refuses: ProposalError | None = None
        self.confirmed = 0
        self.unconfirmed: ProposalError | None = None
        self.watched: list[tuple[bytes, bool, int]] = []
        self.watch_with: FakeWatch | TreeError = FakeWatch(())
        self.compacted = False
        self.pages: list[tuple[bytes, int, int | None]] = []

    def propose(self, command: Command, done: Callable[[Outcome], None]) -> None:
        self.commands.append(command)
        if self.refuses is not None:
            raise self.refuses
        done(self.outcome)

    def confirm(self, done: Callable[[ProposalError | None], None]) -> None:
        self.confirmed += 1
        done(self.unconfirmed)

    def transfer(self, member: int, done: Callable[[ProposalError | None], None]) -> None:
        self.transferred = member
        done(None)

    def node(self, path: bytes) -> Record:
        if path not in self.nodes:
            raise TreeError(TreeError.KEY_NOT_FOUND, path.decode(), self.revision)
        return self.nodes[path]

    def children(self, path: bytes, after: bytes = b"", limit: int = 1000, at: int | None = None) -> Page:
        self.pages.append((path, limit, at))
        if at is not None and self.compacted:
            raise CompactedError(at + 1)
        names = sorted(key for key in self.nodes if paths.parent(key) == path and key > after)
        found = names[:limit]
        return Page(tuple(self.nodes[key] for key in found), found[-1] if len(names) > limit else None)

    def record(self, position: bytes) -> Record | None:
        return None

    def deadline(self, record: Record) -> int:
        return record.deadline

    def watch(self, path: bytes, *, recursive: bool = False, start: int = 0) -> FakeWatch:
        self.watched.append((path, recursive, start))
        if isinstance(self.watch_with, TreeError):
            raise self.watch_with
        return self.watch_with


class FakeReply:
    """Keeps the one answer."""

    def __init__(self) -> None:
        self.response: Response | None = None
        self.produce: Callable[[Outlet], Awaitable[None]] | None = None
        self.answers = 0

    def send(self, response: Response) -> None:
        self.answers += 1
        self.response = response

    def stream(self, produce: Callable[[Outlet], Awaitable[None]]) -> None:
        self.answers += 1
        self.produce = produce

    def converse(self, talk: Talk) -> None:
        self.answers += 1
        self.talk = talk

    @property
    def sent(self) -> Response:
        assert self.answers == 1
        assert self.response is not None
        return self.response


class FakeOutlet:
    """Collects a streamed answer; `on_send` is called after each piece."""

    def __init__(self, on_send: Callable[[], None] = lambda: None) -> None:
        self.status = 0
        self.headers = b""
        self.aborted = False
        self.pieces: list[bytes] = []
        self._on_send = on_send

    async def start(self, status: int, headers: bytes, length: int | None = None) -> None:
        await trio.lowlevel.checkpoint()
        self.status = status
        self.headers = headers

    async def send(self, piece: bytes) -> None:
        assert piece, "an empty chunk would end the answer"
        await trio.lowlevel.checkpoint()
        self.pieces.append(piece)
        self._on_send()

    async def abort(self) -> None:
        self.aborted = True
        await trio.lowlevel.checkpoint()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


ANYONE = Caller("127.0.0.1:4711")
LOCAL = Caller("unix", local=True)
FORM = (b"content-type", b"application/x-www-form-urlencoded")


def request(
    method: bytes,
    target: bytes,
    body: bytes = b"",
    headers: tuple[tuple[bytes, bytes], ...] = (FORM,),
    caller: Caller = ANYONE,
) -> Request:
    path, _, query = target.partition(b"?")
    return Request(method, path, query, headers, body, caller)
