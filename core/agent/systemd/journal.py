"""What units wrote, from systemd's journal, by its own reader."""

import subprocess
from collections.abc import AsyncGenerator

import trio

_READ = 65536
LINE = 1 << 20
"""Bytes of one line; a longer one is given in pieces, so that nobody's line fills our memory."""


class JournalError(Exception):
    """The journal could not be read; the text says why."""


async def read(name: str, *, lines: int, follow: bool, user: bool = False) -> AsyncGenerator[bytes]:
    """The last `lines` lines of a unit, systemd's own words about it among them, each with its newline; with `follow`
    each new one until it is closed. JournalError."""
    command = ["journalctl", f"--user-unit={name}" if user else f"--unit={name}", "--output=cat", "--all", "--quiet"]
    command += ["--no-pager", f"--lines={lines}", *(["--follow"] if follow else [])]
    try:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    except OSError as error:
        raise JournalError(f"journalctl: {error.strerror}") from None
    if process.stdout is None or process.stderr is None:
        raise RuntimeError("a process was started without the pipes that were asked for")
    try:
        rest = b""
        while data := await process.stdout.receive_some(_READ):
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line + b"\n"
            if len(rest) > LINE:
                yield rest + b"\n"
                rest = b""
        if rest:
            yield rest + b"\n"
        said = await process.stderr.receive_some(_READ)
        if await process.wait() != 0:
            raise JournalError(said.decode(errors="replace").strip() or f"journalctl ended with {process.returncode}")
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()
            await process.stderr.aclose()
