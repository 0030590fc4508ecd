"""A repository with one release, and a host that has never updated."""

from pathlib import Path

import pytest

from tests.trust.makers import Host, Makers


@pytest.fixture
def makers(tmp_path: Path) -> Makers:
    made = Makers(tmp_path / "repository")
    made.release("1.0.0")
    return made


@pytest.fixture
def host(tmp_path: Path, makers: Makers) -> Host:
    return Host(tmp_path / "state", makers)
