"""The table of old bugs names tests that exist, and every test that is named after one."""

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
ROWS = [line for line in (TESTS / "OLD_BUGS.md").read_text().splitlines() if line.startswith("| ")][2:]
NAMED = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row)}


def _tests_in(file: str) -> set[str]:
    tree = ast.parse((TESTS / file).read_text())
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return {f"{file}::{each.name}" for each in functions if each.name.startswith("test_")}


def test_every_named_test_exists() -> None:
    known = set().union(*map(_tests_in, {name.partition("::")[0] for name in NAMED}))
    assert not NAMED - known


def test_every_row_names_a_test_and_every_test_of_a_number_is_named() -> None:
    assert len(ROWS) >= 13
    assert all("`" in row for row in ROWS)
    for file in TESTS.glob("*/test_old_bugs.py"):
        if file != Path(__file__):
            assert not _tests_in(file.relative_to(TESTS).as_posix()) - NAMED
