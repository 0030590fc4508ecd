"""The hosts themselves: without these nothing that is said of them counts."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.hosts.host import Host
from tests.hosts.lab import Lab, hierarchies

_ORPHAN = """
import sys, time
from tests.hosts.host import Host
from tests.hosts.lab import Lab
with Lab() as lab, Host(lab, 1) as host:
    print(lab.name, host.leader, flush=True)
    time.sleep(600)
"""


def reaches(one: Host, other: Host) -> bool:
    probe = f"import socket; socket.create_connection(('{other.address}', 2000), 0.5)"
    done = one.run("python3", "-c", probe)
    return "ConnectionRefused" in done.stderr  # an answer: nobody listens there


def test_hosts_run_systemd_and_can_be_cut_off_killed_and_booted_again(lab: Lab) -> None:
    with Host(lab, 1) as one, Host(lab, 2) as two:
        assert one.do("systemctl", "is-system-running") == "running\n"
        assert one.do("cat", "/proc/1/comm") == "systemd\n"
        assert {one.do("cat", "/etc/machine-id").strip(), two.do("cat", "/etc/machine-id").strip()} == {
            one.machine_id,
            two.machine_id,
        }
        assert reaches(one, two)
        assert reaches(two, one)
        one.isolate([two])
        assert not reaches(one, two)
        assert not reaches(two, one)
        lab.mend()
        assert reaches(one, two)

        boot_id = two.do("cat", "/proc/sys/kernel/random/boot_id")
        two.do("touch", "/root/kept")
        two.do("touch", "/run/lost")
        two.kill()
        assert not reaches(one, two)
        assert "Startup finished" in two.journal()
        two.boot()
        assert reaches(one, two)
        two.do("test", "-e", "/root/kept")
        two.do("test", "!", "-e", "/run/lost")
        assert two.do("cat", "/proc/sys/kernel/random/boot_id") != boot_id
        two.shutdown()
        assert "systemd-poweroff" in two.journal()


def test_a_test_run_that_is_killed_leaves_nothing(lab: Lab) -> None:
    orphan = subprocess.Popen(
        [sys.executable, "-c", _ORPHAN], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert orphan.stdout is not None
    name, leader = orphan.stdout.readline().split()
    assert any((hierarchy / name).exists() for hierarchy in hierarchies())
    os.kill(orphan.pid, signal.SIGKILL)
    orphan.communicate()
    end = time.monotonic() + 10
    while Path(f"/proc/{leader}").exists() and time.monotonic() < end:
        time.sleep(0.01)
    assert not Path(f"/proc/{leader}").exists()
    with Lab():
        assert not any((hierarchy / name).exists() for hierarchy in hierarchies())
