"""Long polls and streams."""

import json

import pytest
import trio
import trio.testing

from core.api.v2 import watching
from core.api.v2.counters import Counters
from core.api.v2.keys import Keys
from core.api.v2.render import event_body
from core.kv.errors import TreeError
from core.kv.records import Event
from tests.auth.support import open_gate
from tests.v2.fakes import FakeOutlet, FakeReply, FakeStore, FakeWatch, record, request


def wait(store: FakeStore, target: bytes) -> FakeReply:
    reply = FakeReply()
    Keys(store, open_gate(), "1", Counters())(request(b"GET", b"/v2/keys" + target), reply)
    assert reply.answers == 1
    return reply


async def produced(reply: FakeReply, outlet: FakeOutlet | None = None) -> FakeOutlet:
    assert reply.produce is not None
    outlet = outlet or FakeOutlet()
    await reply.produce(outlet)
    return outlet


def event(index: int) -> Event:
    return Event(record(b"/k", b"v%d" % index, index=index), None)


CLEARED = TreeError(TreeError.HISTORY_CLEARED, "the requested history has been cleared [30/1]", 40)


async def test_a_long_poll_gives_one_event() -> None:
    store = FakeStore()
    store.watch_with = watch = FakeWatch([(event(41), event(42))])
    outlet = await produced(wait(store, b"/k?wait=true"))
    assert outlet.status == 200
    assert b"X-Etcd-Index: 40\r\nX-Raft-Index: 50\r\nX-Raft-Term: 3\r\n" in outlet.headers
    assert outlet.body == (b'{"action":"set","node":{"key":"/k","value":"v41","modifiedIndex":41,"createdIndex":41}}\n')
    assert not watch.open


async def test_the_head_is_sent_before_any_event_and_the_client_may_go() -> None:
    store = FakeStore()
    store.watch_with = watch = FakeWatch(())
    reply = wait(store, b"/k?wait=true&stream=true")
    outlet = FakeOutlet()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(produced, reply, outlet)
        await trio.testing.wait_all_tasks_blocked()
        assert (outlet.status, outlet.pieces, watch.open) == (200, [], True)
        nursery.cancel_scope.cancel()
    assert not watch.open


async def test_a_stream_gives_every_event_a_line() -> None:
    store = FakeStore()
    store.watch_with = FakeWatch([(event(41),), (event(42), event(43)), CLEARED])
    outlet = await produced(wait(store, b"/k?wait=true&stream=true"))
    lines = outlet.body.splitlines()
    assert [json.loads(line)["node"]["modifiedIndex"] for line in lines] == [41, 42, 43]
    assert len(outlet.pieces) == 2


async def test_a_watch_begins_when_the_request_arrives() -> None:
    store = FakeStore()
    store.watch_with = FakeWatch(((event(41),),))
    reply = wait(store, b"/k?wait=true&recursive=true")
    store.revision = 99
    outlet = await produced(reply)
    assert store.watched == [(b"/k", True, 41)]
    assert b"X-Etcd-Index: 40\r\n" in outlet.headers


async def test_wait_index() -> None:
    for given, start in ((b"0", 41), (b"1", 1), (b"7", 7), (b"18446744073709551615", 2**64 - 1)):
        store = FakeStore()
        store.watch_with = FakeWatch(((event(41),),))
        await produced(wait(store, b"/?wait=true&waitIndex=" + given))
        assert store.watched == [(b"/", False, start)]


async def test_history_that_is_gone_is_told_before_the_first_byte() -> None:
    store = FakeStore()
    store.watch_with = CLEARED
    outlet = await produced(wait(store, b"/k?wait=true&waitIndex=1"))
    assert outlet.status == 400
    assert b"X-Etcd-Index: 40\r\n" in outlet.headers
    assert outlet.body == (
        b'{"errorCode":401,"message":"The event in requested index is outdated and cleared",'
        b'"cause":"the requested history has been cleared [30/1]","index":40}\n'
    )


async def test_history_that_goes_later_ends_the_answer() -> None:
    store = FakeStore()
    store.watch_with = watch = FakeWatch([CLEARED])
    outlet = await produced(wait(store, b"/k?wait=true&waitIndex=35"))
    assert (outlet.status, outlet.body, watch.open) == (200, b"", False)


async def test_a_wait_with_quorum_is_confirmed_and_waits() -> None:
    store = FakeStore()
    store.watch_with = FakeWatch(((event(41),),))
    outlet = await produced(wait(store, b"/k?wait=true&quorum=true"))
    assert store.confirmed == 1
    assert b"v41" in outlet.body


async def test_an_event_is_encoded_once_for_all_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = 0

    def counted(store: FakeStore, event: Event) -> bytes:
        nonlocal encoded
        encoded += 1
        return event_body(store, event)

    monkeypatch.setattr(watching, "event_body", counted)
    store = FakeStore()
    keys = Keys(store, open_gate(), "1", Counters())
    bodies = []
    for _ in range(5):
        store.watch_with = FakeWatch(((event(41),),))
        reply = FakeReply()
        keys(request(b"GET", b"/v2/keys/k?wait=true"), reply)
        bodies.append((await produced(reply)).body)
    assert encoded == 1
    assert len(set(bodies)) == 1
