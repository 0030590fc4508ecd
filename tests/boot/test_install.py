"""`corenode image install`: onto files and block devices; what is refused, and what is asked, before the first byte."""

import os
import pty
import subprocess
from pathlib import Path

import pytest

from core.images import disk as filling
from core.images.build import Parts, build, load
from core.images.manifest import ImageError
from core.partitions.boot.systemd_boot import ENTRIES
from core.partitions.device import Device, window
from core.partitions.disk import Disk
from core.partitions.fat.volume import Volume
from tests.cli.programs import PROGRAM, Host
from tests.images.recorded import RELEASE
from tests.partitions.test_device import loop_device

pytestmark = pytest.mark.slow

SMALL = ("--esp", "36", "--slot", "4")
NEEDED = 2 + 36 + 2 * 4 + 64
"""MiB."""
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a block device is made")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name, size in (("usr", 1_300_000), ("kernel", 90_000), ("initrd", 50_000)):
        (tmp_path / name).write_bytes(name.encode() * (size // len(name)))
    build(Parts(tmp_path / "usr", tmp_path / "kernel", tmp_path / "initrd"), RELEASE, tmp_path / "image")
    return Host(tmp_path)


def empty(path: Path, mib: int = NEEDED) -> Path:
    with path.open("wb") as file:
        file.truncate(mib << 20)
    return path


def install(host: Host, device: Path, *words: str) -> str:
    """What it says; its exit code must fit."""
    done = host.run("image", "install", "image", str(device), *(words or SMALL))
    said = done.stderr.decode()
    assert done.returncode == ("slot B is empty" not in said)
    return said


def whole(path: Path, sector: int = 512) -> None:
    """Foreign tools find no fault, and slot A starts."""
    judged = subprocess.run(["sgdisk", "--verify", path], capture_output=True, text=True)
    assert "No problems found" in judged.stdout
    with Disk.open(path) as disk:
        assert disk.table.sector_size == sector
        esp = window(disk.device, disk.table.partition(1))
        part = path.parent / "esp" if path.is_file() else Path(os.environ.get("TMPDIR", "/tmp")) / f"esp-{os.getpid()}"
        part.write_bytes(esp.read(0, esp.size))
        try:
            checked = subprocess.run(["fsck.vfat", "-n", part], capture_output=True, text=True)
        finally:
            part.unlink()
        assert checked.returncode == 0, checked.stdout
        assert Volume(esp).names(ENTRIES) == ["corenode-000001-a.conf"]


def test_onto_a_file_that_is_a_disk(tmp_path: Path, host: Host) -> None:
    disk = empty(tmp_path / "disk", NEEDED + 3)
    assert install(host, disk) == f"{disk}: corenode 1.2.3 in slot A, slot B is empty\n"
    whole(disk)
    with Disk.open(disk) as opened:
        assert opened.table.partition(9).sectors >= (67 << 20) // 512
    assert host.run("slot", "install", "image", "--disk", str(disk)).returncode == 0


def test_each_disk_has_ids_of_its_own(tmp_path: Path, host: Host) -> None:
    found = set()
    for name in ("one", "other"):
        install(host, empty(tmp_path / name))
        with Disk.open(tmp_path / name) as disk:
            found |= {disk.table.disk, *(each.id for each in disk.table.partitions)}
    assert len(found) == 10


@root_only
@pytest.mark.parametrize("sector", [512, 4096])
def test_onto_a_block_device(tmp_path: Path, host: Host, sector: int) -> None:
    esp = max(36, (68 << 10) * sector >> 20)
    with loop_device(empty(tmp_path / "disk", NEEDED + esp), "--sector-size", str(sector)) as device:
        install(host, device, "--esp", str(esp), "--slot", "4")
        whole(device, sector)


def test_what_is_there_is_lost_only_when_somebody_says_so(tmp_path: Path, host: Host) -> None:
    disk = empty(tmp_path / "disk")
    subprocess.run(["mkfs.ext4", "-q", disk], check=True)
    before = disk.read_bytes()
    assert "holds data without a table of partitions; --yes" in install(host, disk)
    assert disk.read_bytes() == before
    install(host, disk, *SMALL, "--yes")
    whole(disk)
    before = disk.read_bytes()
    assert "holds a system with two slots, and its data" in install(host, disk)
    subprocess.run(
        ["sgdisk", "--zap-all", "--new=1:0:0", "--change-name=1:music", disk], check=True, capture_output=True
    )
    assert "holds partitions (music)" in install(host, disk)


@pytest.mark.parametrize(("answer", "lost"), [(b"n\n", False), (b"y\n", True)])
def test_on_a_terminal_one_is_asked(tmp_path: Path, host: Host, answer: bytes, lost: bool) -> None:
    disk = empty(tmp_path / "disk")
    with disk.open("r+b") as file:
        file.write(b"somebody's")
    ours, theirs = pty.openpty()
    os.write(ours, answer)
    words = [*PROGRAM, "image", "install", "image", str(disk), *SMALL]
    try:
        done = subprocess.run(words, stdin=theirs, capture_output=True, cwd=host.home, env=host.environment, timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"Lose all of it? [y/N]" in done.stderr
    assert (done.returncode == 0, disk.read_bytes()[:10] != b"somebody's") == (lost, lost)


def test_what_is_refused_before_the_first_byte(tmp_path: Path, host: Host) -> None:
    small = empty(tmp_path / "small", NEEDED - 1)
    assert f"has {NEEDED - 1} MiB, and {NEEDED} are needed" in install(host, small)
    odd = tmp_path / "odd"
    odd.write_bytes(b"x" * 1000)
    assert "it is no disk image" in install(host, odd)
    assert "No such file" in install(host, tmp_path / "none")
    assert "neither a block device nor" in install(host, Path("/dev/null"))
    disk = empty(tmp_path / "disk")
    assert "the image needs" in install(host, disk, "--esp", "36", "--slot", "1")
    assert "too small; 34 is the least" in install(host, disk, "--esp", "33", "--slot", "4")
    with Device.open(disk, writable=True, exclusive=True):
        assert "is being written to by another process" in install(host, disk)
    chunk = next((tmp_path / "image" / "chunks").rglob("*.zst"))
    chunk.write_bytes(b"damaged")
    assert "chunk" in install(host, disk)
    for path in (small, disk):
        assert path.read_bytes().count(0) == path.stat().st_size


@root_only
def test_a_device_in_use_or_read_only_is_refused(tmp_path: Path, host: Host) -> None:
    image = empty(tmp_path / "disk")
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    before = image.read_bytes()
    with loop_device(image, "--read-only") as device:
        assert "read-only" in install(host, device, *SMALL, "--yes")
    with loop_device(image) as device:
        (tmp_path / "mounted").mkdir()
        subprocess.run(["mount", "-o", "ro,noload", device, tmp_path / "mounted"], check=True)
        try:
            assert "is in use: it is mounted" in install(host, device, *SMALL, "--yes")
        finally:
            subprocess.run(["umount", tmp_path / "mounted"], check=True)
    assert image.read_bytes() == before


def test_an_interrupted_install_does_not_start(tmp_path: Path, host: Host) -> None:
    """The boot loader is what comes last, also on a disk that had one."""
    disk = empty(tmp_path / "disk")
    install(host, disk)
    manifest, store = load(tmp_path / "image")

    def stop(_: int) -> None:
        raise ImageError("interrupted")

    sizes = filling.Sizes(36, 4, filling.DATA_LEAST)
    with Device.open(disk, writable=True, exclusive=True) as device, pytest.raises(ImageError):
        filling.put(device, manifest, store, b"loader", sizes, stop)
    with Disk.open(disk) as opened:
        assert Volume(window(opened.device, opened.table.partition(1))).names("EFI/BOOT") == []
    assert "holds a system with two slots" in install(host, disk)
    install(host, disk, *SMALL, "--yes")
    whole(disk)
