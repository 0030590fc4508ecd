"""What holds for all tests: which are slow, how Hypothesis draws, and the closing figures.

What a test checked is printed at the end of the run: `record_property("checked", "5,000 writes")`.
"""

import os
from pathlib import Path
from typing import Any

import hypothesis
import pytest

WHOLE = ("whole", "conformance", "hosts")
"""Directories of tests that start whole processes: all of them are slow."""

# Nodes of tests run no units unless a test says so: what agents and the engine write counts in revisions.
NO_UNITS = {"CORENODE_EXECUTOR": "none", "CORENODE_DISABLE_ENGINE": "true"}
os.environ.update(NO_UNITS)

# Two cores shared by several workers are no place to judge how long one example takes.
hypothesis.settings.register_profile("project", deadline=None, print_blob=True)
hypothesis.settings.load_profile("project")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.relative_to(here).parts[0] in WHOLE:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    lines = [
        f"{report.nodeid}: {value}"
        for report in terminalreporter.getreports("passed")
        if isinstance(report, pytest.TestReport)
        for name, value in report.user_properties
        if name == "checked"
    ]
    if lines:
        terminalreporter.section("checked")
        for line in lines:
            terminalreporter.write_line(line)
