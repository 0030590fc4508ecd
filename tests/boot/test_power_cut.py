"""The power goes at each write and sync of what is told to systemd-boot: a whole slot starts, and all can be mended."""

import hashlib
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from core.images.build import Parts, build
from core.images.install import install
from core.images.manifest import Manifest
from core.images.store import ChunkStore
from core.partitions.boot import BootControl, BootError
from core.partitions.boot.systemd_boot import SystemdBootControl
from core.partitions.disk import Disk
from tests.boot.esp_disks import SECTOR, SLOT_A, SLOT_B, control, esp_of, fsck, installed, problem, start
from tests.images.recorded import RELEASE, Recorder
from tests.images.test_power_cut import states

Word = Callable[[BootControl], None]


def after_begin(boot: BootControl) -> None:
    boot.begin("B", start("2.0.0"))


def after_end(boot: BootControl) -> None:
    after_begin(boot)
    boot.end("B", start("2.0.0"))


def after_good(boot: BootControl) -> None:
    after_end(boot)
    boot.good("B")


def begin_again(boot: BootControl) -> None:
    boot.prefer("A")
    boot.begin("B", start("3.0.0"))


WORDS: dict[str, tuple[Word, Word]] = {
    "begin": (after_good, begin_again),
    "end": (after_begin, lambda boot: boot.end("B", start("2.0.0"))),
    "good": (after_end, lambda boot: boot.good("B")),
    "prefer": (after_good, lambda boot: boot.prefer("A")),
}


def wrong(state: bytes) -> str | None:
    opened = Disk(Recorder(bytearray(state)))
    return problem(opened, esp_of(opened))


@pytest.mark.parametrize("word", WORDS)
def test_whenever_the_power_goes(tmp_path: Path, word: str) -> None:
    before, work = WORDS[word]
    data = installed(tmp_path)
    before(control(data))
    device = Recorder(bytearray(data))
    opened = Disk(device)
    work(SystemdBootControl(opened, esp_of(opened)))
    count = 0
    for count, state in enumerate(states(bytes(data), device.log, random.Random(3)), 1):
        assert wrong(state) is None
        # we judge every state; fsck.vfat, which takes a process each, and what can be made of it, one in eight
        if count % 8 == 0:
            _, said = fsck(state, tmp_path / "judged")
            assert said == []
            mended = bytearray(state)
            after_good(control(mended))
            good = control(mended).status()[1].good
            judgement = fsck(bytes(mended), tmp_path / "judged")
            assert (good, judgement) == (True, (0, []))
    assert count > 20


def an_image(home: Path) -> tuple[Manifest, ChunkStore]:
    """As version 2.0.0 of the other tests, with a /usr that fills most of a slot."""
    fresh = start("2.0.0")
    assert fresh.kernel is not None
    assert fresh.initrd is not None
    (home / "usr").write_bytes(random.Random(1).randbytes(20_000))
    (home / "kernel").write_bytes(b"".join(fresh.kernel.pieces()))
    (home / "initrd").write_bytes(b"".join(fresh.initrd.pieces()))
    release = msgspec.structs.replace(RELEASE, version="2.0.0")
    manifest = build(Parts(home / "usr", home / "kernel", home / "initrd"), release, home / "image")
    return manifest, ChunkStore(home / "image" / "chunks")


def test_a_whole_install_whenever_the_power_goes(tmp_path: Path) -> None:
    """Markers at both ends of both slots: nothing but the image's place in slot B, and the boot partition, changes."""
    manifest, store = an_image(tmp_path)
    data = installed(tmp_path)
    for name, slot in (("A", SLOT_A), ("B", SLOT_B)):
        for place in (slot.start, slot.stop - SECTOR):
            data[place : place + SECTOR] = f"slot {name} at {place}".encode().ljust(SECTOR, b"!")
    before = bytes(data)
    device = Recorder(data)
    opened = Disk(device)
    boot = SystemdBootControl(opened, esp_of(opened))
    install(opened, boot, boot.status()[1], manifest, store)
    assert control(data).status()[1].next
    image = slice(SLOT_B.start, SLOT_B.start + manifest.usr.size)
    behind = slice(image.stop, SLOT_B.stop)
    cuts = list(states(before, device.log, random.Random(5)))
    assert len(cuts) > 80
    for state in cuts:
        assert wrong(state) is None
        assert (state[SLOT_A], state[behind]) == (before[SLOT_A], before[behind])
        if control(bytearray(state)).status()[1].bootable:
            assert hashlib.sha256(state[image]).hexdigest() == manifest.usr.sha256


def test_no_room_for_the_kernel_is_said_before_the_first_byte(tmp_path: Path) -> None:
    manifest, store = an_image(tmp_path)
    data = installed(tmp_path)
    esp = esp_of(Disk(Recorder(data)))
    esp.create("filler", esp.free - 8_000, [bytes(esp.free - 8_000)])
    device = Recorder(data)
    opened = Disk(device)
    boot = SystemdBootControl(opened, esp_of(opened))
    with pytest.raises(BootError, match="are free"):
        install(opened, boot, boot.status()[1], manifest, store)
    assert [step for step in device.log if step is not None] == []
