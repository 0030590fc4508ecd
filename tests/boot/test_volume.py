"""Files of a FAT32 volume: what we write foreign tools read, and the other way round."""

import random
import subprocess
from pathlib import Path

import pytest

from core.partitions.fat.geometry import FatError, NoVolumeError
from core.partitions.fat.volume import Volume
from tests.boot.esp_disks import formatted
from tests.images.recorded import Recorder

LARGE = 70_000
"""Sectors; with fewer clusters mtools hold it to be FAT16."""


def volume(home: Path) -> tuple[Recorder, Volume]:
    device = Recorder(bytearray(formatted(home, LARGE)))
    return device, Volume(device)


def saved(device: Recorder, path: Path) -> Path:
    path.write_bytes(device.data)
    return path


def whole(path: Path) -> None:
    done = subprocess.run(["fsck.vfat", "-n", path], capture_output=True, text=True)
    assert (done.returncode, done.stdout.count("\n")) == (0, 2), done.stdout


def test_files_come_and_go_as_foreign_tools_see_it(tmp_path: Path) -> None:
    device, files = volume(tmp_path)
    free = files.free
    chance = random.Random(1)
    content: dict[str, bytes] = {}
    for directory in ("loader", "loader/entries"):
        files.make_directory(directory)
    for number in range(60):
        path = f"loader/entries/corenode-{number:06}-{'a' * (number % 30)}+3.conf"
        data = chance.randbytes(chance.randrange(3000))
        files.create(path, len(data), [data[:100], data[100:]])
        content[path] = data
        if number % 3 == 2:
            gone = chance.choice(sorted(content))
            files.remove(gone)
            del content[gone]
    image = saved(device, tmp_path / "image")
    whole(image)
    again = Volume(Recorder(bytearray(image.read_bytes())))
    assert sorted(again.names("loader/entries")) == sorted(path.rpartition("/")[2] for path in content)
    (tmp_path / "out").mkdir()
    subprocess.run(["mcopy", "-i", image, "::/loader/entries/*", tmp_path / "out"], check=True, capture_output=True)
    for path, data in content.items():
        assert again.read(path.upper()) == data
        assert (tmp_path / "out" / path.rpartition("/")[2]).read_bytes() == data
        files.remove(path)
    whole(saved(device, image))
    assert free - files.free < 20_000


def test_files_of_other_makers(tmp_path: Path) -> None:
    image = tmp_path / "esp"
    image.write_bytes(formatted(tmp_path, LARGE))
    source = tmp_path / "A long name.conf"
    source.write_bytes(bytes(range(256)) * 40)
    subprocess.run(["mmd", "-i", image, "::/loader", "::/loader/entries"], check=True)
    subprocess.run(["mcopy", "-i", image, source, "::/loader/entries/A long name.conf"], check=True)
    subprocess.run(["mcopy", "-i", image, source, "::/SHORT.TXT"], check=True)
    device = Recorder(bytearray(image.read_bytes()))
    files = Volume(device)
    assert [name.lower() for name in files.names("")] == ["loader", "short.txt"]
    assert files.read("loader/entries/a LONG name.conf") == source.read_bytes()
    files.patch("short.txt", 600, b"!")
    files.remove("loader/entries/A long name.conf")
    whole(saved(device, image))
    out = subprocess.run(["mcopy", "-i", image, "::/SHORT.TXT", "-"], check=True, capture_output=True).stdout
    assert out == source.read_bytes()[:600] + b"!" + source.read_bytes()[601:]


def test_no_room_and_what_is_there_already(tmp_path: Path) -> None:
    device, files = volume(tmp_path)
    before = bytes(device.data)
    with pytest.raises(FatError, match="do not fit"):
        files.create("large", files.free + 1, [b"x" * (files.free + 1)])
    assert device.data == before
    files.create("one", 1, [b"x"])
    with pytest.raises(FileExistsError):
        files.create("ONE", 1, [b"x"])
    with pytest.raises(FileNotFoundError):
        files.remove("none")


@pytest.mark.parametrize("offset", [11, 13, 14, 16, 32, 36, 42, 44, 48, 510])
def test_a_volume_that_does_not_hold_is_refused(tmp_path: Path, offset: int) -> None:
    data = bytearray(formatted(tmp_path, LARGE))
    data[offset : offset + 2] = b"\xff\xff"
    with pytest.raises(FatError):
        Volume(Recorder(data)).names("")


def test_no_volume(tmp_path: Path) -> None:
    with pytest.raises(NoVolumeError):
        Volume(Recorder(bytearray(1 << 20)))


def test_a_circle_and_shared_room_are_refused(tmp_path: Path) -> None:
    device, files = volume(tmp_path)
    files.create("one", 2000, [b"x" * 2000])
    clusters = files._chain(files._entry("one")[1].cluster)
    table = files._at.tables[0]
    device.data[table + 4 * clusters[-1] : table + 4 * clusters[-1] + 4] = clusters[0].to_bytes(4, "little")
    with pytest.raises(FatError, match="circle"):
        Volume(Recorder(device.data)).read("one")
