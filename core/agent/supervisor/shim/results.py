"""How a process ended, what that makes of the unit, and whether it is started again: systemd's tables."""

import os

from core.agent.supervisor.shim import signals

CHDIR, NICE, EXEC, LIMITS, OOM_ADJUST = 200, 201, 203, 205, 206
STDIN, STDOUT, GROUP, USER, CGROUP, SETSID, STDERR = 208, 209, 216, 217, 219, 220, 222
MADE = {"runtime": 233, "state": 238, "cache": 239, "logs": 240, "configuration": 241}
"""Exit codes of a process that did not come to its own program, by the step that failed."""

NAMES = {
    CHDIR: "CHDIR",
    NICE: "NICE",
    EXEC: "EXEC",
    LIMITS: "LIMITS",
    OOM_ADJUST: "OOM_ADJUST",
    STDIN: "STDIN",
    STDOUT: "STDOUT",
    GROUP: "GROUP",
    USER: "USER",
    CGROUP: "CGROUP",
    SETSID: "SETSID",
    STDERR: "STDERR",
    233: "RUNTIME_DIRECTORY",
    238: "STATE_DIRECTORY",
    239: "CACHE_DIRECTORY",
    240: "LOGS_DIRECTORY",
    241: "CONFIGURATION_DIRECTORY",
}

SUCCESS = "success"
GENTLE = ("SIGHUP", "SIGINT", "SIGTERM", "SIGPIPE")
"""Signals by which a service may end and still have ended well."""


def word(status: int) -> str:
    """A wait status as SuccessExitStatus= and its like write it: `3` or `SIGTERM`."""
    return signals.name(os.WTERMSIG(status)) if os.WIFSIGNALED(status) else str(os.WEXITSTATUS(status))


def kind(status: int) -> str:
    """The result a bad end gives: exit-code, signal or core-dump."""
    if os.WIFEXITED(status):
        return "exit-code"
    return "core-dump" if os.WCOREDUMP(status) else "signal"


def clean(status: int, also: list[str], *, gentle: bool) -> bool:
    """Whether a process ended well: with 0, with what the unit calls success, and with `gentle` by a gentle signal."""
    ended = word(status)
    return ended == "0" or ended in also or (gentle and ended in GENTLE)


def sentence(status: int) -> str:
    """`exit-code 203/EXEC`, `signal KILL`, `core-dump ABRT`."""
    ended = word(status)
    if os.WIFEXITED(status):
        name = NAMES.get(int(ended))
        return f"exit-code {ended}/{name}" if name else f"exit-code {ended}"
    return f"{kind(status)} {ended.removeprefix('SIG')}"


def restarts(policy: str, result: str) -> bool:
    """Whether a unit with this Restart= is started again after this result."""
    if result == "exec-condition":
        return False
    if policy == "always":
        return True
    if policy == "on-success":
        return result == SUCCESS
    if policy == "on-failure":
        return result != SUCCESS
    if policy == "on-abnormal":
        return result not in (SUCCESS, "exit-code")
    if policy == "on-abort":
        return result in ("signal", "core-dump")
    return policy == "on-watchdog" and result == "watchdog"
