"""Every case of the table, against this node and against real etcd."""

from collections.abc import Iterator

import pytest

from tests.conformance.judge import Game
from tests.conformance.table import Case, read_all
from tests.whole.servers import KINDS, Kind, Server, missing

CASES = read_all()
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    kind: Kind = request.param
    if missing(kind):
        pytest.skip(missing(kind))
    with Server(kind, tmp_path_factory.mktemp(kind), extra=("--cors", "*")) as running:
        yield running


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(server: Server, case: Case) -> None:
    Game(server.kind, server.port).play(case)


def test_the_table_is_large_and_says_why_servers_differ() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names)) >= 150
    silent = [case.name for case in CASES if case.differs() and not any(r.startswith("why:") for r in case.remarks)]
    assert silent == []
