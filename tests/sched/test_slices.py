"""No text that is accepted holds up others: reading it takes time in proportion to its size, in slices."""

import time

import pytest

from core.sched import fleet_options, submission, unit_text

LIMIT_SECONDS = 0.02
"""Four times what is promised: machines differ, and faults of this kind are ten times as slow."""


def filled(line: bytes, before: bytes = b"[Service]\n") -> bytes:
    """As many lines as a text may have."""
    number = min((unit_text.MOST_LINES - 4) // line.count(b"\n"), (unit_text.LARGEST - len(before)) // len(line))
    return before + line * number


def long(piece: bytes, before: bytes = b"[Service]\nExecStart=/a ") -> bytes:
    """One line as long as it may be."""
    return before + piece * ((unit_text.LARGEST - len(before)) // len(piece))


TEXTS = {
    "options": filled(b"a=b\n"),
    "resets": filled(b"Restart=no\n"),
    "continued": filled(b"a b c d e f g \\\n", b"[Service]\nExecStart="),
    "comments between": filled(b"#\na\\\n", b"[Service]\nExecStart="),
    "ignored": filled(b"a\n"),
    "sections": filled(b"[a]\n", b""),
    "words": long(b"a "),
    "quoted words": long(b'"a" '),
    "a script": long(b"echo a; ", b"[Service]\nExecStart=/bin/sh -c '")[:-1] + b"'",
    "escapes": long(b"\\n"),
    "commands": long(b"/a ; "),
    "no assignments": long(b"A ", b"[Service]\nEnvironment="),
    "unknown": filled(b"q=1\n", b"[X-Fleet]\n"),
    "patterns": b"[X-Fleet]\nConflicts=" + b" ".join(b"%02d" % number + b"?*[a-c]" * 5 for number in range(99)),
}


@pytest.mark.parametrize("name", TEXTS)
def test_no_slice_is_long(name: str) -> None:
    def longest() -> float:
        slices, found = submission.checking("a.service", TEXTS[name]), 0.0
        while True:
            began = time.thread_time()
            try:
                next(slices)
            except StopIteration:
                return found
            finally:
                found = max(found, time.thread_time() - began)

    assert min(longest() for _ in range(3)) < LIMIT_SECONDS


@pytest.mark.parametrize("name", ["options", "continued", "a script", "unknown"])
def test_fleets_reading_is_quick(name: str) -> None:
    def taken() -> float:
        began = time.thread_time()
        fleet_options.sha1(fleet_options.options(TEXTS[name].decode()))
        return time.thread_time() - began

    assert min(taken() for _ in range(3)) < LIMIT_SECONDS


def test_a_reset_takes_back_what_stood_before() -> None:
    text = unit_text.parse(b"[Service]\nA=1\nA=2\nA=\nA=3\nB=4\nA=5\n[Unit]\nA=6\n")
    assert text.all("Service", "A") == ["3", "5"]
    assert text.last("Unit", "A") == "6"


def test_only_so_many_remarks_are_made() -> None:
    found = submission.check("a.service", TEXTS["no assignments"])
    assert len(found.remarks) == submission.MOST_REMARKS
