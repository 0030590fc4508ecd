"""Watches on one connection: opening, closing, order, slowness, permissions, limits, progress."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
import trio

from core.api.http import Limits
from core.api.v3 import watch as watch_module
from core.kv.access import Permission, Right
from core.kv.commands import (
    Admitted,
    AuthSwitch,
    Compact,
    Delete,
    DeleteRange,
    Expire,
    Put,
    RoleChange,
    RoleCreate,
    Set,
    Txn,
    UserCreate,
)
from tests.v3.client import b64
from tests.v3.watching import Message, Stream, Watched, create, until

QUICK = Limits(write_s=0.3, write_rate_min=1 << 40, sweep_s=0.05)


def keys(events: list[Message]) -> list[str]:
    return [event["kv"]["key"] for event in events]


def revisions(events: list[Message]) -> list[int]:
    return [int(event["kv"]["mod_revision"]) for event in events]


async def test_messages_may_come_while_events_flow() -> None:
    world = Watched()
    async with world.served() as port, await Stream.begin(port, "watch") as stream:
        await stream.say(create(b"a"))
        assert (await stream.next())["created"] is True
        world.do(Put(b"a", b"1"))
        assert keys(await stream.events(1)) == [b64(b"a")]
        await stream.say(create(b"b", watch_id=9))
        assert (await stream.next())["watch_id"] == "9"
        world.do(Put(b"a"), Put(b"b"))
        told = [await stream.next(), await stream.next()]
        assert {answer.get("watch_id", "0"): keys(answer["events"]) for answer in told} == {
            "0": [b64(b"a")],
            "9": [b64(b"b")],
        }
        await stream.say({"cancel_request": {"watch_id": 9}})
        assert (await stream.next())["canceled"] is True
        world.do(Put(b"b"), Put(b"a"))
        assert keys(await stream.events(1)) == [b64(b"a")]
        assert world.hub.open == 1
    await until(lambda: world.hub.open == 0)


async def test_a_transaction_is_one_message() -> None:
    world = Watched()
    async with world.served() as port, await Stream.open(port, "watch", create(b"\0", b"\0")) as stream:
        await stream.next()
        world.do(Txn(success=tuple(Put(b"%03d" % number) for number in range(128))))
        answer = await stream.next()
        assert answer["header"]["revision"] == "129"
        assert revisions(answer["events"]) == [129] * 128


async def test_what_v2_does_is_seen() -> None:
    world = Watched()
    async with world.served() as port, await Stream.open(port, "watch", create(b"/", b"0", prev_kv=True)) as stream:
        await stream.next()
        world.do(Set(b"/d/a", b"1"), Set(b"/d/b", b"2", ttl=5), Set(b"/e", directory=True))
        world.now += 10
        world.do(Expire(10), Delete(b"/d", recursive=True))
        events = await stream.events(4)
        assert [(event.get("type", "PUT"), event["kv"]["key"]) for event in events] == [
            ("PUT", b64(b"/d/a")),
            ("PUT", b64(b"/d/b")),
            ("DELETE", b64(b"/d/b")),
            ("DELETE", b64(b"/d/a")),
        ]
        assert events[3]["prev_kv"]["value"] == b64(b"1")
        assert events[3]["kv"] == {"key": b64(b"/d/a"), "mod_revision": "6"}


async def test_system_records_are_not_seen() -> None:
    world = Watched()
    async with world.served() as port, await Stream.open(port, "watch", create(b"\0", b"\0")) as stream:
        await stream.next()
        world.do(UserCreate("someone"), Put(b"a"))
        assert keys(await stream.events(1)) == [b64(b"a")]


async def test_a_client_that_is_killed_and_resumes_misses_and_doubles_nothing() -> None:
    world = Watched()
    chance = random.Random(1)
    got: list[int] = []
    written = trio.Event()
    async with world.served() as port, trio.open_nursery() as nursery:

        async def write() -> None:
            for number in range(600):
                world.do(*[Put(b"k%d" % (number % 7), b"%d" % number)] * chance.randrange(1, 4))
                await trio.sleep(0 if number % 10 else 0.001)
            written.set()

        nursery.start_soon(write)
        while not written.is_set() or got[-1] < world.revision:
            start = got[-1] + 1 if got else 1
            stream = await Stream.open(port, "watch", create(b"k", b"l", start_revision=start))
            await stream.next()
            for _ in range(chance.randrange(1, 30)):
                with trio.move_on_after(0.02):
                    got += revisions((await stream.next())["events"])
            await stream.close()
    assert got == list(range(2, world.revision + 1))


async def test_a_client_that_does_not_read_costs_little_and_delays_nobody() -> None:
    """It is sent no more than the kernel takes, falls behind, and has everything when it reads again."""
    world = Watched()
    async with (
        world.served() as port,
        await Stream.open(port, "watch", create(b"big")) as slow,
        await Stream.open(port, "watch", create(b"big")) as quick,
    ):
        await slow.next()
        await quick.next()
        watchers = list(world.hub._keys.members())
        for number in range(300):
            world.do(Put(b"big", b"%06d" % number * 5000))
            assert revisions(await quick.events(1)) == [number + 2]
            assert all(watcher._weight <= 100 for watcher in watchers)
        assert any(not watcher.live for watcher in watchers)
        events = await slow.events(300)
        assert revisions(events) == list(range(2, 302))


async def test_a_client_that_never_reads_is_cut_off() -> None:
    world = Watched()
    async with world.served(QUICK) as port, await Stream.open(port, "watch", create(b"big")) as stream:
        await stream.next()
        with trio.fail_after(10):
            while world.hub.open:
                world.do(Put(b"big", bytes(100_000)))
                await trio.sleep(0.001)


async def test_ten_thousand_watches_on_one_connection() -> None:
    world = Watched()
    messages = [create(b"k%d" % number) for number in range(10_000)]
    lag = 0.0

    async def measure() -> None:
        nonlocal lag
        while True:
            before = trio.current_time()
            await trio.lowlevel.checkpoint()
            lag = max(lag, trio.current_time() - before)

    async with world.served() as port, trio.open_nursery() as nursery:
        async with await Stream.open(port, "watch", *messages) as stream:
            nursery.start_soon(measure)
            ids = [int((await stream.next()).get("watch_id", 0)) for _ in messages]
            assert ids == list(range(10_000))
            world.do(*[Put(b"k%d" % number) for number in (9_999, 5_000, 0)])
            assert keys(await stream.events(3)) == [b64(b"k9999"), b64(b"k5000"), b64(b"k0")]
            nursery.cancel_scope.cancel()
        await until(lambda: world.hub.open == 0)


async def test_compaction_while_a_watch_is_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Watched()
    async with world.served() as port, await Stream.open(port, "watch", create(b"big", watch_id=3)) as stream:
        await stream.next()
        for _ in range(300):
            world.do(Put(b"big", bytes(50_000)))
            await trio.lowlevel.checkpoint()
        world.do(Compact(290))
        last = 1
        while True:
            answer = await stream.next()
            if answer.get("canceled"):
                break
            assert revisions(answer["events"])[0] == last + 1
            last = revisions(answer["events"])[-1]
        assert (answer["watch_id"], answer["compact_revision"]) == ("3", "290")
        assert "revision" not in answer["header"]
        assert last < 290
        assert world.hub.open == 0


async def test_progress_follows_all_that_was_to_be_told() -> None:
    world = Watched()
    world.do(*[Put(b"a") for _ in range(1000)])
    messages = [create(b"a", start_revision=1), create(b"b", watch_id=5), {"progress_request": {}}]
    async with world.served() as port, await Stream.open(port, "watch", *messages) as stream:
        seen = 0
        while True:
            answer = await stream.next()
            seen += len(answer.get("events", []))
            if answer.get("watch_id") == "-1":
                break
        assert seen == 1000
        assert answer == {"header": answer["header"], "watch_id": "-1"}
        assert answer["header"]["revision"] == "1001"


async def test_progress_is_told_now_and_then_of_quiet_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "PROGRESS_SECONDS", 0.2)
    world = Watched()
    messages = [create(b"quiet", progress_notify=True, watch_id=1), create(b"loud", watch_id=2, progress_notify=True)]
    async with world.served(Limits(sweep_s=0.02)) as port, await Stream.open(port, "watch", *messages) as stream:
        for _ in messages:
            await stream.next()
        world.do(Put(b"loud"))
        assert len((await stream.next())["events"]) == 1
        first = await stream.next()
        assert (first["watch_id"], first["header"]["revision"]) == ("1", "2"), "the other one told of something"
        assert {(await stream.next())["watch_id"] for _ in range(2)} == {"1", "2"}


async def test_a_large_revision_comes_in_fragments_to_whoever_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "FRAGMENT", 10_000)
    world = Watched()
    messages = [create(b"k", b"l", fragment=True), create(b"k", b"l", watch_id=7)]
    async with world.served() as port, await Stream.open(port, "watch", *messages) as stream:
        for _ in messages:
            await stream.next()
        world.do(Txn(success=tuple(Put(b"k%02d" % number, bytes(1000)) for number in range(50))))
        parts: dict[str, list[Message]] = {"0": [], "7": []}
        while not parts["7"] or not parts["0"] or parts["0"][-1].get("fragment"):
            answer = await stream.next()
            parts[answer.get("watch_id", "0")].append(answer)
        assert len(parts["7"]) == 1
        assert len(parts["0"]) > 5
        assert [part.get("fragment", False) for part in parts["0"]] == [True] * (len(parts["0"]) - 1) + [False]
        assert keys([event for part in parts["0"] for event in part["events"]]) == keys(parts["7"][0]["events"])


async def test_ids_are_chosen_around_those_that_clients_chose() -> None:
    world = Watched()
    wanted = [create(b"a", watch_id=1), create(b"a"), create(b"a"), create(b"a", watch_id=2), create(b"a")]
    async with world.served() as port, await Stream.open(port, "watch", *wanted) as stream:
        answers = [await stream.next() for _ in wanted]
        assert [answer.get("watch_id") for answer in answers] == ["1", None, "2", "-1", "3"]
        assert answers[3]["cancel_reason"] == "mvcc: duplicate watch ID provided on the WatchStream"


async def test_nobody_watches_what_they_may_not_read() -> None:
    world = Watched()
    world.do(UserCreate("root", None, ("root",)), RoleCreate("guest", (Permission(Right.READ, b"a", b"b"),)))
    world.do(AuthSwitch(enabled=True))
    messages = [create(b"a"), create(b"a", b"c", watch_id=1), create(b"b", watch_id=2), create(b"a1", watch_id=3)]
    async with world.served() as port, await Stream.open(port, "watch", *messages) as stream:
        answers = [await stream.next() for _ in messages]
        assert [answer.get("canceled", False) for answer in answers] == [False, True, True, False]
        assert answers[1]["watch_id"] == "-1"
        assert "user name is empty" in answers[1]["cancel_reason"]


async def test_a_watch_ends_when_its_permission_does() -> None:
    world = Watched()
    world.do(UserCreate("root", None, ("root",)))
    read = (Permission(Right.READ, b"a", b"b"), Permission(Right.READ, b"c", b"d"))
    world.do(RoleCreate("guest", read), AuthSwitch(enabled=True))
    messages = [create(b"a", watch_id=1), create(b"c", watch_id=2)]
    async with world.served() as port, await Stream.open(port, "watch", *messages) as stream:
        for _ in messages:
            await stream.next()
        for command in (RoleChange("guest", revoke=(read[0],)), Put(b"a", b"secret"), Put(b"c", b"open")):
            world.do(Admitted(world.gate.switch.revision, command))
        answers = {answer.get("watch_id"): answer for answer in [await stream.next(), await stream.next()]}
        assert answers["1"]["canceled"] is True
        assert "events" not in answers["1"]
        assert keys(answers["2"]["events"]) == [b64(b"c")]
        assert world.hub.open == 1


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"", 400, "no watch is asked for"),
        (b"{}", 400, "no watch is asked for"),
        (b'{"create_request":{"key":"*"}}', 400, "base64"),
        (b'{"create_request":{"key":5}}', 400, "cannot unmarshal number"),
        (b'{"create_request":{"filters":["NOTHING"]}}', 400, "NOTHING"),
        (b'{"create_request":{"start_revision":"9223372036854775808"}}', 400, "9223372036854775808"),
        (b'{"create_request":', 400, "unexpected EOF"),
        (b"[1]", 400, "invalid character"),
        (b"\xff", 400, "invalid character"),
    ],
)
async def test_what_is_no_request_is_refused(sent: bytes, status: int, words: str) -> None:
    world = Watched()
    async with world.served() as port:
        stream = Stream(await trio.open_tcp_stream("127.0.0.1", port))
        head = b"POST /v3/watch HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(sent)
        await stream.stream.send_all(head + sent)
        answer = await stream.line()
        assert stream.status == status
        assert answer is not None
        assert words in answer["message"]
        assert (answer["code"], answer["error"]) == (3, answer["message"])
        await stream.close()


async def test_whoever_says_nothing_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "FIRST_SECONDS", 0.1)
    world = Watched()
    async with world.served(Limits(sweep_s=0.02)) as port, await Stream.begin(port, "watch") as stream:
        answer = await stream.line()
        assert answer is not None
        assert (stream.status, answer["code"]) == (504, 4)
        async with await Stream.begin(port, "watch") as other:
            await other.say(create(b"a"))
            await other.next()
            assert await other.quiet(0.2), "a watch may wait as long as it likes"


async def test_nonsense_after_good_messages_ends_the_stream_with_an_error() -> None:
    world = Watched()
    async with world.served() as port, await Stream.begin(port, "watch") as stream:
        await stream.say(create(b"a"))
        await stream.next()
        await stream.say(b"nonsense")
        answer = await stream.line()
        assert answer is not None
        assert answer["error"]["http_code"] == 400
        assert await stream.line() is None
        assert world.hub.open == 0


async def test_an_endless_message_is_refused() -> None:
    world = Watched()
    async with world.served() as port, await Stream.begin(port, "watch") as stream:
        with pytest.raises((trio.BrokenResourceError, AssertionError)):  # noqa: PT012
            await stream.say(b'{"create_request":{"key":"')
            for _ in range(1000):
                await stream.say(b"a" * 10_000)
            raise AssertionError
    await until(lambda: world.hub.open == 0)


async def test_one_connection_cannot_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "HELD", 10_000)
    world = Watched()
    messages = [create(b"k%d" % number) for number in range(12)]
    async with world.served() as port, await Stream.open(port, "watch", *messages) as stream:
        answers = [await stream.next() for _ in messages]
        refused = [answer for answer in answers if answer.get("canceled")]
        assert len(refused) == 3
        assert "too many watches" in refused[0]["cancel_reason"]
        assert world.hub.open == 9


async def test_an_event_is_encoded_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = 0
    real: Callable[..., bytes] = watch_module._event

    def counted(*given: Any, **named: Any) -> bytes:
        nonlocal encoded
        encoded += 1
        return real(*given, **named)

    monkeypatch.setattr(watch_module, "_event", counted)
    world = Watched()
    messages = [create(b"a", prev_kv=number % 2 == 0) for number in range(100)]
    async with world.served() as port, await Stream.open(port, "watch", *messages) as stream:
        for _ in messages:
            await stream.next()
        world.do(Put(b"a", b"1"), DeleteRange(b"a"))
        answers = [await stream.next() for _ in messages]
        assert encoded == 4
        assert len({json.dumps(answer["events"]) for answer in answers}) == 2


async def test_the_older_names_of_the_path_take_open_bodies_too() -> None:
    world = Watched()
    async with world.served() as port:
        for prefix in ("v3beta", "v3alpha"):
            stream = await Stream.begin(port, "watch")
            await stream.close()
            stream = Stream(await trio.open_tcp_stream("127.0.0.1", port))
            head = f"POST /{prefix}/watch HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            await stream.stream.send_all(head.encode())
            await stream.say(create(b"a"))
            assert (await stream.next())["created"] is True
            await stream.close()


def deleted_at_once(world: Watched, count: int, value: bytes = b"") -> None:
    world.do(*[Put(b"k%05d" % number, value) for number in range(count)])
    world.do(DeleteRange(b"k", b"l"))


async def test_a_revision_of_many_events_is_one_line_made_in_several_turns() -> None:
    world = Watched()
    deleted_at_once(world, 5000)
    last = world.revision
    async with world.served() as port, await Stream.begin(port, "watch") as stream:
        await stream.say(create(b"k", b"l", start_revision=last, watch_id=3))
        assert (await stream.next())["created"] is True
        told = await stream.next()
    assert told["header"]["revision"] == str(last)
    assert keys(told["events"]) == [b64(b"k%05d" % number) for number in range(5000)]
    assert stream.chunks >= 10


async def test_what_is_asked_in_the_middle_of_a_line_waits_for_its_end() -> None:
    world = Watched()
    deleted_at_once(world, 2000, bytes(10_000))
    async with world.served() as port, await Stream.begin(port, "watch") as stream:
        await stream.say(create(b"k", b"l", start_revision=world.revision, watch_id=3, prev_kv=True))
        assert (await stream.next())["created"] is True
        (watcher,) = world.hub._keys.members()
        await until(lambda: watcher.live)  # all is read, and the client has not read it
        for message in ({"cancel_request": {"watch_id": 3}}, create(b"a", watch_id=9)):
            await stream.say(message)
        assert world.hub.open == 1
        assert len((await stream.next())["events"]) == 2000
        assert (await stream.next())["canceled"] is True
        assert (await stream.next())["created"] is True


async def test_a_client_that_goes_in_the_middle_of_a_line_leaves_nothing() -> None:
    world = Watched()
    deleted_at_once(world, 2000, bytes(10_000))
    async with world.served() as port:
        stream = await Stream.begin(port, "watch")
        await stream.say(create(b"k", b"l", start_revision=world.revision, prev_kv=True))
        await stream.next()
        (watcher,) = world.hub._keys.members()
        await until(lambda: watcher.live)
        await stream.close()
        await until(lambda: not world.hub.open)


async def test_a_line_is_made_no_faster_than_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 MB of events for a client that does not read: some slices are encoded, and then no more."""
    encoded = 0
    real: Callable[..., bytes] = watch_module._event

    def counted(*given: Any, **named: Any) -> bytes:
        nonlocal encoded
        encoded += 1
        return real(*given, **named)

    monkeypatch.setattr(watch_module, "_event", counted)
    world = Watched()
    deleted_at_once(world, 2000, bytes(10_000))
    async with world.served() as port, await Stream.begin(port, "watch") as stream:
        await stream.say(create(b"k", b"l", start_revision=world.revision, prev_kv=True))
        await stream.next()
        (watcher,) = world.hub._keys.members()
        await until(lambda: watcher.live)
        before = -1
        while encoded != before:
            before = encoded
            await trio.sleep(0.05)
        assert 0 < encoded < 1500
        assert len((await stream.next())["events"]) == 2000
