"""The runs under real firmware have deadlines of their own."""

import faulthandler

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.path.stem == "test_firmware":
        faulthandler.cancel_dump_traceback_later()
