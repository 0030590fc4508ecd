"""Log lines: their forms, what is left out of them, and that nobody waits for them."""

import io
import json
import logging
import os
import re
import threading
from collections.abc import Iterator

import pytest

from core.logs import JsonFormatter, QueueingHandler, RepeatFilter, TextFormatter, Writer


def _record(message: str = "disk is slow", level: int = logging.WARNING, **fields: object) -> logging.LogRecord:
    return logging.makeLogRecord(
        {"name": "core.x", "levelno": level, "levelname": logging.getLevelName(level), "msg": message, **fields}
    )


def test_text() -> None:
    line = TextFormatter().format(_record(cause="disk", ms=310.0, what="log commit", empty=""))
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z warning  disk is slow"
        r'  cause=disk  ms=310  what="log commit"  empty=""',
        line,
    )


def test_what_a_client_sent_cannot_forge_lines_or_steer_a_terminal() -> None:
    line = TextFormatter().format(_record("bad key \x1b[2J\nforged", key="a\nb\x1b[0m"))
    assert "\n" not in line
    assert "\x1b" not in line


def test_the_journal_gets_levels_and_no_time() -> None:
    assert TextFormatter(journal=True).format(_record()) == "<4>disk is slow"


def test_json() -> None:
    line = json.loads(JsonFormatter().format(_record(cause="disk", path=io.StringIO, msg2={"a": [1]})))
    assert line["level"] == "warning"
    assert line["msg"] == "disk is slow"
    assert line["cause"] == "disk"
    assert line["msg2"] == {"a": [1]}
    assert line["ts"].endswith("Z")


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_secrets_stay_out(formatter: logging.Formatter) -> None:
    line = formatter.format(_record(user_password="hunter2", Authorization="Basic x", join_token="t0ken"))
    assert not re.search("hunter2|Basic|t0ken", line)


def test_repeats_are_held_back_and_counted() -> None:
    now = [0.0]
    repeats = RepeatFilter(lambda: now[0])
    assert sum(repeats.filter(_record()) for _ in range(100)) == 5
    assert repeats.filter(_record(cause="peer"))
    assert repeats.filter(_record(level=logging.INFO))
    now[0] = 11.0
    late = _record()
    assert repeats.filter(late)
    assert late.__dict__["repeats_left_out"] == 95


def test_the_memory_of_repeats_is_bounded() -> None:
    repeats = RepeatFilter(lambda: 0.0)
    for number in range(10_000):
        repeats.filter(_record(f"kind {number}"))
    assert len(repeats._kinds) <= 512


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read, write = os.pipe()
    yield read, write
    os.close(read)
    os.close(write)


def test_a_reader_that_stands_still_stops_nobody(pipe: tuple[int, int]) -> None:
    read, write = pipe
    handler = QueueingHandler(Writer(write, limit=200_000))
    handler.setFormatter(TextFormatter())
    done = threading.Event()

    def log_much() -> None:
        for number in range(10_000):
            handler.emit(_record(f"line {number} {'x' * 80}"))
        done.set()

    threading.Thread(target=log_much, daemon=True).start()
    assert done.wait(20), "logging waited for the reader"
    assert not handler.writer.flush(0.01), "the pipe should be full: the test proves nothing"
    received = bytearray()

    def read_until(word: bytes) -> None:
        while word not in received:
            received.extend(os.read(read, 1 << 16))

    reader = threading.Thread(target=read_until, args=(b"the last line",))
    reader.start()
    assert handler.writer.flush(10)
    handler.emit(_record("the last line"))
    reader.join(10)
    lines = received.decode().splitlines()
    written = sum(" line " in line for line in lines)
    notices = [line for line in lines if "were dropped" in line]
    assert sum(int(line.rsplit("lines=", 1)[1].split()[0]) for line in notices) == 10_000 - written > 0


def test_a_closed_standard_error_is_survived() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = Writer(write)
    assert writer.write(b"nobody hears\n")
    assert writer.flush(10)
    os.close(write)
