"""The thread of a flush."""

import sys
from collections.abc import Iterator

import pytest

from core.node.flushing import Beside


@pytest.fixture
def unhurried() -> Iterator[None]:
    """A thread that does not wait for anything runs on."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(30.0)
    yield
    sys.setswitchinterval(before)


def test_nobody_waits_until_it_runs(unhurried: None) -> None:
    told: list[str] = []
    work = Beside(lambda: told.append("here"))
    told.append("there")
    assert work.is_alive()
    work.join()
    assert not work.is_alive()
    assert told == ["there", "here"]


def test_what_it_is_to_do_may_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", told.append)

    def fail() -> None:
        raise OSError("no disk")

    work = Beside(fail)
    work.join()
    assert not work.is_alive()
