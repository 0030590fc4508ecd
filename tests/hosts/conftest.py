"""Rooms for hosts, and the reason when there can be none."""

from collections.abc import Iterator

import pytest

from tests.hosts.image import missing
from tests.hosts.lab import Lab


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    with Lab() as made:
        yield made
