"""`/v3/watch` of this node beside etcd's own gateway: the same messages, but for ids and terms; and a killed server.

Revisions are compared by their order: a transaction consumes more of them here than there.
"""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.v3.client import V3
from tests.v3.watching import Message, Stream, create
from tests.whole.servers import Kind, Server, missing

pytestmark = pytest.mark.slow
judged = pytest.mark.skipif(bool(missing("etcd")), reason="needs Debian's package etcd-server")


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Kind, Server]]:
    home = tmp_path_factory.mktemp("watch")
    with Server("corenode", home / "corenode") as ours, Server("etcd", home / "etcd") as theirs:
        yield {"corenode": ours, "etcd": theirs}


REVISIONS = ("revision", "create_revision", "mod_revision", "compact_revision")


def shown(message: Message) -> Message:
    """A message without what is the server's own."""
    header = {name: value for name, value in message["header"].items() if name == "revision"}
    return {**message, "header": header}


def revisions(value: Any) -> set[int]:
    """Every revision in what was heard."""
    if isinstance(value, list):
        return set().union(*map(revisions, value))
    if not isinstance(value, dict):
        return set()
    own = {int(part) for name, part in value.items() if name in REVISIONS}
    return own.union(*map(revisions, value.values()))


def ranked(value: Any, order: list[int]) -> Any:
    """What was heard, each revision replaced by its place in the order of all of them."""
    if isinstance(value, list):
        return [ranked(part, order) for part in value]
    if not isinstance(value, dict):
        return value
    return {name: order.index(int(part)) if name in REVISIONS else ranked(part, order) for name, part in value.items()}


class Story:
    """What a test tells one server, and what it heard."""

    def __init__(self, server: Server) -> None:
        self.v3 = V3(server)
        self.port = server.port
        self.heard: list[Any] = []

    @asynccontextmanager
    async def watching(self, *messages: object) -> AsyncIterator[Stream]:
        async with await Stream.open(self.port, "watch", *messages) as stream:
            yield stream

    async def hear(self, stream: Stream, count: int = 1) -> None:
        """Note so many messages."""
        for _ in range(count):
            self.heard.append(shown(await stream.next()))

    async def do(self, path: str, body: object) -> None:
        """Ask for something else meanwhile."""
        await trio.to_thread.run_sync(self.v3.good, path, body)

    async def put(self, key: bytes, value: bytes = b"v", **more: object) -> None:
        await self.do("kv/put", {"key": key, "value": value, **more})


async def a_key(story: Story) -> None:
    async with story.watching(create(b"a", prev_kv=True), create(b"a", watch_id=4)) as stream:
        await story.hear(stream, 2)
        for step in ("one", "two"):
            await story.put(b"a", step.encode())
            for answer in sorted([await stream.next(), await stream.next()], key=lambda each: "watch_id" in each):
                story.heard.append(shown(answer))
        await story.put(b"b")
        await story.do("kv/deleterange", {"key": b"a"})
        await story.put(b"a", b"")
        for answer in sorted([await stream.next() for _ in range(4)], key=lambda each: "watch_id" in each):
            story.heard.append(shown(answer))


async def ranges(story: Story) -> None:
    opened = [(b"r/", b"r0"), (b"r/b", b"\0"), (b"\0", b"\0"), (b"r/b", b"r/c"), (b"", b""), (b"", b"\0")]
    messages = [create(*each, watch_id=number) for number, each in enumerate(opened, 1)]
    async with story.watching(*messages) as stream:
        await story.hear(stream, len(messages))
        for key in (b"r/a", b"r/b", b"r/bb", b"r0", b"z"):
            await story.put(key)
        answers = [await stream.next() for _ in range(3 + 4 + 5 + 2 + 5)]
        story.heard += sorted(map(shown, answers), key=lambda each: (int(each["watch_id"]), json.dumps(each["events"])))


async def transactions(story: Story) -> None:
    async with story.watching(create(b"t", b"u", prev_kv=True)) as stream:
        await story.hear(stream)
        puts = [{"request_put": {"key": b"t%d" % number, "value": b"v"}} for number in range(5)]
        await story.do("kv/txn", {"success": puts})
        await story.do("kv/txn", {"success": [{"request_delete_range": {"key": b"t0", "range_end": b"t3"}}, puts[3]]})
        await story.do("kv/deleterange", {"key": b"t", "range_end": b"u"})
        for _ in range(3):
            answer = shown(await stream.next())
            answer["events"].sort(key=lambda event: str(event["kv"]["key"]))
            story.heard.append(answer)


async def filters(story: Story) -> None:
    messages = [
        create(b"f", filters=["NOPUT"], watch_id=1),
        create(b"f", filters=[1], watch_id=2),
        create(b"f", filters=["NOPUT", "NODELETE"], watch_id=3),
    ]
    async with story.watching(*messages) as stream:
        await story.hear(stream, 3)
        await story.put(b"f")
        await story.do("kv/deleterange", {"key": b"f"})
        await story.hear(stream, 2)
        assert await stream.quiet()


async def history(story: Story) -> None:
    for number in range(5):
        await story.put(b"h", b"%d" % number)
    now = int((await trio.to_thread.run_sync(story.v3.get, b"h"))["mod_revision"])
    for start in (now, now - 2, now + 2):
        async with story.watching(create(b"h", start_revision=start, prev_kv=True)) as stream:
            await story.hear(stream)
            if start > now:
                await story.put(b"h", b"too early")
                await story.put(b"h", b"on time")
            events = await stream.events(1 if start > now else now - start + 1)
            story.heard.append(events)


async def compacted(story: Story) -> None:
    for number in range(5):
        await story.put(b"c", b"%d" % number)
    now = int((await trio.to_thread.run_sync(story.v3.get, b"c"))["mod_revision"])
    await story.do("kv/compaction", {"revision": now - 1})
    for start in (1, now - 2, now - 1, now):
        async with story.watching(create(b"c", start_revision=start, watch_id=6)) as stream:
            await story.hear(stream, 2)


async def ends_and_errors(story: Story) -> None:
    messages = [
        create(b"e", watch_id=1),
        create(b"e", watch_id=1),
        create(b"e", b"d"),
        create(b"e", watch_id=-3),
        {"cancel_request": {"watch_id": 1}},
        {"cancel_request": {"watch_id": 99}},
        {},
        {"createRequest": {"key": b"e", "watchId": "1"}},
    ]
    async with story.watching(*messages) as stream:
        await story.hear(stream, 6)
        assert await stream.quiet()


async def progress(story: Story) -> None:
    async with story.watching(create(b"p"), {"progress_request": {}}) as stream:
        await story.hear(stream, 2)


async def leases(story: Story) -> None:
    await story.do("lease/grant", {"ID": 77, "TTL": 600})
    async with story.watching(create(b"l", b"m")) as stream:
        await story.hear(stream)
        for key in (b"l1", b"l2"):
            await story.put(key, lease=77)
        await story.do("lease/revoke", {"ID": 77})
        await story.hear(stream, 3)


@judged
@pytest.mark.parametrize(
    "tell", [a_key, ranges, transactions, filters, history, compacted, ends_and_errors, progress, leases]
)
async def test_the_same_messages_as_etcd(servers: dict[Kind, Server], tell: Any) -> None:
    stories = {kind: Story(server) for kind, server in servers.items()}
    with trio.fail_after(60):
        for story in stories.values():
            await tell(story)
    ours, theirs = (ranked(story.heard, sorted(revisions(story.heard))) for story in stories.values())
    assert ours == theirs
    assert theirs


async def test_a_watch_goes_on_where_it_was_after_the_server_was_killed(tmp_path: Path) -> None:
    """Every event once, in order, over SIGKILLs of the server: the client asks again from behind the last it had."""
    got: list[tuple[int, str]] = []
    put: list[tuple[int, str]] = []
    with Server("corenode", tmp_path) as server:
        for _ in range(3):
            v3 = V3(server)
            start = got[-1][0] + 1 if got else 1
            async with await Stream.open(server.port, "watch", create(b"k", b"l", start_revision=start)) as stream:
                await stream.next()
                for number in range(200):
                    key = f"k{number % 5}"
                    put.append((await trio.to_thread.run_sync(v3.put, key, f"{len(put)}"), key))
                    if number == 100:
                        got += [_told(event) for event in (await stream.next())["events"]]
            server.kill()
            server.start()
        async with await Stream.open(server.port, "watch", create(b"k", b"l", start_revision=got[-1][0] + 1)) as stream:
            await stream.next()
            got += [_told(event) for event in await stream.events(len(put) - len(got))]
            assert await stream.quiet()
    assert [revision for revision, _ in got] == [revision for revision, _ in put]


def _told(event: Message) -> tuple[int, str]:
    return int(event["kv"]["mod_revision"]), str(event["kv"]["key"])
