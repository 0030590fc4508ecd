"""Images that are not what they say are refused with the reason, and the disk stays as it was."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard

from core.images.build import load, verify
from core.images.manifest import CHUNK_MAX, Chunk, ImageError, Manifest, decode, digest, encode
from core.images.store import unpacked
from tests.cli.programs import Host
from tests.images.recorded import fresh_disk, image

Damage = Callable[[Path, Path], None]
"""What to do to two files of chunks."""


def truncated(first: Path, _: Path) -> None:
    first.write_bytes(first.read_bytes()[:-1])


def flipped(first: Path, _: Path) -> None:
    data = bytearray(first.read_bytes())
    data[len(data) // 2] ^= 1
    first.write_bytes(data)


def longer(first: Path, _: Path) -> None:
    first.write_bytes(first.read_bytes() + b"x")


def swapped(first: Path, second: Path) -> None:
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


def gone(first: Path, _: Path) -> None:
    first.unlink()


def bomb(first: Path, _: Path) -> None:
    size = first.stat().st_size
    packed = zstandard.compress(bytes(1 << 30))
    first.write_bytes(packed[:size].ljust(size, b"\0"))


@pytest.mark.parametrize("damage", [truncated, flipped, longer, swapped, gone, bomb])
def test_damaged_chunks_change_nothing(tmp_path: Path, damage: Damage) -> None:
    manifest, store = image(tmp_path)
    last = manifest.usr.chunks[-1]
    damage(store.place(last.sha256), store.place(manifest.usr.chunks[0].sha256))
    with pytest.raises(ImageError, match=r"chunk [0-9a-f]{64}"):
        verify(manifest, store)
    before = bytes(fresh_disk())
    disk = tmp_path / "disk.img"
    disk.write_bytes(before)
    done = Host(tmp_path).run("slot", "install", str(tmp_path / "image"), "--disk", str(disk))
    assert done.returncode == 1
    assert b"chunk" in done.stderr
    assert b"Traceback" not in done.stderr
    assert disk.read_bytes() == before


@pytest.mark.parametrize("content", [bytes(CHUNK_MAX + 1), bytes(50 << 20), b"\0" * 99])
def test_a_chunk_that_lies_about_its_size(content: bytes) -> None:
    packed = zstandard.compress(content)
    with pytest.raises(ImageError, match="does not unpack to the 100 bytes"):
        unpacked(Chunk(digest(content), 100, len(packed)), packed)
    hidden = zstandard.ZstdCompressor(write_content_size=False).compress(content)
    with pytest.raises(ImageError, match="does not unpack"):
        unpacked(Chunk(digest(content), 100, len(hidden)), hidden)


def test_a_second_frame_is_refused() -> None:
    packed = zstandard.compress(b"a" * 100) + zstandard.compress(bytes(1 << 20))
    with pytest.raises(ImageError, match="cannot be unpacked"):
        unpacked(Chunk(digest(b"a" * 100), 100, len(packed)), packed)


def test_a_manifest_comes_back_as_it_was(tmp_path: Path) -> None:
    manifest, _ = image(tmp_path)
    assert load(tmp_path / "image")[0] == manifest
    data = encode(manifest)
    for end in range(0, len(data), 97):
        with pytest.raises(ImageError):
            decode(data[:end])


def changed(manifest: Manifest, **fields: object) -> bytes:
    return encode(msgspec.structs.replace(manifest, **fields))


def test_manifests_that_do_not_hold(tmp_path: Path) -> None:
    manifest, _ = image(tmp_path)
    usr = manifest.usr
    first, second, *rest = usr.chunks
    wrong = {
        "size": msgspec.structs.replace(usr, size=usr.size + 1),
        "two sizes": msgspec.structs.replace(
            usr, chunks=(first, msgspec.structs.replace(first, size=second.size), *rest)
        ),
        "sha256": msgspec.structs.replace(usr, sha256="../../etc/passwd"),
        "chunks": msgspec.structs.replace(usr, chunks=(msgspec.structs.replace(first, size=CHUNK_MAX + 1), *rest)),
    }
    for reason, blob in wrong.items():
        with pytest.raises(ImageError, match=reason if reason != "two sizes" else "size"):
            decode(changed(manifest, usr=blob))
    for fields in ({"format": 2}, {"version": "../1"}, {"version": ""}, {"product": "a/b"}, {"created": -1}):
        with pytest.raises(ImageError):
            decode(changed(manifest, **fields))
    data = encode(manifest)
    for other in (data + b"\n", data.replace(b'"created":0', b'"created": 0'), data[:-1] + b',"more":1}', b"", b"[]"):
        with pytest.raises(ImageError):
            decode(other)


def test_an_image_larger_than_the_slot(tmp_path: Path) -> None:
    image(tmp_path, 2 << 20)
    before = bytes(fresh_disk())
    disk = tmp_path / "disk.img"
    disk.write_bytes(before)
    done = Host(tmp_path).run("slot", "install", str(tmp_path / "image"), "--disk", str(disk))
    assert done.returncode == 1
    assert b"the slot in partition 4 has" in done.stderr
    assert disk.read_bytes() == before
