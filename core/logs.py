"""Structured log lines on standard error, over the standard `logging`.

A line is a message and fields: `log.warning("disk is slow", extra={"cause": "disk", "ms": 310})`, so that every
floor can log without importing this module. Text shows fields as key=value, JSON as members of one object a line.

The caller formats; one thread writes. A standard error that nobody reads (a full pipe, a stopped terminal) blocks
only that thread: the loop goes on, lines beyond 1 MiB are dropped, and a line says how many once it flows again.
`O_NONBLOCK` would do without a thread, but it changes the terminal or pipe for the other processes that share it.
The thread sleeps unless there is something to write and writes whole batches, so it does not fight for the
interpreter lock with the loop or with LMDB.
"""

import contextlib
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

log = logging.getLogger("corenode")
"""For what is said by the process as such."""

QUEUE_BYTES = 1 << 20
FLUSH_SECONDS = 1.0
REPEATS = 5
REPEAT_SECONDS = 10.0
"""Of the same warning, `REPEATS` lines in `REPEAT_SECONDS` are written; the next one after tells how many were not."""
_MAX_KINDS = 512

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SECRET = re.compile(r"password|secret|token|authorization|private|cookie", re.IGNORECASE)
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_YELLOW, _RED, _FAINT, _PLAIN = "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_COLOUR = {logging.DEBUG: _FAINT, logging.WARNING: _YELLOW, logging.ERROR: _RED, logging.CRITICAL: _RED}


def fields(record: logging.LogRecord) -> dict[str, object]:
    """What was given as `extra`, secrets blotted out."""
    return {key: "***" if _SECRET.search(key) else value for key, value in vars(record).items() if key not in _STANDARD}


def _word(value: object) -> str:
    text = f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    if text and text.isprintable() and not any(mark in text for mark in ' "='):
        return text
    return msgspec.json.encode(text).decode()


class TextFormatter(logging.Formatter):
    """`TIME LEVEL message key=value`, one line; a traceback follows on lines of its own."""

    def __init__(self, *, terminal: bool = False, journal: bool = False) -> None:
        super().__init__()
        self._terminal = terminal
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        pairs = "".join(f"  {key}={_word(value)}" for key, value in fields(record).items())
        # A message may quote what a client sent: control characters must not reach a terminal.
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record.getMessage())
        line = f"{message}{pairs}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        if self._journal:  # which knows the time, and reads the level from this prefix
            prefix = f"<{_PRIORITY.get(record.levelno, 5)}>"
            return prefix + line.replace("\n", f"\n{prefix}")
        moment = datetime.fromtimestamp(record.created, UTC)
        level = record.levelname.lower()
        if not self._terminal:
            return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}Z {level:<8} {line}"
        colour = _COLOUR.get(record.levelno, "")
        local = moment.astimezone()
        return f"{_FAINT}{local:%H:%M:%S}{_PLAIN} {colour}{level:<8}{line}{colour and _PLAIN}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, msg, then the fields; `error` holds a traceback."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "ts": f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        line |= {key: value for key, value in fields(record).items() if key not in line}
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class RepeatFilter(logging.Filter):
    """Holds back warnings and errors that repeat; kinds are told apart by logger, level, template and cause."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = now
        self._kinds: dict[tuple[object, ...], list[float]] = {}
        """Kind -> start of its window, lines written in it, lines held back in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = (record.name, record.levelno, str(record.msg), str(getattr(record, "cause", "")))
        now = self._now()
        state = self._kinds.get(kind)
        if state is None or now - state[0] >= REPEAT_SECONDS:
            if state is not None and state[2]:
                record.repeats_left_out = int(state[2])
            self._kinds.pop(kind, None)
            if len(self._kinds) >= _MAX_KINDS:
                del self._kinds[next(iter(self._kinds))]
            self._kinds[kind] = [now, 1, 0]
            return True
        if state[1] < REPEATS:
            state[1] += 1
            return True
        state[2] += 1
        return False


class Writer:
    """Writes to a file descriptor from a thread of its own; see the module's first lines."""

    def __init__(self, descriptor: int, limit: int = QUEUE_BYTES) -> None:
        self._descriptor = descriptor
        self._limit = limit
        self._changed = threading.Condition()
        self._waiting: list[bytes] = []
        self._size = 0
        self._busy = False
        threading.Thread(target=self._run, name="log", daemon=True).start()

    def write(self, data: bytes) -> bool:
        """Queue `data`; False if the queue is full and it was dropped. Never waits."""
        with self._changed:
            if self._size + len(data) > self._limit:
                return False
            self._waiting.append(data)
            self._size += len(data)
            self._changed.notify_all()
            return True

    def flush(self, seconds: float) -> bool:
        """Wait until all is written, at most so long; whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._waiting)
                batch, self._waiting, self._size = b"".join(self._waiting), [], 0
                self._busy = True
            with contextlib.suppress(OSError):  # nobody left to read it: there is no other place to say so
                while batch:
                    batch = batch[os.write(self._descriptor, batch) :]


class QueueingHandler(logging.Handler):
    """Formats in the caller and hands the line to a `Writer`; says how many lines had to be dropped."""

    def __init__(self, writer: Writer) -> None:
        super().__init__()
        self.writer = writer
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # a broken log call must not break its caller
            self.handleError(record)
            return
        if self._dropped:
            notice = logging.makeLogRecord(
                {
                    "name": __name__,
                    "levelno": logging.WARNING,
                    "levelname": "WARNING",
                    "msg": "log lines were dropped because standard error was not read",
                    "lines": self._dropped,
                }
            )
            if self.writer.write(self._bytes(self.format(notice))):
                self._dropped = 0
        if not self.writer.write(self._bytes(line)):
            self._dropped += 1

    def flush(self) -> None:
        self.writer.flush(FLUSH_SECONDS)

    @staticmethod
    def _bytes(line: str) -> bytes:
        return line.encode(errors="backslashreplace") + b"\n"


def _formatter(form: str, environ: Mapping[str, str]) -> logging.Formatter:
    if form == "json":
        return JsonFormatter()
    if form == "auto":
        return TextFormatter(terminal=sys.stderr.isatty(), journal=is_journal(environ))
    return TextFormatter()


def is_journal(environ: Mapping[str, str]) -> bool:
    """Whether standard error is the stream systemd made for the journal (`$JOURNAL_STREAM` is its device:inode)."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def setup(form: str, level: str, environ: Mapping[str, str] = os.environ) -> QueueingHandler:
    """Send all logging of the process to standard error. `form`: text, json or auto; `level` as in the settings."""
    handler = QueueingHandler(Writer(2))
    handler.setFormatter(_formatter(form, environ))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for chatty in ("httpcore", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    set_level(level)
    return handler


def set_level(level: str) -> None:
    """Change the level of a running process (reload)."""
    logging.getLogger().setLevel(level.upper())


def say(text: str) -> None:
    """Write plain text to standard error in turn with the log lines, whole."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, QueueingHandler):
            handler.writer.write(text.encode())
