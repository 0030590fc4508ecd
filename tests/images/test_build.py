"""The same tree gives the same image, which foreign tools can read."""

import os
import random
import subprocess
from pathlib import Path

from core.images.build import Parts, build, verify
from core.images.cutting import CHUNK_MIN, cut
from core.images.manifest import CHUNK_MAX, digest
from core.images.store import ChunkStore
from tests.cli.programs import Host
from tests.images.recorded import RELEASE, fresh_disk


def tree(root: Path, mtime: int, backwards: bool) -> Path:
    names = [f"bin/{letter}" for letter in "abcdef"] + ["lib/deep/er", "empty"]
    for number, name in enumerate(reversed(names) if backwards else names):
        place = root / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(random.Random(name).randbytes(50_000) if name != "empty" else b"")
        os.utime(place, (mtime + number, mtime + number))
    (root / "link").symlink_to("bin/a")
    os.utime(root, (mtime, mtime))
    return root


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_two_builds_are_identical(tmp_path: Path) -> None:
    one = tree(tmp_path / "one", 1_000_000_000, backwards=False)
    other = tree(tmp_path / "some" / "where" / "else", 1_700_000_000, backwards=True)
    host = Host(tmp_path)
    for source, out in ((one, "first"), (other, "second")):
        words = ("--out", str(tmp_path / out), "--version", "1.2.3", "--verity")
        assert host.run("image", "build", str(source), *words).returncode == 0
    assert files(tmp_path / "first") == files(tmp_path / "second")
    assert host.run("image", "check", str(tmp_path / "first")).returncode == 0


def test_from_a_tree_to_a_slot_and_back(tmp_path: Path) -> None:
    manifest = build(Parts(tree(tmp_path / "root", 1, backwards=False), verity=True), RELEASE, tmp_path / "image")
    verify(manifest, ChunkStore(tmp_path / "image" / "chunks"))
    disk = tmp_path / "disk.img"
    disk.write_bytes(fresh_disk())
    host = Host(tmp_path)
    done = host.run("slot", "install", str(tmp_path / "image"), "--disk", str(disk))
    assert done.stderr == b"corenode 1.2.3 is in partition 4 and starts next\n"
    slot = tmp_path / "slot"
    first = subprocess.run(["sgdisk", "--info=4", disk], capture_output=True, check=True, text=True).stdout
    start = int(first.split("First sector: ")[1].split()[0])
    slot.write_bytes(disk.read_bytes()[start * 512 :])
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tmp_path / "out", slot], check=True, capture_output=True)
    assert files(tmp_path / "out") == files(tmp_path / "root")
    verity = manifest.verity
    assert verity is not None
    judge = ["veritysetup", "verify", str(slot), str(slot), verity.root_hash, f"--hash-offset={verity.hash_offset}"]
    subprocess.run(judge, check=True, capture_output=True)
    damaged = bytearray(slot.read_bytes())
    damaged[9000] ^= 1
    slot.write_bytes(damaged)
    assert subprocess.run(judge, capture_output=True).returncode
    assert host.run("slot", "rollback", "--disk", str(disk)).stderr == b"slot A starts next\n"


def test_a_tree_of_hashes_of_several_levels(tmp_path: Path) -> None:
    source = tmp_path / "usr"
    for size in (1, 4096, 4097, 128 * 4096, 129 * 4096, 129 * 128 * 4096 // 8):
        source.write_bytes(random.Random(size).randbytes(size))
        manifest = build(Parts(source, verity=True), RELEASE, tmp_path / str(size))
        store = ChunkStore(tmp_path / str(size) / "chunks")
        whole = tmp_path / "whole"
        whole.write_bytes(b"".join(store.read(chunk) for chunk in manifest.usr.chunks))
        verity = manifest.verity
        assert verity is not None
        judge = [
            "veritysetup",
            "verify",
            str(whole),
            str(whole),
            verity.root_hash,
            f"--hash-offset={verity.hash_offset}",
        ]
        subprocess.run(judge, check=True, capture_output=True)


def test_an_insertion_changes_few_chunks() -> None:
    data = random.Random(3).randbytes(5_000_000)

    def chunks(content: bytes) -> list[bytes]:
        found = list(cut(lambda offset, length: content[offset : offset + length], len(content)))
        assert b"".join(found) == content
        assert all(CHUNK_MIN <= len(chunk) <= CHUNK_MAX for chunk in found[:-1])
        return found

    before = {digest(chunk) for chunk in chunks(data)}
    after = {digest(chunk) for chunk in chunks(data[:2_000_000] + b"new" + data[2_000_000:])}
    assert len(before) > 40
    assert len(after - before) <= 2
    assert len(chunks(bytes(1_000_000))) == 4


def test_what_cannot_be_built_says_why(tmp_path: Path) -> None:
    host = Host(tmp_path)
    (tmp_path / "empty").write_bytes(b"")
    done = host.run("image", "build", str(tmp_path / "empty"), "--out", str(tmp_path / "out"), "--version", "1")
    assert (done.returncode, b"is empty" in done.stderr) == (1, True)
    tree(tmp_path / "root", 1, backwards=False)
    done = host.run("image", "build", str(tmp_path / "root"), "--out", str(tmp_path / "root"), "--version", "1")
    assert (done.returncode, b"is not empty" in done.stderr) == (1, True)
    done = host.run("image", "build", str(tmp_path / "root"), "--out", str(tmp_path / "new"), "--version", "../1")
    assert (done.returncode, b"version" in done.stderr) == (1, True)
    assert host.run("image", "check", str(tmp_path / "new")).returncode == 1
