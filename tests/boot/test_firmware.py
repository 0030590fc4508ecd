"""Real firmware, systemd-boot and systemd: an update proves itself, and what panics or hangs is given up.

In the short form the images that fail are put into slot B from outside. In the whole one (`make boot-test`) the running
slot A installs them too, they have three tries, and a watchdog of the length that is shipped resets what hangs.
"""

import fcntl
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.partitions.disk import Disk
from tests.boot.guest import Kind, Made, make
from tests.boot.machine import StuckError, missing, run
from tests.cli.programs import PROGRAM
from tests.hosts.cluster import build as build_program
from tests.hosts.image import missing as hosts_missing

pytestmark = pytest.mark.slow

WHOLE = "CORENODE_BOOT_WHOLE" in os.environ
WATCHDOG = "" if WHOLE else "systemd.watchdog_sec=30"
"""What the image that hangs says to the kernel instead of what is shipped."""
TRIES = 3 if WHOLE else 2
SECONDS = 1800.0 if WHOLE else 600.0
"""For one run, on a machine that has much else to do."""
FIRST: Kind = "old" if WHOLE else "bare"
"""What slot A has: a start without a node takes a third of the time."""
SIZES = ("--esp", "80", "--slot", "80")
UNCLEAN = (
    "There are differences between boot sector and its backup.",
    "This is mostly harmless. Differences: (offset:original/backup)",
    "65:01/00",
    "Not automatically fixing this.",
    "Dirty bit is set. Fs was not properly unmounted and some data may be corrupt.",
    "Automatically removing dirty bit.",
    "",
    "Leaving filesystem unchanged.",
)
"""What fsck.vfat says of one that was mounted when its host was reset, and that is whole."""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Images, made by the first of the test processes that needs them."""
    if why := missing() or hosts_missing():
        pytest.skip(why)
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    home = shared / "guest"
    with (shared / "guest-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "made").exists():
            home.mkdir()
            make(home, build_program(home), WATCHDOG)
            (home / "made").touch()
    return Made(home)


class Outcome:
    """What a machine did from being switched on until it switched itself off."""

    def __init__(self, disk: Path, offer: Path | None) -> None:
        began = time.monotonic()
        self.disk = disk
        self.said = run(disk, offer, SECONDS)
        self.seconds = time.monotonic() - began

    def starts(self) -> str:
        """The slots that were started, in order."""
        with Disk.open(self.disk) as disk:
            names = {str(disk.table.partition(number).id): name for number, name in ((3, "A"), (4, "B"))}
        return "".join(names[each] for each in self.found(r"^guest: usr=PARTUUID=(\S+)"))

    def found(self, pattern: str) -> list[str]:
        return [match[1] for line in self.said if (match := re.search(pattern, line))]

    def slots(self) -> list[list[str]]:
        """Tries, goodness, and whether it starts next, of A and B."""
        table = corenode(self.disk.parent, "slot", "status", "--disk", str(self.disk))
        return [line.split()[5:8] for line in table.splitlines()[1:]]

    def entries(self) -> list[str]:
        """Of the boot loader, after foreign tools have found disk and boot partition to be whole."""
        judged = subprocess.run(["sgdisk", "--verify", self.disk], capture_output=True, check=True)
        assert b"No problems found" in judged.stdout
        esp = self.disk.with_suffix(".esp")
        subprocess.run(["dd", f"if={self.disk}", f"of={esp}", "bs=1M", "skip=1", "count=80", "status=none"], check=True)
        judged = subprocess.run(["fsck.vfat", "-n", esp], capture_output=True)
        said = [line.strip() for line in judged.stdout.decode().splitlines()[1:-1]]
        assert [line for line in said if line not in UNCLEAN] == []
        assert judged.returncode == bool(said)
        listed = subprocess.run(["mdir", "-b", "-i", esp, "::/loader/entries"], capture_output=True, check=True)
        return sorted(line.rpartition("/")[2] for line in listed.stdout.decode().split())


def corenode(home: Path, *words: str) -> str:
    """What a verb prints."""
    command = [*PROGRAM, *words]
    return subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=SECONDS, check=True).stdout


def disk_with(home: Path, image: Path) -> Path:
    corenode(home, "image", "disk", str(image), "--out", "disk", *SIZES, "--data", "1")
    return home / "disk"


def filled_disk(home: Path, image: Path) -> Path:
    """The same on a disk that is there."""
    disk = home / "disk"
    with disk.open("wb") as file:
        file.truncate(320 << 20)
    corenode(home, "image", "install", str(image), str(disk), *SIZES)
    return disk


def given_up(made: Made, home: Path, kind: Kind) -> Outcome:
    """Slot A starts after what is in B has failed; all that can be judged from outside is right."""
    disk = disk_with(home, made.image(FIRST))
    if not WHOLE:
        corenode(home, "slot", "install", str(made.image(kind)), "--disk", str(disk), "--tries", str(TRIES))
    outcome = Outcome(disk, made.offer(kind) if WHOLE else None)
    assert outcome.starts() == "A" * WHOLE + "B" * TRIES + "A"
    assert outcome.found("^guest: runs=([0-9.]+)") == ["1.0.0"] * (1 + WHOLE)
    assert outcome.entries() == ["corenode-000001-a.conf", f"corenode-000002-b+0-{TRIES}.conf"]
    assert outcome.slots() == [["0", "yes", "yes"], ["0", "no", "no"]]
    return outcome


def test_an_update_proves_itself(made: Made, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    outcome = Outcome(filled_disk(tmp_path, made.image(FIRST)), made.offer("good"))
    assert outcome.starts() == "AB"
    first = "active" if WHOLE else "inactive"
    said = [f"1.0.0 marked={first} efi={first}", "2.0.0 marked=active efi=active"]
    assert outcome.found("^guest: runs=(.*)") == said
    assert outcome.entries() == ["corenode-000001-a.conf", "corenode-000002-b.conf"]
    assert outcome.slots() == [["0", "yes", "no"], ["0", "yes", "yes"]]
    record_property("checked", f"2 starts, and an install in between, in {outcome.seconds:.0f} s")


def test_an_image_that_panics(made: Made, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    outcome = given_up(made, tmp_path, "panics")
    assert len(outcome.found("(Kernel panic)")) == TRIES
    record_property("checked", f"{len(outcome.starts())} starts in {outcome.seconds:.0f} s")


def test_an_image_that_hangs(made: Made, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    outcome = given_up(made, tmp_path, "hangs")
    assert len(outcome.found("^guest: (hangs)")) == TRIES
    assert not outcome.found("(Kernel panic)")
    record_property("checked", f"{len(outcome.starts())} starts in {outcome.seconds:.0f} s")


def test_a_machine_that_does_not_end_is_stopped(tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    (tmp_path / "disk").write_bytes(bytes(1 << 20))
    with pytest.raises(StuckError, match="did not switch itself off within 5 s"):
        run(tmp_path / "disk", None, 5)
    assert (tmp_path / "disk.log").exists()
