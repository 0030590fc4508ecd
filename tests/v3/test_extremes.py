"""Well-formed requests with the ends of every type in them: each is answered, whatever comes of it at the members."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import inspect

from core.api.store import Outcome
from core.api.v3.calls import Several, Unary
from core.kv import commands as c
from tests.v2.fakes import LOCAL
from tests.v3.client import b64
from tests.v3.world import World

KEYS = (
    "",
    "a",
    "/",
    "/a",
    "/a/b",
    "//",
    "\0",
    "\0corenode/",
    "\0corenode/fleet/units/a",
    "\0corenode/auth/switch",
    "b",
)
NUMBERS = (0, 1, -1, 2, 2**31, -(2**31), 2**62, 2**63 - 1, -(2**63), 2**63, 2**64 - 1, 2**64, 10**30)
WORDS = ("", "root", "a", "\u00e9", "x" * 300, "\0", "/a", "READ", "CREATE", "KEY", "DESCEND")


class Logged(World):
    """Commands go through the form they have in the log."""

    def apply(self, command: c.Command) -> Outcome:
        batch = c.decode(c.encode(c.Batch(self.clock.now(), (command,))))
        return self.keyspace.apply(next(self._log), 3, batch)[0][0]


def variants(kind: type, depth: int = 4) -> Iterator[dict[str, Any]]:
    """Messages of that kind with one field, or a key and one field, at each end of its type; those within too."""
    described = inspect.type_info(kind)
    assert isinstance(described, inspect.StructType)
    names = {field.encode_name for field in described.fields}
    usual = {"key": b64("a")} if "key" in names else {}
    wide = {**usual, "range_end": b64("b")} if "range_end" in names else usual
    for field in described.fields:
        for value in values(field.type, depth):
            for base in (usual, wide)[: 1 + ("range_end" in names)]:
                yield {**base, field.encode_name: value}


def values(wanted: inspect.Type, depth: int) -> Iterator[Any]:
    match wanted:
        case inspect.BytesType():
            yield from map(b64, KEYS)
        case inspect.BoolType():
            yield True
        case inspect.StrType():
            yield from WORDS
        case inspect.VarTupleType():
            yield []
            yield from ([value] for value in values(wanted.item_type, depth))
            yield from ([value, value] for value in values(wanted.item_type, depth - 1))
        case inspect.StructType():
            yield {}
            yield from variants(wanted.cls, depth - 1) if depth > 0 else ()
        case inspect.UnionType():
            structs = [each for each in wanted.types if isinstance(each, inspect.StructType)]
            for each in structs:
                yield from values(each, depth)
            if not structs:
                yield from NUMBERS
                yield from map(str, NUMBERS)
                yield from WORDS


KINDS = {path: handler.kind for path, handler in World().handlers.items() if isinstance(handler, Unary | Several)}


@pytest.mark.parametrize("path", sorted(KINDS))
def test_any_well_formed_request_is_answered(path: str) -> None:
    world = Logged()
    for key in ("a", "aa", "/a/b"):
        world.answer("kv/put", {"key": b64(key), "value": b64("1")})
    world.answer("lease/grant", {"ID": 1, "TTL": 60})
    write = {"request_put": {"key": b64("z")}}
    for message in variants(KINDS[path]):
        if path == "kv/txn" and "success" in message:  # else it is only a read, which does not go through the log
            message["success"].append(write)
        reply = world.ask(path, json.dumps(message).encode(), LOCAL)
        assert reply.answers <= 1  # none while a password is being hashed
