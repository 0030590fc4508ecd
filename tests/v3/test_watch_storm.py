"""Two hundred watches of a real server in a storm of writes by both dialects: none loses, repeats or tears anything."""

import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpcore
import pytest
import trio

from tests.v3.client import V3, b64, plain
from tests.v3.watching import Message, Stream, create, until
from tests.whole.servers import HOST, Server

pytestmark = pytest.mark.slow
WATCHES = 200
WRITERS = 4
WRITES = 150
KEYS = [f"/s/{directory}/{name}" for directory in range(5) for name in "abc"]
RANGES = [
    *[(key.encode(), b"") for key in KEYS],
    *[(b"/s/%d/" % number, b"/s/%d0" % number) for number in range(5)],
    (b"/s/", b"/s0"),
    (b"/s/1/b", b"/s/3/b"),
    (b"/s/2", b"\0"),
]
Told = tuple[int, str, str]
"""Revision, kind, key in base64."""


def told(event: Message) -> Told:
    return int(event["kv"]["mod_revision"]), str(event.get("type", "PUT")), str(event["kv"]["key"])


class Watching:
    """One client with one watch. Some hang up now and then and ask again from behind the last revision they had."""

    def __init__(self, number: int, ends: tuple[bytes, bytes]) -> None:
        self.ends = ends
        self.got: list[Told] = []
        self._moody = number % 4 == 0
        self._chance = random.Random(number)

    async def run(self, port: int, start: int) -> None:
        while True:
            first = self.got[-1][0] + 1 if self.got else start
            async with await Stream.open(port, "watch", create(*self.ends, start_revision=first)) as stream:
                await stream.next()
                for _ in range(self._chance.randrange(1, 20) if self._moody else 1 << 30):
                    self.got += sorted(map(told, (await stream.next())["events"]))

    def wants(self, event: Told) -> bool:
        key, end = plain(event[2]), self.ends[1]
        return key == self.ends[0] if not end else key >= self.ends[0] and (end == b"\0" or key < end)


async def write(chance: random.Random, post: Callable[[str, str, bytes], Awaitable[Any]]) -> None:
    """Puts, transactions, deletions of ranges and trees, keys with a TTL."""
    for number in range(WRITES):
        key = chance.choice(KEYS)
        match chance.randrange(8):
            case 0:
                some = chance.sample(KEYS, 5)
                puts = ",".join(
                    f'{{"request_put":{{"key":"{b64(each)}","value":"{b64(str(number))}"}}}}' for each in some
                )
                await post("POST", "/v3/kv/txn", f'{{"success":[{puts}]}}'.encode())
            case 1:
                body = f'{{"key":"{b64(key[:5])}","range_end":"{b64(key[:4] + "0")}"}}'
                await post("POST", "/v3/kv/deleterange", body.encode())
            case 2:
                await post("DELETE", f"/v2/keys{key[:4]}?recursive=true", b"")
            case 3:
                await post("PUT", f"/v2/keys{key}?ttl=1", b"value=brief")
            case 4:
                await post("PUT", f"/v2/keys{key}", b"value=v2")
            case _:
                body = f'{{"key":"{b64(key)}","value":"{b64(str(number))}"}}'
                await post("POST", "/v3/kv/put", body.encode())


async def storm(port: int, v3: V3) -> None:
    watches = [Watching(number, RANGES[number % len(RANGES)]) for number in range(WATCHES)]
    start = v3.put("/s/0/a", "first") + 1
    async with httpcore.AsyncConnectionPool() as pool, trio.open_nursery() as nursery:

        async def post(method: str, path: str, body: bytes) -> None:
            headers = [("Host", HOST), ("Content-Type", "application/x-www-form-urlencoded")]
            answer = await pool.request(method, f"http://{HOST}:{port}{path}", content=body, headers=headers)
            assert answer.status in (200, 201, 404, 403), (path, answer.status, answer.content)

        for watch in watches:
            nursery.start_soon(watch.run, port, start)
        async with trio.open_nursery() as writing:
            for number in range(WRITERS):
                writing.start_soon(write, random.Random(number), post)
        await trio.sleep(2)  # the last TTL
        end = v3.put("/s/4/c", "the end")
        judge = Watching(1, (b"/s/", b"/s0"))
        nursery.start_soon(judge.run, port, start)
        await until(lambda: bool(judge.got) and judge.got[-1][0] == end)
        for watch in watches:
            due = [event for event in judge.got if watch.wants(event)]
            await until(lambda watch=watch, due=due: len(watch.got) >= len(due))  # type: ignore[misc]
            assert watch.got == due
        nursery.cancel_scope.cancel()
    assert len(judge.got) > WRITERS * WRITES / 2
    assert {kind for _, kind, _ in judge.got} == {"PUT", "DELETE"}


def test_a_storm(tmp_path: Path) -> None:
    async def main() -> None:
        with trio.fail_after(300):
            await storm(server.port, V3(server))

    with Server("corenode", tmp_path) as server:
        trio.run(main)
