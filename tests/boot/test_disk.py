"""`corenode image disk`: foreign tools find whole what it makes."""

import subprocess
from pathlib import Path

import pytest

from core.images.build import Parts, build
from tests.cli.programs import Host
from tests.images.recorded import RELEASE

SMALL = ("--esp", "36", "--slot", "4", "--data", "1")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    for name, size in (("usr", 700_000), ("kernel", 90_000), ("initrd", 50_000)):
        (tmp_path / name).write_bytes(name.encode() * (size // len(name)))
    build(Parts(tmp_path / "usr", tmp_path / "kernel", tmp_path / "initrd"), RELEASE, tmp_path / "image")
    return Host(tmp_path)


@pytest.mark.parametrize("form", ["raw", "qcow2", "vmdk"])
def test_a_disk_in_each_format(tmp_path: Path, host: Host, form: str) -> None:
    done = host.run("image", "disk", "image", "--out", "disk", "--format", form, *SMALL)
    assert done.stderr == b"disk: corenode 1.2.3 in slot A, slot B is empty\n"
    raw = tmp_path / "raw"
    if form == "raw":
        (tmp_path / "disk").rename(raw)
    else:
        subprocess.run(["qemu-img", "check", "-f", form, tmp_path / "disk"], check=True, capture_output=True)
        convert = ["qemu-img", "convert", "-f", form, "-O", "raw", str(tmp_path / "disk"), str(raw)]
        subprocess.run(convert, check=True)
    judged = subprocess.run(["sgdisk", "--verify", raw], capture_output=True, check=True)
    assert b"No problems found" in judged.stdout
    esp = tmp_path / "esp"
    esp.write_bytes(raw.read_bytes()[1 << 20 : 37 << 20])
    assert subprocess.run(["fsck.vfat", "-n", esp], capture_output=True).returncode == 0
    for path, source in (
        ("EFI/BOOT/BOOTX64.EFI", Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")),
        ("corenode/000001-a.linux", tmp_path / "kernel"),
        ("corenode/000001-a.initrd", tmp_path / "initrd"),
    ):
        found = subprocess.run(["mcopy", "-i", esp, f"::/{path}", "-"], check=True, capture_output=True).stdout
        assert found == source.read_bytes()
    shown = host.run("slot", "install", "image", "--disk", str(raw)).stderr
    assert shown == b"corenode 1.2.3 is in partition 4 and starts next\n"


def test_the_same_image_gives_the_same_disk(tmp_path: Path, host: Host) -> None:
    for name in ("one", "other"):
        assert host.run("image", "disk", "image", "--out", name, *SMALL).returncode == 0
    assert subprocess.run(["cmp", tmp_path / "one", tmp_path / "other"]).returncode == 0


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--esp", "20"), b"too small"),
        (("--slot", "0"), b"slot"),
        (("--boot-loader", "none"), b"systemd-boot-efi"),
        (("--out", "usr"), b"is there already"),
    ],
)
def test_what_cannot_be_made_leaves_nothing(tmp_path: Path, host: Host, words: tuple[str, str], reason: bytes) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    done = host.run("image", "disk", "image", "--out", "disk", *SMALL, *words)
    assert done.returncode in (1, 2)
    assert reason in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before
