"""Reading a unit's log: its last lines, and what comes after them, across the numbered files."""

import os
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO

import trio

from core.agent.supervisor.shim.log import PREFIX, numbers

BLOCK = 1 << 16
LOOK = 0.2
"""Seconds between looks for more, while somebody follows."""


async def lines(directory: Path, last: int, *, follow: bool) -> AsyncGenerator[bytes]:
    """The last lines, each with its newline, and then with `follow` each new one. Lines that were removed before they
    could be read are passed over, and a line says so. Ends by itself if the directory is removed."""
    tail = _Tail(directory)
    for line in await trio.to_thread.run_sync(tail.back, last):
        yield line
    try:
        while follow:
            for line in tail.more():
                yield line
            if tail.behind():
                await trio.lowlevel.checkpoint()
                continue
            if tail.removed():
                return
            await trio.sleep(LOOK)
    finally:
        tail.close()


class _Tail:
    """A place in the log."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._number = 0
        self._file: BinaryIO | None = None
        self._rest = b""

    def back(self, last: int) -> list[bytes]:
        """The last whole lines there are; what comes later is for `more`."""
        there = numbers(str(self._directory))
        found: list[bytes] = []
        for number in reversed(there):
            file = self._open(number)
            if file is None:
                continue
            size = os.fstat(file.fileno()).st_size
            if number == there[-1]:
                self._number, self._file = number, file
            part = _last_lines(file, size, last - len(found))
            if number == there[-1]:
                file.seek(size)
                if part and not part[-1].endswith(b"\n"):
                    self._rest = part.pop()
            else:
                file.close()
            found = part + found
            if len(found) >= last:
                break
        return found[max(0, len(found) - last) :]

    def more(self) -> list[bytes]:
        """The whole lines in the next block."""
        if self._file is None:
            self._advance()
        block = self._file.read(BLOCK) if self._file else b""
        if not block:
            return []
        parts = (self._rest + block).split(b"\n")
        self._rest = parts.pop()
        return [part + b"\n" for part in parts]

    def behind(self) -> bool:
        """Whether there is more to read at once; goes on to the next file when this one is over."""
        if self._file is None:
            return False
        if os.fstat(self._file.fileno()).st_size > self._file.tell():
            return True
        there = numbers(str(self._directory)) if self._directory.is_dir() else []
        if not there or there[-1] <= self._number:
            return False
        if os.fstat(self._file.fileno()).st_size > self._file.tell():  # it grew before the next one was begun
            return True
        return self._advance()

    def removed(self) -> bool:
        """Whether the unit is gone, and its log with it."""
        return not self._directory.is_dir()

    def _advance(self) -> bool:
        there = [number for number in numbers(str(self._directory)) if number > self._number]
        file = self._open(there[0]) if there else None
        if file is None:
            return False
        if self._number and there[0] > self._number + 1:
            self._rest = b"-- lines are missing here: they were removed before they were read\n" + self._rest
        self.close()
        self._number, self._file = there[0], file
        return True

    def _open(self, number: int) -> BinaryIO | None:
        try:
            return open(self._directory / f"{PREFIX}{number}", "rb", buffering=0)
        except FileNotFoundError:
            return None

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self._file = None


def _last_lines(file: BinaryIO, size: int, count: int) -> list[bytes]:
    """The last lines of a file, read backwards in blocks; one that is not finished comes last and does not count."""
    data, place = b"", size
    while place > 0 and data.count(b"\n") <= count:
        step = min(BLOCK, place)
        place -= step
        file.seek(place)
        data = file.read(step) + data
    *whole, rest = data.split(b"\n")
    found = [line + b"\n" for line in whole]
    if place > 0:
        del found[0]  # it began in an earlier block
    return found[max(0, len(found) - count) :] + ([rest] if rest else [])
