"""The options of [Service] whose value is one word, and how each becomes a record of the job."""

import os
import resource
import signal

from core.sched import values

KINDS = {
    "Type": ("simple", "exec", "oneshot", "forking", "notify", "idle"),
    "Restart": ("no", "on-success", "on-failure", "on-abnormal", "on-abort", "on-watchdog", "always"),
    "KillMode": ("control-group", "mixed", "process", "none"),
    "NotifyAccess": ("none", "main", "exec", "all"),
}
"""Options with a choice of words."""
SPANS = {
    "TimeoutAbortSec": "abort-timeout",
    "RuntimeMaxSec": "runtime-limit",
    "WatchdogSec": "watchdog",
}
"""Time spans of which 0 is none."""
SIGNALS = {"KillSignal": "kill-signal", "FinalKillSignal": "final-signal", "WatchdogSignal": "watchdog-signal"}
SWITCHES = {
    "RemainAfterExit": ("remain", True),
    "GuessMainPID": ("guess-main", True),
    "SendSIGKILL": ("send-kill", True),
    "SendSIGHUP": ("send-hangup", True),
    "NoNewPrivileges": ("no-new-privileges", True),
    "IgnoreSIGPIPE": ("keep-sigpipe", False),
}
"""Booleans, and which way they count; what does not count is left out or 0."""
EXITS = {"SuccessExitStatus": "success", "RestartPreventExitStatus": "restart-prevent"}
EXITS["RestartForceExitStatus"] = "restart-force"

_NAMED_EXITS = {
    "SUCCESS": 0,
    "FAILURE": 1,
    "INVALIDARGUMENT": 2,
    "NOTIMPLEMENTED": 3,
    "NOPERMISSION": 4,
    "NOTINSTALLED": 5,
    "NOTCONFIGURED": 6,
    "NOTRUNNING": 7,
    **{name.removeprefix("EX_"): getattr(os, name) for name in dir(os) if name.startswith("EX_") and name != "EX_OK"},
}
_IN_BYTES = ("FSIZE", "DATA", "STACK", "CORE", "RSS", "AS", "MEMLOCK", "MSGQUEUE")


def signal_number(text: str) -> int:
    """`SIGTERM`, `TERM`, `15`, `RTMIN+3`. ValueFormError."""
    if text.isdecimal() and 0 < int(text) < signal.NSIG:
        return int(text)
    word, plus, more = text.removeprefix("SIG").partition("+")
    found = signal.Signals.__members__.get(f"SIG{word}")
    if found is None or (plus and not (word == "RTMIN" and more.isdecimal() and found + int(more) <= signal.SIGRTMAX)):
        raise values.ValueFormError(f"{text!r} is no signal; write it like SIGTERM")
    return int(found) + int(more or 0)


def exit_word(text: str) -> str:
    """An exit code or a signal as the shim writes them: `3`, `SIGTERM`. ValueFormError."""
    if text.isdecimal() and int(text) < 256:
        return str(int(text))
    if text in _NAMED_EXITS:
        return str(_NAMED_EXITS[text])
    number = signal_number(text)
    return signal.Signals(number).name if number in set(signal.Signals) else str(number)


def is_limit(name: str) -> bool:
    """Whether an option is called Limit…= of something this kernel limits."""
    return name.startswith("Limit") and hasattr(resource, "RLIMIT_" + name.removeprefix("Limit"))


def limit(name: str, value: str) -> list[str]:
    """The record of a Limit…= option: `65536` or `soft:hard`. ValueFormError."""
    kind = name.removeprefix("Limit")
    soft, colon, hard = value.partition(":")
    return ["limit", kind, _bound(kind, soft), _bound(kind, hard if colon else soft)]


def _bound(kind: str, text: str) -> str:
    if text == "infinity":
        return text
    if kind in _IN_BYTES:
        return str(values.size(text))
    if kind == "CPU":
        return str(max(1, int(values.time_span(text))))
    if kind == "RTTIME":
        return str(int(values.time_span(text, "us") * 1e6))
    if kind == "NICE" and text[:1] in ("+", "-"):
        return str(20 - int(text))
    if not text.isdecimal():
        raise values.ValueFormError(f"{text!r} is no number; write it like 65536 or 1024:65536")
    return text
