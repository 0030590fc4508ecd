"""The power goes at each write and sync of what is told to systemd-boot: a whole slot starts, and all can be mended."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from core.partitions.boot import BootControl
from core.partitions.boot.systemd_boot import ENTRIES, SystemdBootControl
from core.partitions.disk import Disk
from tests.boot.esp_disks import Bytes, control, esp_of, fsck, installed, start
from tests.images.recorded import Recorder
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
    """What is wrong with a disk that a power cut left."""
    opened = Disk(Recorder(bytearray(state)))
    esp = esp_of(opened)
    slots = SystemdBootControl(opened, esp).status()
    if not slots[0].good:
        return "A is not good any more"
    if not any(slot.next for slot in slots):
        return "nothing starts"
    for file in esp.names(ENTRIES):
        text = esp.read(f"{ENTRIES}/{file}").decode()
        if "\nlinux " not in text:
            continue
        fields = dict(line.split(" ", 1) for line in text.splitlines())
        version = fields["title"].split()[1]
        for key, content in (("linux", start(version).kernel), ("initrd", start(version).initrd)):
            assert isinstance(content, Bytes)
            path = fields[key].strip("/")
            if not esp.has(path) or esp.read(path) != content.data:
                return f"{file} counts, and its {key} is not whole"
        if "PARTUUID" not in fields["options"]:
            return f"{file} names no /usr"
    return None


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
        problem = wrong(state)
        assert problem is None
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
