"""What a test checked, in figures, is printed at the end of the run: `record_property("checked", "5,000 writes")`."""

from typing import Any

import pytest


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
