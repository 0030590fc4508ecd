"""JSON of nodes and events, byte for byte as etcd writes it."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.api.v2.render import event_body, node_body, rfc3339, text
from core.kv.records import Action, Event, Record
from tests.v2.fakes import NOW, SECOND, FakeStore, record

STORE = FakeStore()


def body(new: Record, old: Record | None = None) -> bytes:
    return event_body(STORE, Event(new, old))


def test_a_set() -> None:
    assert body(record(b"/foo", b"bar")) == (
        b'{"action":"set","node":{"key":"/foo","value":"bar","modifiedIndex":7,"createdIndex":7}}\n'
    )


def test_a_set_over_another_value() -> None:
    assert body(record(b"/foo", b""), record(b"/foo", b"x", index=5, created=3)) == (
        b'{"action":"set","node":{"key":"/foo","value":"","modifiedIndex":7,"createdIndex":7},'
        b'"prevNode":{"key":"/foo","value":"x","modifiedIndex":5,"createdIndex":3}}\n'
    )


def test_expiration_and_ttl() -> None:
    new = record(b"/foo", b"bar", action=Action.CREATE, deadline=NOW + 4 * SECOND + 1)
    assert body(new) == (
        b'{"action":"create","node":{"key":"/foo","value":"bar","expiration":"2026-09-21T14:30:04.25Z","ttl":5,'
        b'"modifiedIndex":7,"createdIndex":7}}\n'
    )


@pytest.mark.parametrize(
    ("left", "ttl"), [(SECOND, 1), (SECOND + 1, 2), (1, 1), (0, None), (-1, None), (-5 * SECOND, None)]
)
def test_ttl_is_rounded_up_and_never_negative(left: int, ttl: int | None) -> None:
    node = json.loads(body(record(b"/foo", deadline=NOW + left)))["node"]
    assert node.get("ttl") == ttl
    assert "expiration" in node


def test_a_directory() -> None:
    assert body(record(b"/d", directory=True)) == (
        b'{"action":"set","node":{"key":"/d","dir":true,"modifiedIndex":7,"createdIndex":7}}\n'
    )


def test_the_ttl_of_a_directory_moves_in_the_event_but_not_in_the_directory() -> None:
    new = record(b"/d", directory=True, index=9, modified=7, created=7, action=Action.UPDATE)
    assert b'"modifiedIndex":9,"createdIndex":7}}' in body(new)
    assert b'"modifiedIndex":7,"createdIndex":7}}' in node_body(STORE, new)
    assert b'"prevNode":{"key":"/d","dir":true,"modifiedIndex":7' in body(record(b"/d", directory=True, index=11), new)


def test_a_deletion_shows_no_content_but_the_old_node() -> None:
    new = record(b"/foo", index=9, created=7, action=Action.DELETE, gone=True)
    assert body(new, record(b"/foo", b"bar")) == (
        b'{"action":"delete","node":{"key":"/foo","modifiedIndex":9,"createdIndex":7},'
        b'"prevNode":{"key":"/foo","value":"bar","modifiedIndex":7,"createdIndex":7}}\n'
    )
    new = record(b"/d", index=9, created=7, action=Action.DELETE, gone=True, directory=True)
    assert body(new, record(b"/d", directory=True)) == (
        b'{"action":"delete","node":{"key":"/d","dir":true,"modifiedIndex":9,"createdIndex":7},'
        b'"prevNode":{"key":"/d","dir":true,"modifiedIndex":7,"createdIndex":7}}\n'
    )


def test_an_expiry_shows_when_it_was_due_and_no_ttl() -> None:
    new = record(b"/foo", index=9, created=7, action=Action.EXPIRE, gone=True)
    assert body(new, record(b"/foo", b"bar", deadline=NOW)) == (
        b'{"action":"expire","node":{"key":"/foo","modifiedIndex":9,"createdIndex":7},'
        b'"prevNode":{"key":"/foo","value":"bar","expiration":"2026-09-21T14:30:00.25Z",'
        b'"modifiedIndex":7,"createdIndex":7}}\n'
    )


@pytest.mark.parametrize("action", Action)
def test_every_action_has_etcds_word(action: Action) -> None:
    word = json.loads(body(record(b"/foo", action=action)))["action"]
    assert word in {"set", "create", "update", "compareAndSwap", "delete", "compareAndDelete", "expire"}


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\xff\xe2\x82", "\ufffd\ufffd\ufffd"),
        (b"\xed\xa0\x80", "\ufffd\ufffd\ufffd"),
        (b"a\xf0\x9f\x98", "a\ufffd\ufffd\ufffd"),
        (b"\xc0\x80", "\ufffd\ufffd"),
        ("\U0001f600\0\u2028".encode(), "\U0001f600\0\u2028"),
    ],
)
def test_each_byte_that_is_no_utf8_is_replaced_as_go_does(raw: bytes, shown: str) -> None:
    assert text(raw) == shown
    assert json.loads(body(record(b"/k", raw)))["node"]["value"] == shown


@given(st.text(), st.text())
def test_any_text_comes_back(name: str, value: str) -> None:
    try:
        key, raw = name.encode(), value.encode()
    except UnicodeEncodeError:
        return
    node = json.loads(node_body(STORE, record(key, raw)))["node"]
    assert (node.get("key", ""), node["value"]) == (name, value)


@pytest.mark.parametrize(
    ("wall", "shown"),
    [
        (0.0, "1970-01-01T00:00:00Z"),
        (1_790_000_000.25, "2026-09-21T14:13:20.25Z"),
        (1_790_000_000.1234567, "2026-09-21T14:13:20.123457Z"),
    ],
)
def test_times_are_as_go_prints_them(wall: float, shown: str) -> None:
    assert rfc3339(wall) == shown


def test_an_event_shows_the_ttl_of_its_moment_however_late_it_is_read() -> None:
    then = NOW - 50 * SECOND
    new = msgspec.structs.replace(record(b"/foo", b"bar", index=9, deadline=then + 100 * SECOND), time=then)
    old = record(b"/foo", b"old", deadline=then + 7 * SECOND)
    found = msgspec.json.decode(body(new, old))
    assert (found["node"]["ttl"], found["prevNode"]["ttl"]) == (100, 7)
