"""The program, but its node is killed the first time that its updater enters each step: behind the word in its journal.

    python -m tests.update.dies up ...

What died where is noted in the directory DIED, so that the next start goes on.
"""

import os
import signal
from pathlib import Path

from cli import main
from core.update.host.journal import Journal, JournalFile

NOTES = Path(os.environ.get("DIED", "died"))
_write = JournalFile.write


async def _write_and_die(self: JournalFile, journal: Journal) -> None:
    await _write(self, journal)
    note = NOTES / journal.step
    if journal.step != "idle" and not note.exists():
        note.touch()
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    NOTES.mkdir(exist_ok=True)
    JournalFile.write = _write_and_die  # type: ignore[method-assign]
    main()
