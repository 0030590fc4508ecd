"""An install of an image beside `dd` with sync of the same bytes to the same disk file, and RAUC, in alternation.

    .venv/bin/python -m bench.install [--mib 512] [--rounds 3]

RAUC's column is there where it can be run (`bench/rauc.py`). Seconds of CPU beside those of the clock tell what a busy
machine distorts. Also what a small change costs in bytes fetched.

The image is of random bytes, as those of a compressed one look.
"""

import argparse
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from uuid import UUID

from bench import rauc
from core.images.build import Parts, Release, build, load
from core.images.install import install
from core.images.lanes import THREADS
from core.images.manifest import Manifest
from core.partitions.boot.gpt import GptControl
from core.partitions.device import Device
from core.partitions.disk import Disk
from core.partitions.slots import USR, Marks, marked
from core.partitions.table import Partition, new_table
from core.partitions.writing import create

SECTOR = 512
START = 2048
ROOM = 1 << 20
"""Bytes of a slot beyond the image."""


def make_disk(path: Path, slot: int) -> None:
    """A disk file with two slots, of which the first is good; all blocks are there, so that no run allocates."""
    sectors = slot // SECTOR
    table = new_table(UUID(int=1), START + 2 * sectors + 4096)
    first = Partition(3, USR, UUID(int=3), START, START + sectors - 1, 0, "USR-A")
    second = Partition(4, USR, UUID(int=4), START + sectors, START + 2 * sectors - 1, 0, "USR-B")
    table = table.replaced(marked(first, Marks(2, 0, True)), second)
    with path.open("wb") as file:
        for _ in range(table.sectors * SECTOR // ROOM + 1):
            file.write(b"x" * ROOM)
        file.truncate(table.sectors * SECTOR)
    with Device.open(path, writable=True) as device:
        for group in create(table):
            for write in group:
                device.write(write.offset, write.data)
        device.sync()


def installed(image: Path, disk: Path) -> None:
    """What a process of its own does, so that its memory can be told."""
    manifest, store = load(image)
    with Disk.open(disk, writable=True) as opened:
        boot = GptControl(opened)
        install(opened, boot, boot.status()[1], manifest, store, readers=THREADS)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(usage.ru_maxrss, usage.ru_utime + usage.ru_stime)


def fresh_bytes(old: Manifest, new: Manifest) -> tuple[int, int]:
    """Compressed bytes of chunks that only the new one has, and of all."""
    known, chunks = old.chunks(), new.chunks()
    return sum(c.stored for name, c in chunks.items() if name not in known), sum(c.stored for c in chunks.values())


def _fresh(path: Path) -> Path:
    path.mkdir()
    return path


def timed(work: Callable[[], object]) -> float:
    start = time.monotonic()
    work()
    return time.monotonic() - start


def compare(home: Path, mib: int, rounds: int) -> None:
    usr, image, disk = home / "usr", home / "image", home / "disk.img"
    chance = random.Random(1)
    with usr.open("wb") as file:
        for _ in range(mib):
            file.write(chance.randbytes(1 << 20))
    release = Release("corenode", "1", "x86_64")
    taken = timed(lambda: build(Parts(usr), release, image))
    print(f"build: {mib} MiB in {taken:.1f} s")
    make_disk(disk, (mib << 20) + ROOM)
    seek = ((START * SECTOR) + (mib << 20) + ROOM) >> 20
    dd = ("dd", f"if={usr}", f"of={disk}", "bs=1M", f"seek={seek}", "conv=notrunc,fsync", "status=none")
    ours = (sys.executable, "-m", "bench.install", "--run", str(image), str(disk))
    with ExitStack() as stack:
        why = rauc.missing()
        peer = None if why else stack.enter_context(rauc.running(_fresh(home / "rauc"), usr))
        print(f"RAUC is not measured: it {why}" if why else "RAUC verifies and writes; it does not read back")
        memory, cpu, ratios = 0, 0.0, []
        for _ in range(rounds):
            plain = timed(lambda: subprocess.run(dd, check=True))
            start = time.monotonic()
            told = subprocess.run(ours, check=True, capture_output=True, text=True).stdout.split()
            whole = time.monotonic() - start
            memory, cpu = max(memory, int(told[0])), cpu + float(told[1])
            ratios.append(whole / plain)
            beside = f", RAUC {timed(peer.install):.2f} s" if peer else ""
            print(f"dd {plain:.2f} s, install with read back {whole:.2f} s: {whole / plain:.2f}x{beside}")
        ratio = f"{statistics.median(ratios):.2f}x of dd (median of {rounds})"
        print(f"install: {ratio}, at most {memory >> 10} MiB of memory, {cpu / rounds:.2f} s of CPU")
        if peer:
            print(f"RAUC: at most {peer.memory() >> 10} MiB of memory, {peer.cpu() / rounds:.2f} s of CPU")
    with usr.open("r+b") as file:
        for _ in range(20):
            file.seek(chance.randrange(mib << 20))
            file.write(chance.randbytes(100))
    changed = build(Parts(usr), release, home / "changed")
    fetched, full = fresh_bytes(load(image)[0], changed)
    print(f"20 places changed: {fetched / 1e6:.2f} MB to fetch of {full / 1e6:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--run", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        installed(*options.run)
        return
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as home:
        compare(Path(home), options.mib, options.rounds)


if __name__ == "__main__":
    main()
