"""Which path is covered by which test: `python -m tests.v3.paths` prints the table."""

from pathlib import Path
from typing import Any

from core.api.v3.routes import table
from tests.v3.table import read_all

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
"""Paths whose answers are streams, or wait for somebody else: the file that tests each."""


def all_paths() -> list[str]:
    """Every path that is served, below `/v3/`."""
    anything: Any = Anything()
    return sorted(table(anything, anything, anything))


def covered() -> dict[str, list[str]]:
    """By path: the cases that ask for it, as file and line, or the test elsewhere."""
    found: dict[str, list[str]] = {
        path: [file] for path, file in ELSEWHERE.items() if (Path(__file__).parent / file).exists()
    }
    for case in read_all():
        for step in case.steps:
            found.setdefault(step.path, []).append(f"cases/{case.file}.txt:{step.line}")
    return found


class Anything:
    """Stands for whatever the handlers keep: none is called."""

    def __getattr__(self, name: str) -> Any:
        return Anything()

    def __call__(self, *_: Any, **__: Any) -> Any:
        return Anything()


def main() -> None:
    """Print the table."""
    tests = covered()
    for path in all_paths():
        where = tests.get(path, ["NOTHING"])
        more = f" and {len(where) - 1} more" if len(where) > 1 else ""
        print(f"/v3/{path:36} {where[0]}{more}")


if __name__ == "__main__":
    main()
