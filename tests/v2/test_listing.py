"""Directories: shapes, order, hidden names, and listings larger than a slice."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from core.api.v2.counters import Counters
from core.api.v2.keys import SYNCHRONOUS_SLICES, Keys
from core.api.v2.listing import SLICE_BYTES, SLICE_NODES, Listing
from core.kv.records import Record
from tests.auth.support import open_gate
from tests.v2.fakes import NOW, SECOND, FakeOutlet, FakeReply, FakeStore, record, request

LARGE = SLICE_NODES * (SYNCHRONOUS_SLICES + 3)


def get(store: FakeStore, target: bytes) -> FakeReply:
    reply = FakeReply()
    Keys(store, open_gate(), "1", Counters())(request(b"GET", b"/v2/keys" + target), reply)
    return reply


def directory(path: bytes, index: int = 5, deadline: int = 0) -> Record:
    return record(path, directory=True, index=index, deadline=deadline)


def tree() -> FakeStore:
    return FakeStore(
        directory(b"/d"),
        directory(b"/d/e", 6),
        record(b"/d/e/f", b"1", index=6),
        directory(b"/d/_hidden"),
        record(b"/d/_hidden/x"),
        record(b"/d/_secret"),
        record(b"/d/z", b"", index=8),
        directory(b"/empty"),
        record(b"/_top"),
    )


def test_one_level() -> None:
    assert get(tree(), b"/d").sent.body == (
        b'{"action":"get","node":{"key":"/d","dir":true,"nodes":['
        b'{"key":"/d/e","dir":true,"modifiedIndex":6,"createdIndex":6},'
        b'{"key":"/d/z","value":"","modifiedIndex":8,"createdIndex":8}],"modifiedIndex":5,"createdIndex":5}}\n'
    )


def test_all_levels() -> None:
    assert get(tree(), b"/d?recursive=true&sorted=true").sent.body == (
        b'{"action":"get","node":{"key":"/d","dir":true,"nodes":['
        b'{"key":"/d/e","dir":true,"nodes":[{"key":"/d/e/f","value":"1","modifiedIndex":6,"createdIndex":6}],'
        b'"modifiedIndex":6,"createdIndex":6},'
        b'{"key":"/d/z","value":"","modifiedIndex":8,"createdIndex":8}],"modifiedIndex":5,"createdIndex":5}}\n'
    )


@pytest.mark.parametrize("query", [b"", b"?recursive=true"])
def test_an_empty_directory_has_no_nodes(query: bytes) -> None:
    assert get(tree(), b"/empty" + query).sent.body == (
        b'{"action":"get","node":{"key":"/empty","dir":true,"modifiedIndex":5,"createdIndex":5}}\n'
    )


def test_the_root_has_neither_key_nor_indexes() -> None:
    assert get(tree(), b"/").sent.body == (
        b'{"action":"get","node":{"dir":true,"nodes":['
        b'{"key":"/d","dir":true,"modifiedIndex":5,"createdIndex":5},'
        b'{"key":"/empty","dir":true,"modifiedIndex":5,"createdIndex":5}]}}\n'
    )
    assert get(FakeStore(), b"").sent.body == b'{"action":"get","node":{"dir":true}}\n'


def test_hidden_directories_show_what_is_in_them_when_asked() -> None:
    answer = json.loads(get(tree(), b"/d/_hidden?recursive=true").sent.body)
    assert [node["key"] for node in answer["node"]["nodes"]] == ["/d/_hidden/x"]


def test_a_ttl_stands_before_the_nodes() -> None:
    store = FakeStore(directory(b"/d", deadline=NOW + SECOND), record(b"/d/x", b"1"))
    assert get(store, b"/d").sent.body == (
        b'{"action":"get","node":{"key":"/d","dir":true,"expiration":"2026-09-21T14:30:01.25Z","ttl":1,"nodes":['
        b'{"key":"/d/x","value":"1","modifiedIndex":7,"createdIndex":7}],"modifiedIndex":5,"createdIndex":5}}\n'
    )


def large(count: int = LARGE, value: bytes = b"v") -> FakeStore:
    return FakeStore(directory(b"/d"), *(record(b"/d/%06d" % number, value) for number in range(count)))


async def streamed(reply: FakeReply, outlet: FakeOutlet) -> Any:
    assert reply.produce is not None
    await reply.produce(outlet)
    return json.loads(outlet.body) if not outlet.aborted else None


async def test_a_large_listing_is_a_stream_of_one_index() -> None:
    store = large()

    def change() -> None:
        """The store goes on between the slices."""
        store.revision += 1

    outlet = FakeOutlet(change)
    answer = await streamed(get(store, b"/d"), outlet)
    assert [node["key"] for node in answer["node"]["nodes"]] == [f"/d/{number:06d}" for number in range(LARGE)]
    assert b"X-Etcd-Index: 40\r\n" in outlet.headers
    assert outlet.status == 200
    assert {at for _, _, at in store.pages} == {None, 40}
    assert max(limit for _, limit, _ in store.pages) <= SLICE_NODES


async def test_a_listing_whose_index_is_compacted_away_breaks_off() -> None:
    store = large()

    def compact() -> None:
        store.revision += 1
        store.compacted = True

    outlet = FakeOutlet(compact)
    await streamed(get(store, b"/d"), outlet)
    assert outlet.aborted
    assert not outlet.body.endswith(b"}\n")


async def test_long_listings_hold_the_loop_for_one_slice_together(monkeypatch: pytest.MonkeyPatch) -> None:
    made = 0
    slices = Listing.slices

    def counted(listing: Listing) -> Iterator[bytes]:
        nonlocal made
        for piece in slices(listing):
            made += 1
            yield piece

    monkeypatch.setattr(Listing, "slices", counted)
    keys = Keys(large(), open_gate(), "1", Counters())
    most = 0
    async with trio.open_nursery() as nursery:
        for _ in range(20):
            reply = FakeReply()
            keys(request(b"GET", b"/v2/keys/d"), reply)
            assert reply.produce is not None
            nursery.start_soon(reply.produce, FakeOutlet())
        while nursery.child_tasks:
            before = made
            await trio.lowlevel.checkpoint()
            most = max(most, made - before)
    assert made >= 20 * LARGE // SLICE_NODES
    assert most <= 2, "between two turns of this task at most the slices of two rounds"


def test_a_listing_that_fits_is_answered_at_once() -> None:
    assert len(json.loads(get(large(SLICE_NODES), b"/d").sent.body)["node"]["nodes"]) == SLICE_NODES


@pytest.mark.parametrize("count", range(SLICE_NODES - 4, SLICE_NODES + 1))
def test_no_slice_is_lost_at_its_edge(count: int) -> None:
    listing = Listing(large(count), directory(b"/d"), recursive=False)
    assert len(json.loads(b"".join(listing.slices()))["node"]["nodes"]) == count
    assert listing.complete


def test_pages_follow_the_size_of_the_values() -> None:
    store = large(200, b"v" * SLICE_BYTES)
    slices = list(Listing(store, directory(b"/d"), recursive=False).slices())
    assert len(slices) >= 200
    assert [limit for _, limit, _ in store.pages][-1] == 1


def test_a_tree_deeper_than_pythons_stack() -> None:
    depth = 3000
    store = FakeStore(*(directory(b"/d" * level) for level in range(1, depth + 1)))
    body = b"".join(Listing(store, None, recursive=True).slices())
    assert body.count(b'"nodes":[') == depth
    assert body.count(b"{") == body.count(b"}") == depth + 2
