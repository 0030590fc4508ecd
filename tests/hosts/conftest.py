"""Rooms for hosts, and the reason when there can be none."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.hosts.cluster import Cluster, build
from tests.hosts.image import missing
from tests.hosts.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as made:
        yield made


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`corenode` as one file."""
    return build(tmp_path_factory.mktemp("built"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With a failure goes what the nodes of its cluster said."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        clusters = [value for value in item.funcargs.values() if isinstance(value, Cluster)]
        for host in (host for cluster in clusters for host in cluster.hosts):
            report.sections.append((f"journal of {host.name}", host.journal("--unit=corenode", "--lines=60")))
    return report
