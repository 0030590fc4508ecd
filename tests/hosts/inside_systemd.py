"""The executor beside the systemd of the machine it runs on; `test_executor` runs this inside a host."""

from pathlib import Path

import pytest

from core.agent.systemd.executor import Systemd, booted
from tests.agent.conformance import Conformance, Opener


class TestSystemd(Conformance):
    @pytest.fixture
    def opener(self, tmp_path: Path) -> Opener:
        assert booted()
        return Systemd
