"""`corenode slot` on disk images, and the question what the running system came from."""

import subprocess
from pathlib import Path

import msgspec
import pytest

from core.partitions.device import DeviceError
from core.partitions.in_use import InUse, in_use
from core.partitions.slots import Marks
from tests.cli.programs import Host
from tests.partitions.disks import disk_with, two_slots

GOOD = Marks(2, 0, True)


class Slots:
    """The verbs on one image."""

    def __init__(self, host: Host, image: Path) -> None:
        self.image = image
        self._host = host

    def run(self, verb: str, *words: str) -> subprocess.CompletedProcess[bytes]:
        return self._host.run("slot", verb, "--disk", str(self.image), *words)

    def next(self) -> list[str]:
        shown = msgspec.json.decode(self.run("status", "-o", "json").stdout)
        return [slot["slot"] for slot in shown["slots"] if slot["next"]]


def slots(home: Path, a: Marks, b: Marks) -> Slots:
    return Slots(Host(home), disk_with(two_slots(a, b)).save(home / "disk.img"))


def test_back_and_forth(tmp_path: Path) -> None:
    disk = slots(tmp_path, GOOD, Marks(1, 0, True))
    assert disk.next() == ["A"]
    assert disk.run("rollback").stderr == b"slot B starts next\n"
    assert disk.next() == ["B"]
    assert disk.run("rollback").stderr == b"slot A starts next\n"
    assert disk.next() == ["A"]
    assert subprocess.run(["sgdisk", "--verify", disk.image], capture_output=True, check=True).stdout.count(
        b"No problems"
    )


def test_the_table_of_slots(tmp_path: Path) -> None:
    lines = slots(tmp_path, GOOD, Marks(3, 2, False)).run("status").stdout.decode().splitlines()
    assert lines[0].split() == [
        "SLOT",
        "PARTITION",
        "ID",
        "MIB",
        "PRIORITY",
        "TRIES",
        "GOOD",
        "NEXT",
        "IN",
        "USE",
        "RELEASE",
    ]
    assert [line.split()[:2] + line.split()[4:] for line in lines[1:]] == [
        ["A", "3", "2", "0", "yes", "no", "no"],
        ["B", "4", "3", "2", "no", "yes", "no"],
    ]


def test_where_there_is_no_way_back_it_stays(tmp_path: Path) -> None:
    disk = slots(tmp_path, GOOD, Marks(0, 0, False))
    before = disk.image.read_bytes()
    done = disk.run("rollback")
    assert done.returncode == 1
    assert b"no way back" in done.stderr
    assert disk.image.read_bytes() == before


def test_marking_as_good(tmp_path: Path) -> None:
    disk = slots(tmp_path, GOOD, Marks(3, 2, False))
    done = disk.run("mark-good")
    assert done.returncode == 1
    assert b"--slot" in done.stderr
    assert disk.run("mark-good", "--slot", "B").stderr == b"slot B is good\n"
    shown = msgspec.json.decode(disk.run("status", "-o", "json").stdout)["slots"][1]
    assert (shown["good"], shown["tries"], shown["next"]) == (True, 0, True)


def test_a_damaged_table_is_told_and_mended(tmp_path: Path) -> None:
    disk = slots(tmp_path, GOOD, Marks(0, 0, False))
    with disk.image.open("r+b") as file:
        file.seek(512)
        file.write(b"x" * 512)
    assert b"slot repair" in disk.run("status").stderr
    assert b"mended: the first copy" in disk.run("repair").stderr
    assert disk.run("status").stderr == b""
    assert disk.run("repair").stderr == b"both copies of the table are whole\n"


@pytest.mark.parametrize("content", [None, b"", b"x" * 1000, bytes(1 << 20)])
def test_what_is_no_disk_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "other"
    if content is not None:
        path.write_bytes(content)
    for verb in ("status", "rollback", "mark-good", "repair"):
        done = Host(tmp_path).run("slot", verb, "--disk", str(path))
        assert (done.returncode, done.stdout) == (1, b"")
        assert b"Traceback" not in done.stderr
        assert b"other" in done.stderr
    assert (path.read_bytes() if content is not None else None) == content


# What the running system came from


def kernel(root: Path, mounts: str) -> tuple[Path, Path, Path]:
    """A /proc and a /sys with a disk vda, its partitions 3 and 4, and dm-0 for a verified /usr on partition 3."""
    proc, sys = root / "proc", root / "sys"
    (proc / "self").mkdir(parents=True)
    (proc / "self" / "mountinfo").write_text(mounts)
    disk = sys / "devices" / "vda"
    for number in (3, 4):
        (disk / f"vda{number}").mkdir(parents=True)
        (disk / f"vda{number}" / "partition").write_text(f"{number}\n")
    verity = sys / "devices" / "virtual" / "dm-0" / "slaves"
    verity.mkdir(parents=True)
    (verity / "vda3").symlink_to(disk / "vda3")
    links = sys / "dev" / "block"
    links.mkdir(parents=True)
    (links / "254:3").symlink_to(disk / "vda3")
    (links / "254:4").symlink_to(disk / "vda4")
    (links / "253:0").symlink_to(verity.parent)
    (links / "7:0").symlink_to(disk)
    return proc, sys, Path("/dev")


ROOT = "21 1 254:4 / / rw,relatime - ext4 /dev/vda4 rw\n"


@pytest.mark.parametrize(
    ("mounts", "number"),
    [
        (ROOT, 4),
        (ROOT + "30 21 254:3 / /usr ro - squashfs /dev/vda3 ro\n", 3),
        (ROOT + "30 21 253:0 / /usr ro - squashfs /dev/mapper/usr ro\n", 3),
    ],
)
def test_the_partition_below_usr(tmp_path: Path, mounts: str, number: int) -> None:
    assert in_use(*kernel(tmp_path, mounts)) == InUse(Path("/dev/vda"), number)


@pytest.mark.parametrize(
    "mounts", ["", "21 1 0:24 / / rw - overlay overlay rw\n", "21 1 7:0 / / rw - ext4 /dev/x rw\n"]
)
def test_a_system_from_no_partition(tmp_path: Path, mounts: str) -> None:
    with pytest.raises(DeviceError, match="--disk"):
        in_use(*kernel(tmp_path, mounts))
