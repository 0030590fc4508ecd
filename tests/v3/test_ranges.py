"""Ranges of any size: the same as a simple model says, in slices that each do little, of one revision."""

import json
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from core.api.v3 import sorting, txn
from core.kv.access import Span
from core.kv.commands import Compact, DeleteRange, Put
from core.kv.reading import SCANNED
from core.kv.transaction import Table
from tests.v2.fakes import FakeOutlet, FakeReply
from tests.v3.client import b64, plain
from tests.v3.world import World

MANY = 2500
NAMES = [b"/k/%05d" % number for number in range(MANY)]
TARGETS = ("KEY", "VERSION", "CREATE", "MOD", "VALUE")


def filled() -> World:
    world = World()
    for number, name in enumerate(NAMES):
        world.apply(Put(name, b"%d" % (number * 7919 % 1000)))
    return world


WORLD = filled()
"""Never changed by a test that shares it."""


async def body_of(reply: FakeReply, outlet: FakeOutlet | None = None) -> Any:
    """The JSON of an answer, sent at once or in pieces."""
    if reply.response is not None:
        return json.loads(reply.response.body)
    outlet = outlet or FakeOutlet()
    assert reply.produce is not None
    await reply.produce(outlet)
    return json.loads(outlet.body)


def ask(world: World, **request: object) -> FakeReply:
    return world.ask("kv/range", json.dumps(request).encode())


def everything() -> dict[str, object]:
    return {"key": b64(b"\0"), "range_end": b64(b"\0")}


async def test_a_long_range_comes_whole_in_pieces() -> None:
    reply = ask(WORLD, **everything())
    outlet = FakeOutlet()
    found = await body_of(reply, outlet)
    assert [plain(kv["key"]) for kv in found["kvs"]] == NAMES
    assert found["count"] == str(MANY)
    assert len(outlet.pieces) > 5
    assert max(map(len, outlet.pieces[1:])) < 100_000


async def test_descending_limited_and_counted_over_many_slices() -> None:
    found = await body_of(ask(WORLD, **everything(), sort_order="DESCEND", limit=1500))
    assert [plain(kv["key"]) for kv in found["kvs"]] == NAMES[::-1][:1500]
    assert (found["more"], found["count"]) == (True, str(MANY))
    found = await body_of(ask(WORLD, **everything(), count_only=True))
    assert found.get("kvs") is None
    assert found["count"] == str(MANY)


async def test_sorted_by_value_over_many_slices() -> None:
    found = await body_of(ask(WORLD, **everything(), sort_target="VALUE", sort_order="DESCEND", limit="1100"))
    values = sorted(((b"%d" % (n * 7919 % 1000), -n) for n in range(MANY)), reverse=True)
    assert [plain(kv["key"]) for kv in found["kvs"]] == [NAMES[-place] for _, place in values[:1100]]
    assert found["more"] is True


async def test_what_is_written_between_slices_does_not_show() -> None:
    world = filled()
    revision = world.revision
    reply = ask(world, **everything())

    def disturb() -> None:
        world.apply(DeleteRange(NAMES[-1]))
        world.apply(Put(NAMES[-2], b"late"))
        world.apply(Put(b"/k/99999", b"new"))

    found = await body_of(reply, FakeOutlet(disturb))
    assert [plain(kv["key"]) for kv in found["kvs"]] == NAMES
    assert found["header"]["revision"] == str(revision)
    assert found["kvs"][-2].get("value") != b64("late")


async def test_a_range_whose_revision_is_compacted_away_breaks_off() -> None:
    world = filled()
    reply = ask(world, **everything())

    def compact() -> None:
        world.apply(Put(b"/other"))
        world.apply(Compact(world.revision))

    outlet = FakeOutlet(compact)
    assert reply.produce is not None
    await reply.produce(outlet)
    assert outlet.aborted


async def test_what_is_too_large_to_be_sorted_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorting, "HELD_MAX", 300_000)
    reply = ask(WORLD, **everything(), sort_target="MOD", sort_order="DESCEND")
    outlet = FakeOutlet()
    found = await body_of(reply, outlet)
    assert (outlet.status, found["code"], outlet.aborted) == (429, 8, False)
    assert "sorted" in found["message"]
    whole = await body_of(ask(WORLD, **everything()))
    assert whole["count"] == str(MANY)


def test_no_page_looks_at_more_than_its_share() -> None:
    page = WORLD.page(Span(b"", None), 0, MANY)
    assert 0 < len(page.records) <= SCANNED // 4
    assert page.rest is not None
    page = WORLD.page(Span(b"", None), 0, 0)
    assert page.count <= SCANNED


async def test_a_transaction_brings_no_range_without_bound() -> None:
    world = World()

    async def status(asked: object) -> int:
        reply, outlet = world.ask("kv/txn", json.dumps(asked).encode()), FakeOutlet()
        await body_of(reply, outlet)
        return outlet.status if reply.response is None else reply.response.status

    for number in range(10_001):
        world.apply(Put(b"x%05d" % number))
    whole = {"success": [{"request_range": everything()}]}
    assert (await body_of(world.ask("kv/txn", json.dumps(whole).encode())))["code"] == 3
    assert await status(whole) == 400
    before = world.revision
    writing = {"success": [{"request_put": {"key": b64("y")}}, *whole["success"]]}
    assert await status(writing) == 400
    assert world.revision == before, "refused as a whole"
    everywhere = {**everything(), "target": "VERSION", "result": "GREATER"}
    assert await status({"compare": [everywhere]}) == 400
    assert await status({"compare": [{**everywhere, "result": "LESS"}]}) == 200, "the first key decides"
    many = {**everything(), "limit": 300}
    assert await status({"success": [{"request_range": many}] * 3}) == 200
    assert await status({"success": [{"request_range": many}] * 30}) == 400, "all together count"
    counted = {**everything(), "count_only": True}
    assert await status({"success": [{"request_range": counted}]}) == 200
    limited = {"success": [{"request_range": {**everything(), "limit": 3}}]}
    found = await body_of(world.ask("kv/txn", json.dumps(limited).encode()))
    assert len(found["responses"][0]["response_range"]["kvs"]) == 3


keys = st.sampled_from([b"a", b"aa", b"b", b"ba", b"c", b"\xff", b"\xff\xff"])
ends = st.sampled_from([b"", b"\0", b"a", b"b", b"bb", b"d", b"\xff"])


@given(
    st.lists(st.tuples(keys, st.binary(max_size=2) | st.none()), max_size=20),
    st.tuples(keys | st.just(b"\0"), ends),
    st.integers(0, 4),
    st.sampled_from(TARGETS),
    st.sampled_from(["NONE", "ASCEND", "DESCEND"]),
    st.booleans(),
)
@settings(max_examples=200)
def test_ranges_are_what_a_model_says(
    writes: list[tuple[bytes, bytes | None]],
    span: tuple[bytes, bytes],
    limit: int,
    target: str,
    order: str,
    in_txn: bool,
) -> None:
    world = World()
    model: dict[bytes, tuple[int, int, int, bytes]] = {}
    for key, value in writes:
        if value is None:
            world.apply(DeleteRange(key))
            model.pop(key, None)
        else:
            world.apply(Put(key, value))
            version, created, _, _ = model.get(key, (0, world.revision, 0, b""))
            model[key] = (version + 1, created, world.revision, value)
    key, end = span
    found = [name for name in sorted(model) if key <= name and (end == b"\0" or name < end)]
    if not end:
        found = [key] if key in model else []
    count = len(found)
    if target != "KEY" and order == "NONE" and limit:
        found = found[: limit + 1]
    if target != "KEY":
        found.sort(key=lambda name: model[name][TARGETS.index(target) - 1], reverse=order == "DESCEND")
    elif order == "DESCEND":
        found.reverse()
    request = {"key": b64(key), "range_end": b64(end), "limit": limit, "sort_target": target, "sort_order": order}
    if in_txn:
        answer = world.answer("kv/txn", {"success": [{"request_range": request}]})[1]
        answer = answer["responses"][0]["response_range"]
    else:
        answer = world.answer("kv/range", request)[1]
    shown = found[:limit] if limit else found
    assert [plain(kv["key"]) for kv in answer.get("kvs", [])] == shown
    assert int(answer.get("count", 0)) == count
    assert answer.get("more", False) == (len(found) > len(shown))


async def test_a_large_delete_shows_what_it_ended_in_pieces() -> None:
    world = filled()
    outlet = FakeOutlet()
    asked = {"key": b64(b"/k/"), "range_end": b64(b"/k0"), "prev_kv": True}
    reply = world.ask("kv/deleterange", json.dumps(asked).encode())
    assert reply.produce is not None, "sent at once"
    answer = await body_of(reply, outlet)
    assert answer["deleted"] == str(MANY)
    assert [plain(each["key"]) for each in answer["prev_kvs"]] == NAMES


@pytest.mark.parametrize("within", [False, True])
async def test_a_large_delete_in_a_transaction_shows_what_it_ended_in_pieces(
    within: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(txn, "PIECE_BYTES", 10_000)
    world = filled()
    outlet = FakeOutlet()
    operation: dict[str, object] = {
        "request_delete_range": {"key": b64(b"/k/"), "range_end": b64(b"/k0"), "prev_kv": True}
    }
    if within:
        operation = {"request_txn": {"success": [operation]}}
    asked = {"success": [{"request_put": {"key": b64(b"/a"), "prev_kv": True}}, operation]}
    answer = await body_of(world.ask("kv/txn", json.dumps(asked).encode()), outlet)
    found = answer["responses"][1]
    if within:
        found = found["response_txn"]["responses"][0]
    found = found["response_delete_range"]
    assert found["deleted"] == str(MANY)
    assert [plain(each["key"]) for each in found["prev_kvs"]] == NAMES
    assert answer["header"]["revision"] == str(world.revision)
    assert len(outlet.pieces) > 2
    assert max(map(len, outlet.pieces[1:])) < 100_000


async def test_what_is_written_between_slices_of_a_transaction_of_reads_does_not_show() -> None:
    world = filled()
    revision = world.revision
    reads = [{"request_range": everything()}, {"request_range": {**everything(), "limit": "3"}}]
    reply = world.ask("kv/txn", json.dumps({"success": reads}).encode())
    outlet = FakeOutlet()
    assert reply.produce is not None, "sent at once"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(reply.produce, outlet)
        await trio.lowlevel.checkpoint()
        world.apply(DeleteRange(NAMES[0]))
        world.apply(DeleteRange(NAMES[-1]))
        world.apply(Put(NAMES[-2], b"late"))
        assert not outlet.pieces, "too late"
    answer = json.loads(outlet.body)
    assert answer["header"]["revision"] == str(revision)
    whole, few = (each["response_range"] for each in answer["responses"])
    assert [plain(kv["key"]) for kv in whole["kvs"]] == NAMES
    assert whole["kvs"][-2].get("value") != b64("late")
    assert [plain(kv["key"]) for kv in few["kvs"]] == NAMES[:3]
    assert (whole["count"], few["count"], few["more"]) == (str(MANY), str(MANY), True)


@pytest.mark.parametrize("place", [5, MANY - 5])
@pytest.mark.parametrize("path", ["kv/range", "kv/txn"])
async def test_a_damaged_row_ends_no_more_than_the_answer(path: str, place: int) -> None:
    """In its first slices or later: an error or a broken answer, and an alarm."""
    world = filled()
    record = world.keyspace.key(NAMES[place])
    assert record is not None
    world.rows.delete(Table.REVISION, record.position)
    asked = everything() if path == "kv/range" else {"success": [{"request_range": everything()}]}
    reply, outlet = world.ask(path, json.dumps(asked).encode()), FakeOutlet()
    if reply.produce is not None:
        await reply.produce(outlet)
    status = outlet.status if reply.response is None else reply.response.status
    assert outlet.aborted or status == 500
    assert world.damage.found
