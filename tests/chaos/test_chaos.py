"""Real nodes hold their promises under faults, and nodes with a fault in their rules are found out."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.chaos.network import INSIDE, missing
from tests.whole.servers import ROOT

BROKEN = Path(__file__).parent / "broken"
MISSING = missing()

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"no network namespaces here: {MISSING}"),
]


def chaos(*arguments: str) -> tuple[int, str]:
    """Exit status and output of a run."""
    environment = {name: value for name, value in os.environ.items() if name != INSIDE}
    command = [sys.executable, "-m", "tests.chaos", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=280
    )
    return done.returncode, done.stdout


def test_three_nodes_hold_under_every_fault(record_property: Callable[[str, object], None]) -> None:
    status, output = chaos("--minutes", "0.9", "--round", "13")
    assert status == 0, output
    record_property("checked", output.splitlines()[-1])


@pytest.mark.parametrize(
    ("program", "faults", "words"),
    [
        ("reads_alone", "pause", "is not linearizable"),
        ("forgets_its_vote", "crash_voter", "two leaders in term|is committed here with term"),
        ("commits_alone", "isolate_leader", "is committed here with term|is not linearizable|never saw"),
    ],
)
def test_a_broken_node_is_found_out(program: str, faults: str, words: str) -> None:
    # It ends at the first violation; chance may need more than one round to bring one about.
    arguments = ["--minutes", "0.7", "--round", "7", "--faults", faults, "--program", str(BROKEN / f"{program}.py")]
    status, output = chaos(*arguments)
    assert status == 1, output
    assert "VIOLATION" in output
    assert any(word in output for word in words.split("|")), output


def test_a_voter_that_dies_of_its_vote_remembers_it() -> None:
    """The same as `forgets_its_vote`, with the rules as they are."""
    program = str(BROKEN / "crashes_after_voting.py")
    status, output = chaos("--minutes", "0.1", "--round", "3", "--faults", "crash_voter", "--program", program)
    assert status == 0, output
    assert "died after its vote" in output
