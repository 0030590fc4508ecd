"""Every case of the table on real etcd and on this node, and that no path is without a test."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.api.v3.routes import table
from tests.v3.compare import Answer, Player
from tests.v3.table import CASES, Case, Step, read, read_all
from tests.whole.servers import Kind, Server, missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(missing("etcd")), reason="needs Debian's package etcd-server")]

ELSEWHERE: dict[str, str] = {
    "watch": "test_watch.py",
    "lock/lock": "test_lock.py",
    "lock/unlock": "test_lock.py",
    "election/campaign": "test_election.py",
    "election/proclaim": "test_election.py",
    "election/leader": "test_election.py",
    "election/observe": "test_election.py",
    "election/resign": "test_election.py",
}
"""Paths that no case can ask for: the file that tests each."""
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


def test_no_path_is_without_a_test() -> None:
    asked = {step.path for case in read_all() for step in case.steps} | set(ELSEWHERE)
    paths = set(table(*[Anything()] * 3))  # type: ignore[arg-type]
    assert paths - asked == set()
    assert set(ELSEWHERE) <= paths
    assert {name for name in ELSEWHERE.values() if not (Path(__file__).parent / name).exists()} == set()


def test_titles_are_unique() -> None:
    cases: list[Case] = read_all()
    assert len({(case.file, case.title) for case in cases}) == len(cases)


class Anything:
    """Stands for whatever the handlers keep: none is called."""

    def __getattr__(self, name: str) -> Any:
        return Anything()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()
