"""What a unit writes, in numbered files of bounded size and number, each line with the time it came."""

import os
import time

LINE = 48 << 10
"""A line longer than this is broken in two, so that a reader's lines are bounded."""
PREFIX = "log."


def numbers(directory: str) -> list[int]:
    """The numbers of the log files there, oldest first."""
    found = (entry[len(PREFIX) :] for entry in os.listdir(directory) if entry.startswith(PREFIX))
    return sorted(int(number) for number in found if number.isdecimal())


class Log:
    """The writing end. It never raises and never waits: what the disk refuses is counted and dropped."""

    def __init__(self, directory: str, size: int, count: int) -> None:
        self._directory = directory
        self._size = size
        self._count = max(2, count)
        self._file = -1
        self._number = max(numbers(directory), default=0)
        self._length = 0
        self._column = 0
        """Bytes of the line that is not finished."""
        self._lost = 0
        self._torn = False
        """Whether the disk took the beginning of a line whose rest is lost."""
        self._why = ""
        self._open(self._number or 1)

    def note(self, text: str) -> None:
        """A line of the supervisor's own."""
        start = b"\n" if self._column else b""
        self._column = 0
        self._write(start + _stamp() + b"-- " + " ".join(text.split()).encode("utf-8", "replace") + b"\n")

    def end_line(self) -> None:
        """Who wrote the last line has ended: readers wait for its end no longer."""
        if self._column:
            self._column = 0
            self._write(b"\n")

    def take(self, data: bytes) -> None:
        """Append what the unit wrote, as it came from the pipe."""
        if self._column > LINE:
            data = b"\n" + data
        end = data.find(b"\n") + 1
        if self._column and self._length >= self._size and end:
            self._stamped(data[:end])
            data = data[end:]
        if data:
            self._stamped(data)

    def _stamped(self, data: bytes) -> None:
        stamp = _stamp()
        text = data.replace(b"\n", b"\n" + stamp)
        if not self._column:
            text = stamp + text
        end = data.rfind(b"\n") + 1
        self._column = len(data) - end if end else self._column + len(data)
        if not self._column:
            text = text[: -len(stamp)]
        self._write(text)

    def _write(self, text: bytes) -> None:
        lost, self._lost = self._lost, 0
        if lost:
            text = b"\n" * self._torn + _stamp() + b"-- %d bytes lost: %s\n" % (lost, self._why.encode()) + text
        done = self._append(text)
        if done < len(text) and self._drop_oldest():
            done += self._append(text[done:])
        if done < len(text):
            self._lost = lost + len(text) - done
            self._torn = done > 0 or (self._torn and lost > 0)
            self._column = 0
        if self._length >= self._size and not self._column:
            self._open(self._number + 1)

    def _append(self, text: bytes) -> int:
        """How many bytes of it the disk took."""
        done = 0
        try:
            while done < len(text):
                done += os.write(self._file, text[done:])
        except OSError as error:
            self._why = error.strerror or str(error)
        self._length += done
        return done

    def _drop_oldest(self) -> bool:
        """Make room; False if the file that is written is the only one."""
        try:
            there = numbers(self._directory)
            if len(there) < 2:
                return False
            os.unlink(f"{self._directory}/{PREFIX}{there[0]}")
        except OSError:  # somebody else removes them too
            return False
        return True

    def _open(self, number: int) -> None:
        """Go on in this file, and keep as many as there may be."""
        path = f"{self._directory}/{PREFIX}{number}"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._why = error.strerror or str(error)
            return
        if self._file >= 0:
            os.close(self._file)
        self._file, self._number = file, number
        self._length = os.fstat(file).st_size
        while min(numbers(self._directory), default=number) <= number - self._count:
            if not self._drop_oldest():
                return


def _stamp() -> bytes:
    """The present time as `2026-11-21T09:25:17.123456Z` and a blank."""
    now = time.time_ns() // 1000
    return (time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now // 1_000_000)) + f".{now % 1_000_000:06}Z ").encode()
