"""The project keeps to its floors, and the check that says so can fail."""

import pytest

from tests.rules.layers import ROOMS, SAME_FLOOR, Room, unused_edges, upward_edges, violations
from tests.rules.source import PRODUCT, Source, sources

HOUSE = {
    "core.rules": Room(0, libraries="msgspec"),
    "core.disk": Room(1, "core.rules", "lmdb"),
    "core.api": Room(3, "core.rules", "trio"),
    "core.api.v2": Room(3, "core.api", "trio"),
}


def test_the_project_imports_only_what_the_table_lists() -> None:
    assert violations(sources(PRODUCT), ROOMS) == []


def test_the_table_itself_only_goes_down() -> None:
    assert upward_edges(ROOMS, SAME_FLOOR) == []


def test_the_table_allows_nothing_that_nobody_needs() -> None:
    assert unused_edges(sources(PRODUCT), ROOMS) == []


def test_every_exception_is_an_edge_of_the_table() -> None:
    assert [edge for edge in SAME_FLOOR if edge[1] not in ROOMS[edge[0]].rooms.split()] == []


@pytest.mark.parametrize(
    ("path", "text", "complaint"),
    [
        ("core/rules/a.py", "import core.disk\n", "core.rules -> core.disk"),
        ("core/rules/a.py", "from ..disk import Disk\n", "core.rules -> core.disk"),
        ("core/rules/__init__.py", "from ..disk import Disk\n", "core.rules -> core.disk"),
        ("core/rules/a.py", "def f():\n    from core.api import store\n", "core.rules -> core.api"),
        ("core/api/a.py", "from core.api import v2\n", "core.api -> core.api.v2"),
        ("core/rules/a.py", "import lmdb\n", "library lmdb"),
        ("core/rules/a.py", "import trio\n", "library trio"),
        ("core/rules/a.py", "import time\n", "time is not for rules"),
        ("core/rules/a.py", "from os import path\n", "os.path is not for rules"),
        ("core/rules/a.py", "import random\n", "random is not for rules"),
        ("core/rules/a.py", "from random import choice\n", "random.choice is not for rules"),
        ("core/rules/a.py", "def f():\n    return open('x')\n", "open() is not for rules"),
        ("core/disk/a.py", "import threading\n", "plain synchronous"),
        ("core/disk/a.py", "import trio\n", "library trio"),
        ("core/elsewhere/a.py", "", "no room"),
    ],
)
def test_a_bad_import_is_found(path: str, text: str, complaint: str) -> None:
    samples = [Source(path, text), Source("core/disk/__init__.py", ""), Source("core/api/v2/__init__.py", "")]
    found = violations(samples, HOUSE)
    assert len(found) == 1
    assert complaint in found[0]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("core/rules/a.py", "import struct\nfrom random import Random\nfrom collections.abc import Callable\n"),
        ("core/rules/a.py", "from . import b\nfrom core.rules.b import c\n"),
        ("core/disk/a.py", "import os\nimport lmdb\nfrom core.rules import b\n"),
        ("core/api/v2/a.py", "import trio\nfrom core.api.store import Store\n"),
    ],
)
def test_a_good_import_is_let_pass(path: str, text: str) -> None:
    assert violations([Source(path, text)], HOUSE) == []


def test_a_table_that_goes_up_is_found() -> None:
    house = {**HOUSE, "core.watch": Room(1, "core.disk core.api")}
    assert upward_edges(house, {}) == [
        "core.watch (floor 1) -> core.disk (floor 1)",
        "core.watch (floor 1) -> core.api (floor 3)",
    ]
    assert upward_edges(house, {("core.watch", "core.disk"): "because"}) == [
        "core.watch (floor 1) -> core.api (floor 3)"
    ]


def test_a_permission_that_nobody_needs_is_found() -> None:
    files = [Source("core/disk/a.py", "import lmdb\n"), Source("core/api/a.py", "import trio\nimport core.rules.b\n")]
    house = {name: HOUSE[name] for name in ("core.disk", "core.api", "core.rules")}
    assert unused_edges(files, house) == ["core.disk -> core.rules", "core.rules -> msgspec"]


def test_only_a_room_that_says_why_has_threads() -> None:
    files = [Source(f"core/{room}/a.py", "import concurrent.futures\nimport threading\n") for room in ("images", "tls")]
    found = violations(files, {"core.images": Room(1), "core.tls": Room(1)})
    assert [problem.partition(": ")[0] for problem in found] == [
        "core/images/a.py:2",
        "core/tls/a.py:1",
        "core/tls/a.py:2",
    ]
