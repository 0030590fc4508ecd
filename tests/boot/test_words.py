"""What systemd-boot is told, in which order it would start what it finds, and what is refused."""

from pathlib import Path

import msgspec
import pytest

from core.partitions.boot import BootError
from core.partitions.boot.entries import Entry, ordered
from core.partitions.boot.systemd_boot import ENTRIES, SystemdBootControl
from core.partitions.disk import Disk
from tests.boot.esp_disks import ESP_SECTORS, SECTOR, control, esp_of, installed, start
from tests.cli.programs import Host
from tests.images.recorded import Recorder


def files(data: bytearray) -> list[str]:
    return sorted(esp_of(Disk(Recorder(data))).names(ENTRIES))


def test_from_an_update_to_the_way_back(tmp_path: Path) -> None:
    data = installed(tmp_path)
    boot = control(data)
    assert [(slot.priority, slot.good, slot.next) for slot in boot.status()] == [(1, True, True), (0, False, False)]
    boot.begin("B", start("2.0.0"))
    boot.end("B", start("2.0.0"), tries=2)
    a, b = boot.status()
    assert (b.priority, b.tries, b.good, b.next, b.title) == (2, 2, False, True, "corenode 2.0.0")
    assert (a.priority, a.good, a.next) == (1, True, False)
    assert files(data) == ["corenode-000001-a.conf", "corenode-000002-b+2.conf"]
    boot.good("B")
    assert files(data) == ["corenode-000001-a.conf", "corenode-000002-b.conf"]
    boot.prefer("A")
    assert files(data) == ["corenode-000002-b.conf", "corenode-000003-a.conf"]
    assert boot.status()[0].next
    text = esp_of(Disk(Recorder(data))).read(f"{ENTRIES}/corenode-000003-a.conf").decode()
    assert "\nlinux /corenode/000001-a.linux\n" in text
    assert "mount.usr=PARTUUID=00000000-0000-0000-0000-000000000003 " in text
    assert "panic=5 " in text
    boot.begin("B", start("3.0.0"))
    assert files(data) == ["corenode-000003-a.conf"]
    assert esp_of(Disk(Recorder(data))).names("corenode") == ["000001-a.linux", "000001-a.initrd"]


def test_a_slot_with_hashes_says_its_root_hash(tmp_path: Path) -> None:
    data = installed(tmp_path)
    verified = msgspec.structs.replace(start("2.0.0"), root_hash="ab" * 32, hash_offset=4096)
    control(data).end("B", verified)
    text = esp_of(Disk(Recorder(data))).read(f"{ENTRIES}/corenode-000002-b+3.conf").decode()
    assert f"usrhash={'ab' * 32} " in text
    assert "hash-offset=4096" in text


@pytest.mark.parametrize(
    ("name", "next_"), [("+1-2", "B"), ("+0-3", "A"), ("", "B")], ids=["a try is left", "none is left", "good"]
)
def test_tries_that_the_boot_loader_counted(tmp_path: Path, name: str, next_: str) -> None:
    data = installed(tmp_path)
    control(data).end("B", start("2.0.0"))
    esp = esp_of(Disk(Recorder(data)))
    text = esp.read(f"{ENTRIES}/corenode-000002-b+3.conf")
    esp.remove(f"{ENTRIES}/corenode-000002-b+3.conf")
    esp.create(f"{ENTRIES}/corenode-000002-b{name}.conf", len(text), [text])
    boot = control(data)
    assert [slot.name for slot in boot.status() if slot.next] == [next_]
    boot.good("B")
    assert files(data)[1:] == ["corenode-000002-b.conf"]
    assert boot.status()[1].next


def test_what_is_refused_before_the_first_byte(tmp_path: Path) -> None:
    data = installed(tmp_path)
    device = Recorder(data)
    opened = Disk(device)
    boot = SystemdBootControl(opened, esp_of(opened))
    large = start("2.0.0", kernel=ESP_SECTORS * SECTOR)
    no_kernel = msgspec.structs.replace(start("2.0.0"), kernel=None)
    lines = msgspec.structs.replace(start("2.0.0"), cmdline="quiet\nlinux /other")
    for name, wrong, reason in (
        ("B", large, "are free"),
        ("B", no_kernel, "--kernel"),
        ("B", lines, "characters"),
        ("A", start("2.0.0"), "no slot could start"),
    ):
        with pytest.raises(BootError, match=reason):
            boot.begin("A" if name == "A" else "B", wrong)
    with pytest.raises(BootError, match="no way back"):
        boot.prefer("B")
    assert [step for step in device.log if step is not None] == []


@pytest.mark.parametrize(
    ("path", "text", "reason"),
    [
        ("loader/loader.conf", "timeout 3\ndefault corenode-*\n", "knows no tries"),
        (f"{ENTRIES}/other.conf", "title x\nsort-key arch\nlinux /corenode/000001-a.linux\n", "comes before"),
    ],
)
def test_a_boot_loader_that_would_not_listen(tmp_path: Path, path: str, text: str, reason: str) -> None:
    data = installed(tmp_path)
    esp_of(Disk(Recorder(data))).create(path, len(text), [text.encode()])
    with pytest.raises(BootError, match=reason):
        control(data).begin("B", start("2.0.0"))
    with pytest.raises(BootError, match=reason):
        control(data).prefer("A")


def test_the_order_of_entries() -> None:
    def entry(file: str, *lines: str) -> Entry:
        return Entry(file, "\n".join(("linux /x", *lines)))

    wanted = ["other.conf", "corenode-000012-a.conf", "corenode-000003-b+2-1.conf", "none.conf", "corenode-9-b+0.conf"]
    keys = ["sort-key a", "sort-key corenode", "sort-key corenode", "title x", "sort-key corenode"]
    entries = [entry(file, key) for file, key in zip(wanted, keys, strict=True)]
    assert [each.file for each in ordered(reversed([*entries, Entry("off.conf", "#inux /x")]))] == wanted


def test_the_verbs_find_the_boot_loader(tmp_path: Path) -> None:
    data = installed(tmp_path)
    control(data).end("B", start("2.0.0"))
    image = tmp_path / "disk.img"
    image.write_bytes(data)
    host = Host(tmp_path)
    lines = host.run("slot", "status", "--disk", str(image)).stdout.decode().splitlines()
    assert [line.split()[4:] for line in lines[1:]] == [
        ["1", "0", "yes", "no", "no", "corenode", "1.0.0"],
        ["2", "3", "no", "yes", "no", "corenode", "2.0.0"],
    ]
    assert host.run("slot", "mark-good", "--slot", "B", "--disk", str(image)).stderr == b"slot B is good\n"
    assert host.run("slot", "rollback", "--disk", str(image)).stderr == b"slot A starts next\n"
    assert files(bytearray(image.read_bytes())) == ["corenode-000002-b.conf", "corenode-000003-a.conf"]
