"""What happens in the scenario files is what they say."""

import pytest

from tests.raft.scenarios import FILES, play

NAMES = sorted(file.stem for file in FILES.glob("*.txt"))


@pytest.mark.parametrize("name", NAMES)
def test_scenario(name: str) -> None:
    text = (FILES / f"{name}.txt").read_text()
    assert play(text) == text


def test_there_are_scenarios() -> None:
    assert len(NAMES) >= 25


def test_an_expectation_that_is_wrong_is_noticed() -> None:
    text = "members 1\nelect 1\n    1 is leader in term 7\n"
    assert play(text) == text.replace("7", "2")
