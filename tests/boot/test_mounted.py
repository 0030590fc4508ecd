"""An ESP that the kernel has mounted: the same words on a directory, interrupted at each step.

The runs under real firmware do it on a real vfat. What a vfat may leave of a new file after a power cut is anything:
nothing, its name alone, zeros, or a part of it.
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from core.partitions.boot import BootControl, BootError
from core.partitions.boot.esp import MountedEsp
from core.partitions.boot.systemd_boot import ENTRIES, SystemdBootControl
from core.partitions.device import DeviceError
from core.partitions.disk import Disk
from tests.boot.esp_disks import disk, problem, start
from tests.boot.test_power_cut import WORDS
from tests.images.recorded import Recorder

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the kernel is asked where files lie")


class PowerCutError(Exception):
    """The power went."""


class Cut(MountedEsp):
    """The power goes after so many changes, of which the last one is not complete."""

    def __init__(self, root: Path, changes: int, left: str) -> None:
        super().__init__(root)
        self.root = root
        self._changes = changes
        self._left = left

    def _last(self) -> bool:
        self._changes -= 1
        if self._changes < -1:
            raise AssertionError("it went on after the power had gone")
        return self._changes < 0

    def create(self, path: str, size: int, pieces: Iterable[bytes]) -> None:
        if not self._last():
            return super().create(path, size, pieces)
        data = b"".join(pieces)
        kept = {"nothing": None, "name": b"", "zeros": bytes(len(data)), "part": data[: len(data) // 2], "all": data}
        content = kept[self._left]
        if content is not None:
            (self.root / path).write_bytes(content)
        raise PowerCutError

    def patch(self, path: str, offset: int, byte: bytes) -> None:
        last = self._last()
        if not last or self._left == "all":
            super().patch(path, offset, byte)
        if last:
            raise PowerCutError

    def remove(self, path: str) -> None:
        last = self._last()
        if not last or self._left == "all":
            super().remove(path)
        if last:
            raise PowerCutError


class Place:
    """A disk, and a directory in the place of its ESP."""

    def __init__(self, home: Path) -> None:
        self.disk = Disk(Recorder(disk(home)))
        self.root = home / "mounted"
        (self.root / ENTRIES).mkdir(parents=True)
        (self.root / "corenode").mkdir()
        boot = self.control()
        boot.end("A", start("1.0.0"))
        boot.good("A")

    def control(self, esp: MountedEsp | None = None) -> SystemdBootControl:
        return SystemdBootControl(self.disk, esp or MountedEsp(self.root))

    def entries(self) -> list[str]:
        return MountedEsp(self.root).names(ENTRIES)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_from_an_update_to_the_way_back(place: Place) -> None:
    boot = place.control()
    boot.begin("B", start("2.0.0"))
    boot.end("B", start("2.0.0"), tries=2)
    assert place.entries() == ["corenode-000001-a.conf", "corenode-000002-b+2.conf"]
    boot.good("B")
    boot.prefer("A")
    assert place.entries() == ["corenode-000002-b.conf", "corenode-000003-a.conf"]
    files = ["000001-a.initrd", "000001-a.linux", "000002-b.initrd", "000002-b.linux"]
    assert sorted(os.listdir(place.root / "corenode")) == files


@pytest.mark.parametrize("left", ["nothing", "name", "zeros", "part", "all"])
@pytest.mark.parametrize("word", WORDS)
def test_whenever_it_is_interrupted(place: Place, word: str, left: str) -> None:
    before, work = WORDS[word]
    before(place.control())
    kept = place.root.with_name("kept")
    shutil.copytree(place.root, kept)
    for changes in itertools.count():
        shutil.rmtree(place.root)
        shutil.copytree(kept, place.root)
        ended = carried_out(work, place.control(Cut(place.root, changes, left)))
        assert problem(place.disk, MountedEsp(place.root)) is None
        boot = place.control()
        boot.prefer("A")
        boot.begin("B", start("2.0.0"))
        boot.end("B", start("2.0.0"))
        boot.good("B")
        assert [(slot.good, slot.next) for slot in boot.status()] == [(True, False), (True, True)]
        if ended:
            break
    assert changes > (1 if word == "begin" else 2)


def carried_out(work: Callable[[BootControl], None], boot: BootControl) -> bool:
    """Whether it came to its end."""
    try:
        work(boot)
    except PowerCutError:
        return False
    return True


def test_one_file_under_two_names_is_found(place: Place) -> None:
    """What an interrupted rename leaves: from here it cannot be mended, and so nothing is begun."""
    entry = place.root / ENTRIES / "corenode-000001-a.conf"
    os.link(entry, entry.with_name("corenode-000001-a+1-2.conf"))
    with pytest.raises(DeviceError, match="one file under two names"):
        place.control().begin("B", start("2.0.0"))


def test_no_room(place: Place) -> None:
    class Full(MountedEsp):
        @property
        def free(self) -> int:
            return 10_000

    before = sorted(path for path in place.root.rglob("*"))
    with pytest.raises(BootError, match="10000 are free"):
        place.control(Full(place.root)).begin("B", start("2.0.0"))
    assert sorted(path for path in place.root.rglob("*")) == before
