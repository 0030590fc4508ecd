"""The executor of systemd beside a real one."""

import sys
from collections.abc import Callable
from pathlib import Path

from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.whole.servers import ROOT

# Ours and Python's, wherever they lie.
SHOWN = sorted({ROOT, Path(sys.prefix).resolve(), *([Path(sys.base_prefix)] if sys.base_prefix != "/usr" else [])})


def test_conformance_inside_a_host(lab: Lab, record_property: Callable[[str, object], None]) -> None:
    with Host(lab, 10, shows=SHOWN) as host:
        pytest = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--tb=short", "--durations=5")
        done = host.run(*pytest, "tests/hosts/inside_systemd.py", directory=ROOT, seconds=300)
        assert done.returncode == 0, done.stdout + done.stderr
        record_property("checked", done.stdout.splitlines()[-1])
