"""Random requests of KV and leases asked of etcd and of this node: every answer must be the same."""

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.v3.client import b64
from tests.v3.compare import Player
from tests.v3.table import Step
from tests.whole.servers import Server, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing("etcd")), reason="needs Debian's package etcd-server")]
REQUESTS = 500
OUTERMOST = 2
"""Transactions within transactions."""
KEYS = [b64(key) for key in (b"a", b"aa", b"b", b"ba", b"c", b"/d", b"/d/e", b"/d/e/f", b"\xff", b"\xff\x00")]
ENDS = ["", "", "", b64(b"\0"), b64(b"b"), b64(b"c"), b64(b"/e"), b64(b"\xff\xff")]
VALUES = [b64(value) for value in (b"", b"1", b"2", b"\x00\xff")]


class Asker:
    """Makes requests at random; `$rN` stands for a revision that came back before."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def request(self) -> tuple[str, dict[str, Any]]:
        kinds: list[tuple[int, Callable[[], tuple[str, dict[str, Any]]]]] = [
            (5, lambda: ("kv/put", self.put())),
            (5, lambda: ("kv/range", self.range())),
            (2, lambda: ("kv/deleterange", self.delete())),
            (5, lambda: ("kv/txn", self.txn(OUTERMOST))),
            (1, lambda: ("lease/grant", {"ID": self.lease(), "TTL": "1000"})),
            (1, lambda: ("lease/revoke", {"ID": self.lease()})),
            (1, lambda: ("lease/timetolive", {"ID": self.lease()})),
        ]
        weights, makers = zip(*kinds, strict=True)
        make: Callable[[], tuple[str, dict[str, Any]]] = self._random.choices(makers, weights)[0]
        return make()

    def put(self) -> dict[str, Any]:
        return self.some(
            {"key": self.of(KEYS)},
            value=self.of(VALUES),
            lease=self.of(["0", self.lease()]),
            prev_kv=True,
            ignore_value=self.often(0.2),
            ignore_lease=self.often(0.2),
        )

    def range(self) -> dict[str, Any]:
        return self.some(
            {"key": self.of(KEYS), "range_end": self.of(ENDS)},
            limit=self._random.randrange(5),
            sort_order=self.of(["NONE", "ASCEND", "DESCEND"]),
            sort_target=self.of(["KEY", "CREATE", "MOD", "KEY"]),
            revision=self.revision(),
            min_mod_revision=self.revision(),
            max_create_revision=self.revision(),
            keys_only=True,
            count_only=self.often(0.3),
            serializable=True,
        )

    def delete(self) -> dict[str, Any]:
        """Not up to the end of all: within a transaction etcd takes that for a range of nothing."""
        ends = [end for end in ENDS if end != b64(b"\0")]
        return self.some({"key": self.of(KEYS), "range_end": self.of(ends)}, prev_kv=True)

    def txn(self, depth: int) -> dict[str, Any]:
        return {
            "compare": [self.compare() for _ in range(self._random.randrange(3))],
            "success": [self.operation(depth) for _ in range(self._random.randrange(4))],
            "failure": [self.operation(depth) for _ in range(self._random.randrange(4))],
        }

    def compare(self) -> dict[str, Any]:
        target, field, operand = self.of(
            [
                ("VERSION", "version", self._random.randrange(3)),
                ("CREATE", "create_revision", self.revision()),
                ("MOD", "mod_revision", self.revision()),
                ("VALUE", "value", self.of(VALUES)),
                ("LEASE", "lease", self.of(["0", self.lease()])),
            ]
        )
        asked = {"key": self.of(KEYS), "range_end": self.of(ENDS), "target": target, field: operand}
        return {**asked, "result": self.of(["EQUAL", "GREATER", "LESS", "NOT_EQUAL"])}

    def operation(self, depth: int) -> dict[str, Any]:
        # What a nested transaction puts and a later one deletes, etcd overlooks: only the outermost deletes here.
        kind = self.of(
            ["range", "put", "put", *(["txn"] if depth else []), *(["delete"] if depth == OUTERMOST else [])]
        )
        if kind == "txn":
            return {"request_txn": self.txn(depth - 1)}
        made = {"range": self.range, "put": self.put, "delete": self.delete}[kind]()
        return {"request_delete_range" if kind == "delete" else f"request_{kind}": made}

    def lease(self) -> str:
        return str(self._random.randrange(1, 5))

    def revision(self) -> str:
        return f"$r{self._random.randrange(1, 200)}"

    def of(self, choices: list[Any]) -> Any:
        return self._random.choice(choices)

    def often(self, share: float) -> bool:
        return self._random.random() < share

    def some(self, always: dict[str, Any], **maybe: Any) -> dict[str, Any]:
        """The fields, each of the others one time in three."""
        return always | {name: value for name, value in maybe.items() if self.often(0.34)}


def step(path: str, body: str) -> Step:
    found = Step(0, "POST", path, f"/v3/{path}", body, False, False, "", "")
    found.about = frozenset({"TTL", "grantedTTL"})
    return found


def test_the_same_answers_to_random_requests(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    seed = int(os.environ.get("SEED", random.randrange(1 << 32)))
    asker = Asker(seed)
    with Server("corenode", tmp_path / "corenode") as ours, Server("etcd", tmp_path / "etcd") as theirs:
        here, there = Player(ours), Player(theirs)
        for number in range(REQUESTS):
            path, body = asker.request()
            asked = step(path, here.known(json.dumps(body)))
            found, wanted = here.ask(asked), there.ask(asked)
            assert found == wanted, f"SEED={seed}, request {number}: {path} {asked.body}"
    record_property("checked", f"{REQUESTS} requests, seed {seed}")
