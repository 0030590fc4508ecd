"""What verbs print of what others wrote: nothing that controls a terminal."""

import io
import sys

import pytest

from core.commands import output

EVIL = "\x1b]0;owned\x07 red\x1b[31m"


class Terminal(io.TextIOWrapper):
    """A standard output that is one."""

    def isatty(self) -> bool:
        return True


def test_notes_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    output.note(f"first\n{EVIL}")
    assert capsys.readouterr().err == "first\n\\x1b]0;owned\\x07 red\\x1b[31m\n"


def test_a_log_is_harmless_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Terminal(written))
    output.log(f"a\tb {EVIL}\n".encode() + b"\xff\n")
    assert written.getvalue() == b"a\tb \\x1b]0;owned\\x07 red\\x1b[31m\n\\xff\n"


def test_a_log_is_itself_in_a_file(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    output.log(EVIL.encode() + b"\xff\n")
    assert capfdbinary.readouterr().out == EVIL.encode() + b"\xff\n"
