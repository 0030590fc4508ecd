"""The page that says how a unit is: written in place by its shim, read by the daemon at any time.

One call writes the whole page, into room the file has from the beginning: a full disk cannot keep a result from being
known, and no crash of the shim leaves half of it. A reader may meet a page that is just being written; the checksum
tells, and it reads again.
"""

import binascii
import os

from core.agent.supervisor.shim.fields import pack, unpack

PAGE = 4096
LONGEST = 400
"""Characters of one value that are kept: sentences are cut, nothing else comes near it."""


class Status:
    """The writing end, one for the life of a shim."""

    def __init__(self, path: str, events: str, name: str) -> None:
        self._page = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._events = events
        self._name = name
        self.values: dict[str, str] = {}
        self.unsaid = False
        """A change was written, and `events` had no room for it: `ring` again."""

    def write(self, **values: str | int) -> None:
        """Take over these values, and write the page. OSError if the file system refuses: it is written again with the
        next change."""
        self.values.update({key: str(value)[:LONGEST] for key, value in values.items()})
        body = pack([[key, value] for key, value in self.values.items()])
        head = b"%08x %d\n" % (binascii.crc32(body), len(body))
        os.pwrite(self._page, (head + body).ljust(PAGE, b"\0"), 0)

    def close(self) -> None:
        os.close(self._page)

    def ring(self) -> None:
        """Tell the daemon that there is something to read, if one listens."""
        self.unsaid = False
        try:
            bell = os.open(self._events, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:  # nobody reads: the next daemon begins with the page
            return
        try:
            os.write(bell, self._name.encode() + b"\n")
        except BlockingIOError:
            self.unsaid = True
        except OSError:  # it went just now
            return
        finally:
            os.close(bell)


def read(path: str) -> dict[str, str] | None:
    """The values on a page; None if there is none that can be read. Asks a few times while it is being written."""
    for _ in range(20):
        try:
            with open(path, "rb") as file:
                page = file.read(PAGE * 4)
        except OSError:
            return None
        head, _, rest = page.partition(b"\n")
        try:
            checksum, length = int(head[:8], 16), int(head[9:])
        except ValueError:
            return None
        body = rest[:length]
        if len(body) == length and binascii.crc32(body) == checksum:
            return {row[0]: row[1] for row in unpack(body)}
    return None
