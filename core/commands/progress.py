"""A progress bar for long work, when there is a terminal to show it on."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress as Bar


class Progress:
    """The time passed and, unless `bytes_known` is false, bytes and their rate, on standard error.

    Nothing if that is no terminal.
    """

    def __init__(self, what: str, *, bytes_known: bool = True) -> None:
        self._what = what
        self._bytes_known = bytes_known
        self._bar: Bar | None = None

    def __enter__(self) -> Self:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TimeElapsedColumn, TransferSpeedColumn

            amount = (DownloadColumn(), TransferSpeedColumn()) if self._bytes_known else ()
            columns = ("{task.description}", BarColumn(), *amount, TimeElapsedColumn())
            self._bar = Progress(*columns, console=Console(stderr=True), transient=True)
            self._bar.add_task(self._what, total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def show(self, what: str, done: int, total: int) -> None:
        """What is being done, and how far; `total` 0: nobody knows."""
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], description=what, completed=done, total=total or None)

    def advance(self, count: int) -> None:
        """So many bytes more."""
        if self._bar is not None:
            self._bar.advance(self._bar.task_ids[0], count)
