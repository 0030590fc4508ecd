"""The index of the paper's sections names tests that exist, and every scenario."""

import ast
import re
from pathlib import Path

HERE = Path(__file__).parent
ROWS = [line for line in (HERE / "PAPER.md").read_text().splitlines() if line.startswith("| ")][2:]
NAMED = {name for row in ROWS for name in re.findall(r"`([^`]+)`", row.split(" | ")[2])}


def _tests_in(file: str) -> set[str]:
    found = set()
    for node in ast.parse((HERE / file).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(f"{file}::{node.name}")
        elif isinstance(node, ast.ClassDef):
            found |= {f"{file}::{node.name}::{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def test_every_named_test_exists() -> None:
    files = {name.partition("::")[0] for name in NAMED if not name.endswith(".txt")}
    known = {file.name for file in (HERE / "scenarios").glob("*.txt")}.union(*map(_tests_in, files))
    assert not NAMED - known


def test_every_scenario_is_named() -> None:
    assert not {file.name for file in (HERE / "scenarios").glob("*.txt")} - NAMED


def test_the_table_is_read() -> None:
    assert len(ROWS) > 25
    assert len(NAMED) > 70
