"""Rooms for hosts, and the reason when there can be none."""

from collections.abc import Generator, Iterator

import pytest

from tests.hosts.image import missing
from tests.hosts.lab import Lab

FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as made:
        yield made


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report
