"""Every case of the table on real etcd and on this node, and that no path is without a test."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.v3.compare import Answer, Player
from tests.v3.paths import ELSEWHERE, all_paths, covered
from tests.v3.table import CASES, Case, Step, read, read_all
from tests.whole.servers import Kind, Server, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing("etcd")), reason="needs Debian's package etcd-server")]

Servers = dict[Kind, Server]
OWN = ("auth",)
"""Files whose cases change more than keys."""
FILES = sorted(file.stem for file in CASES.glob("*.txt"))


def both(home: Path) -> Iterator[Servers]:
    with Server("corenode", home / "corenode") as ours, Server("etcd", home / "etcd") as theirs:
        yield {"corenode": ours, "etcd": theirs}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    yield from both(tmp_path_factory.mktemp("shared"))


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Servers]:
    yield from both(tmp_path)


@pytest.mark.parametrize("file", [file for file in FILES if file not in OWN])
def test_the_same_answers_as_etcd(shared: Servers, file: str) -> None:
    compare(shared, file)


@pytest.mark.parametrize("file", OWN)
def test_the_same_answers_as_etcd_from_a_fresh_start(fresh: Servers, file: str) -> None:
    compare(fresh, file)


def compare(servers: Servers, file: str) -> None:
    problems = []
    for case in read(CASES / f"{file}.txt"):
        ours, theirs = Player(servers["corenode"]), Player(servers["etcd"])
        for step in case.steps:
            found, wanted = ours.ask(step), theirs.ask(step)
            problem = difference(step, found, wanted)
            if problem:
                where = f"{case.file}.txt:{step.line}: {step.target} {step.body}"
                problems.append(f"{where}\n  {problem}\n    etcd     {wanted}\n    corenode {found}")
        clear(servers)
    assert not problems, "\n".join(problems)


def difference(step: Step, found: Answer, wanted: Answer) -> str:
    """What is not as the table says, or nothing."""
    if not step.status:
        return "" if found == wanted else "the answers differ"
    if found == wanted:
        return "the answers are the same"
    if found.status != step.status:
        return f"the status is not {step.status}"
    if step.code is not None and _code(found) != step.code:
        return f"the code is not {step.code}"
    return ""


def _code(answer: Answer) -> Any:
    return answer.body[0].get("code") if isinstance(answer.body[0], dict) else None


def clear(servers: Servers) -> None:
    """Remove all keys between two cases."""
    step = Step(
        0, "POST", "kv/deleterange", "/v3/kv/deleterange", '{"key":"AA==","range_end":"AA=="}', False, True, "", ""
    )
    for server in servers.values():
        Player(server).ask(step)


def test_no_path_is_without_a_test(record_property: Callable[[str, object], None]) -> None:
    tests = covered()
    paths = all_paths()
    assert [path for path in paths if path not in tests] == []
    assert set(ELSEWHERE) <= set(paths)
    assert set(ELSEWHERE) <= set(tests), "a file that tests a path is not there"
    requests = sum(len(case.steps) for case in read_all())
    record_property("checked", f"{len(paths)} paths, {requests} requests asked of both servers")


def test_titles_are_unique() -> None:
    cases: list[Case] = read_all()
    assert len({(case.file, case.title) for case in cases}) == len(cases)
