"""Waiting for a log record instead of looking for it again and again."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import trio


class FirstRecord(logging.Handler):
    """Keeps the fields of the first record that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.made = trio.Event()
        self.fields: dict[str, object] = {}

    def emit(self, record: logging.LogRecord) -> None:
        if not self.made.is_set():
            self.fields = vars(record)
            self.made.set()


@contextmanager
def first_record(logger: str) -> Iterator[FirstRecord]:
    """Listen to a logger inside the block."""
    handler = FirstRecord()
    logging.getLogger(logger).addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger(logger).removeHandler(handler)
