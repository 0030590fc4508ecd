"""Logs: bounded whatever is written, whole lines, followed across files, and a full disk stops nothing."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from core.agent.supervisor import logs
from core.agent.supervisor.shim.log import LINE, Log, numbers
from tests.supervisor.world import PATIENCE, ROOT, until_file, world

STAMP = len("2026-11-21T09:25:17.123456Z ")


def used(directory: Path) -> int:
    total = 0
    for path in directory.glob("log.*"):
        with contextlib.suppress(FileNotFoundError):  # it was just removed
            total += path.stat().st_size
    return total


async def read(directory: Path, last: int) -> list[bytes]:
    return [line[STAMP:] async for line in logs.lines(directory, last, follow=False)]


@given(
    chunks=st.lists(st.binary(min_size=1, max_size=60).map(lambda data: data.replace(b"x", b"\n")), max_size=30),
    last=st.integers(0, 40),
)
@settings(max_examples=60)
def test_lines_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes], last: int
) -> None:
    directory = tmp_path_factory.mktemp("log")
    log = Log(str(directory), 1000, 1000)
    for chunk in chunks:
        log.take(chunk)
    whole = [line + b"\n" for line in b"".join(chunks).split(b"\n")[:-1]]
    found = trio.run(read, directory, last)
    assert found == whole[max(0, len(whole) - last) :]


@pytest.mark.parametrize("chunk", [b"y" * 65536, (b"y" * 99 + b"\n") * 655, b"y\n" * 32768])
def test_what_is_kept_is_bounded(tmp_path: Path, chunk: bytes) -> None:
    log = Log(str(tmp_path), 1 << 20, 3)
    for _ in range(200):
        log.take(chunk)
    there = numbers(str(tmp_path))
    assert there == list(range(there[-1] - 2, there[-1] + 1))
    lines = chunk.count(b"\n") + 3
    assert used(tmp_path) <= 3 * ((1 << 20) + len(chunk) + LINE + lines * STAMP)


@pytest.mark.slow
async def test_a_unit_that_writes_a_gigabyte_neither_blocks_nor_fills_the_disk(tmp_path: Path) -> None:
    async with world(tmp_path, log=(1 << 20, 3)) as w:
        with trio.fail_after(240):
            await w.run(
                "a.service",
                "Type=oneshot",
                "ExecStart=/bin/sh -c 'yes some line of a log that is not so short at all | head -c 1G'",
                "ExecStart=echo done",
            )
            while (await w.supervisor.adopt())["a.service"].since == 0 or (await w.supervisor.adopt())["a.service"].up:
                assert used(tmp_path / "units/a.service") < 6 << 20
                await trio.sleep(0.05)
        assert (await w.log("a.service"))[-1].endswith("done")  # head cuts a line in two


async def test_following_goes_on_across_files(tmp_path: Path) -> None:
    async with world(tmp_path, log=(2000, 50)) as w:
        await w.run("a.service", "ExecStart=/bin/sh -c 'for i in $(seq 300); do echo line $$i; done; exec sleep 1000'")
        found: list[bytes] = []
        with trio.fail_after(PATIENCE):
            follow = w.supervisor.logs("a.service", lines=1000, follow=True)
            async for line in follow:
                found.append(line[STAMP:])
                if len(found) == 300:
                    break
            await follow.aclose()
        assert found == [f"line {number}\n".encode() for number in range(1, 301)]
        assert len(numbers(str(tmp_path / "units/a.service"))) > 1


async def test_who_follows_too_slowly_is_told_what_is_missing(tmp_path: Path) -> None:
    log = Log(str(tmp_path), 100, 2)
    log.take(b"first\n")
    follow = logs.lines(tmp_path, 10, follow=True)
    assert (await anext(follow))[STAMP:] == b"first\n"
    for number in range(100):
        log.take(b"line %d\n" % number)
    found = [await anext(follow) for _ in range(5)]
    await follow.aclose()
    assert any(line.startswith(b"-- lines are missing here") for line in found)


async def test_following_ends_with_the_unit(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.run("a.service", "Type=oneshot", "ExecStart=echo x")
        await w.over("a.service")
        follow = w.supervisor.logs("a.service", lines=10, follow=True)
        assert (await anext(follow))[STAMP:] == b"x\n"
        await w.supervisor.unload("a.service")
        with trio.fail_after(PATIENCE), pytest.raises(StopAsyncIteration):
            await anext(follow)


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], check=True)
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


@ROOT
async def test_a_full_disk_loses_lines_says_how_many_and_nothing_else(small: Path) -> None:
    async with world(small, log=(16 << 10, 2)) as w:
        await w.load(
            "a.service",
            f"WorkingDirectory={small}",
            "ExecStart=/bin/sh -c 'dd if=/dev/zero of=filler bs=4k; yes | head -c 1M; rm filler; echo full >../full;"
            " until test -e go; do sleep 0.01; done; echo back; exit 3'",
        )
        await w.supervisor.start("a.service")
        await until_file(small.parent / "full")
        (small / "go").touch()
        down = await w.over("a.service")
        assert (down.active, down.result) == ("failed", "exit-code 3")
        written = await w.whole_log("a.service")
        assert any("bytes lost: No space left on device" in line for line in written)
        assert "back" in written


@ROOT
def test_lost_bytes_are_counted(tmp_path: Path, small: Path) -> None:
    log = Log(str(small), 1 << 20, 2)
    log.take(b"first\n")
    (small / "filler").write_bytes(b"\0" * ((256 << 10) - 4096 - 4096))
    for _ in range(10):
        log.take(b"x" * 999 + b"\n")
    (small / "filler").unlink()
    log.take(b"last\n")
    lines = trio.run(read, small, 100)
    assert lines[0] == b"first\n"
    assert lines[-1] == b"last\n"
    assert b"bytes lost: No space left on device" in lines[-2]


async def test_the_last_line_of_a_process_needs_no_newline(tmp_path: Path) -> None:
    """It has ended, although the unit goes on: its line would be waited for in vain, or be taken for another's."""
    async with world(tmp_path) as w:
        await w.run(
            "a.service",
            "Type=oneshot",
            "RemainAfterExit=yes",
            "ExecStart=/usr/bin/printf first",
            "ExecStart=/usr/bin/printf last",
        )
        await w.until_sub("a.service", "exited")
        assert await w.log("a.service") == ["first", "last"]
