"""Signals by number and name, and the pipe that wakes the shim.

The module `signal` makes enums of all constants: a megabyte a unit. What it wraps is enough.
"""

import _signal  # type: ignore[import-not-found]
import os

HUP, INT, KILL, PIPE, TERM, CHLD, CONT = 1, 2, 9, 13, 15, 17, 18


def name(number: int) -> str:
    """`SIGTERM`; a number without a name as it is."""
    for word, value in vars(_signal).items():
        if (
            value == number
            and word.startswith("SIG")
            and "_" not in word
            and word not in ("SIGIOT", "SIGCLD", "SIGPOLL")
        ):
            return str(word)
    return str(number)


def wake() -> int:
    """The end to read of a pipe into which each signal's number is written, as a byte. What must not end the shim is
    caught rather than ignored, so that it is as usual again in the programs it starts."""
    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in (HUP, INT, TERM, CHLD, PIPE):
        _signal.signal(number, _nothing)
    return read


def usual(*, keep_pipe: bool) -> None:
    """In a child before it executes: what Python ignores is as usual again, but SIGPIPE stays ignored unless asked."""
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGXFSZ, _signal.SIG_DFL)
    _signal.signal(PIPE, _signal.SIG_DFL if keep_pipe else _signal.SIG_IGN)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())


def _nothing(number: int, frame: object) -> None:
    """The pipe is written by the interpreter."""
