"""The judge itself must be able to say no: wrong expectations, played against real etcd, are all found."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.judge import DifferenceError, Game
from tests.conformance.table import CaseSyntaxError, read
from tests.whole.servers import Server, missing

pytestmark = pytest.mark.slow

WRONG = """
## the status
PUT ~/a value=1
    200 *

## the action
PUT ~/a value=1
    201 create
        node {"key":"~/a","value":"1","modifiedIndex":{+1},"createdIndex":{+1}}

## the value
PUT ~/a value=1
    201 set
        node {"key":"~/a","value":"2","modifiedIndex":{+1},"createdIndex":{+1}}

## the index
PUT ~/a value=1
    201 set
        node {"key":"~/a","value":"1","modifiedIndex":{+2},"createdIndex":{+1}}

## a field too many
PUT ~/a value=1
    201 set
        node {"key":"~/a","value":"1","dir":true,"modifiedIndex":{+1},"createdIndex":{+1}}

## a node too few
PUT ~/a value=1
    201 set

## the order of a sorted listing
PUT ~/a value=1
    201 *
PUT ~/b dir=true
    201 *
GET ~?sorted=true
    200 get
        node {"key":"~","dir":true,"modifiedIndex":{+1},"createdIndex":{+1},"nodes":[
"""
WRONG_LISTING = (
    '{"key":"~/b","dir":true,"modifiedIndex":{+2},"createdIndex":{+2}},'
    '{"key":"~/a","value":"1","modifiedIndex":{+1},"createdIndex":{+1}}]}'
)
MORE = """

## the cause
GET ~/a
    404 error 100 "~/a" {+0}

## the code
GET ~/a
    404 error 101 "~" {+0}

## a header
GET ~/a
    404 error 100 "~" {+0}
    X-Etcd-Index: {+1}

## a header that is there
GET ~/a
    404 error 100 "~" {+0}
    X-Etcd-Index: -

## an event that is another
w = GET ~/a?wait=true
    200
PUT ~/a value=1
    201 *
w gives delete

## a watch that goes on
w = GET ~/a?wait=true&stream=true
    200
PUT ~/a value=1
    201 *
PUT ~/a value=2
    200 *
DELETE ~/a
    200 *
w ends
"""


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if missing("etcd"):
        pytest.skip(missing("etcd"))
    with Server("etcd", tmp_path_factory.mktemp("etcd")) as running:
        yield running


def test_each_wrong_expectation_is_found(etcd: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.conformance.judge.WAIT_SECONDS", 1.0)
    table = tmp_path / "wrong.txt"
    table.write_text(WRONG.rstrip("\n") + WRONG_LISTING + MORE)
    cases = read(table)
    assert len(cases) == 13
    for case in cases:
        with pytest.raises(DifferenceError):
            Game(etcd.kind, etcd.port).play(case)


@pytest.mark.parametrize(
    "text", ["PUT ~/a", "## t\nPUT ~/a", "## t\n    200 set", "## t\nPUT ~/a\n    hello", "## t\nnonsense"]
)
def test_a_line_that_is_not_understood_is_named(tmp_path: Path, text: str) -> None:
    table = tmp_path / "broken.txt"
    table.write_text(text)
    with pytest.raises(CaseSyntaxError, match=r"broken\.txt:\d"):
        read(table)
