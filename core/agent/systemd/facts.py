"""What is known of one unit, fed by listings, single properties and signals, and how it reads."""

import signal
from collections.abc import Mapping
from typing import Any, cast

from core.agent.executor import Active, Actual, Load

WATCHED = ("LoadState", "ActiveState", "SubState", "StateChangeTimestamp", "ConditionResult", "ConditionTimestamp")
"""Of every unit; signals carry them."""

WATCHED_OF_SERVICE = ("Result", "MainPID", "NRestarts", "ExecMainCode", "ExecMainStatus")
WATCHED_OF_OTHERS = ("Result",)
TYPES_WITH_RESULT = ("service", "socket", "timer", "path", "mount", "swap", "automount", "scope")

_EXITED = 1  # CLD_EXITED; 2 and 3 are a signal, without and with a core
_IDLE = ("inactive", "failed")
_JOBS = {"dependency": "dependency", "assert": "assert", "unsupported": "unsupported", "skipped": "condition"}
"""Ends of a job to start after which the unit itself does not say what went wrong."""


class Facts:
    """Of one unit. Values are as D-Bus gives them."""

    def __init__(self) -> None:
        self._known: dict[str, Any] = {}
        self._job = ""
        self.whole = False
        """Whether all was asked for once; signals keep it so."""
        self.load_error = ""
        """Why it could not be loaded, in systemd's words."""

    def update(self, properties: Mapping[str, Any]) -> None:
        if properties.get("ActiveState", "inactive") not in _IDLE:
            self._job = ""
        self._known.update(properties)

    def listed(self, load: str, active: str, sub: str) -> None:
        """A listing says so. What it does not say is to be asked for, unless nothing changed or nothing ever was."""
        before = tuple(self._known.get(name) for name in WATCHED[:3])
        if before != (load, active, sub):
            self.whole = before == (None, None, None) and (load, active, sub) == ("loaded", "inactive", "dead")
            self.update(dict(zip(WATCHED[:3], (load, active, sub), strict=True)))

    @property
    def known(self) -> bool:
        """Whether it was listed once: before that, a signal says too little."""
        return "LoadState" in self._known

    def job_ended(self, result: str) -> None:
        """A job to start it has ended so."""
        self._job = _JOBS.get(result, "")

    @property
    def idle(self) -> bool:
        """Neither runs nor is about to."""
        return self._known.get("ActiveState", "inactive") in _IDLE

    def actual(self, name: str, text: str, loaded: int) -> Actual:
        """`loaded`: when its file was written, Unix seconds, which stands in for a state it always had."""
        known = self._known
        return Actual(
            name=name,
            text=text,
            load=cast("Load", known.get("LoadState", "not-found")),
            active=cast("Active", known.get("ActiveState", "inactive")),
            sub=known.get("SubState", "dead"),
            since=known.get("StateChangeTimestamp", 0) // 1_000_000 or loaded,
            result=self._result(),
            pid=known.get("MainPID", 0),
            restarts=known.get("NRestarts", 0),
        )

    def _result(self) -> str:
        known = self._known
        if known.get("LoadState", "loaded") != "loaded":
            return self.load_error
        result = cast("str", known.get("Result", "success"))
        if result == "success":
            if self._job:
                return self._job
            skipped = self.idle and known.get("ConditionTimestamp", 0) and not known.get("ConditionResult", True)
            return "condition" if skipped else ""
        code, status = known.get("ExecMainCode", 0), known.get("ExecMainStatus", 0)
        if result == "exit-code" and code == _EXITED and status:
            return f"exit-code {status}"
        if result in ("signal", "core-dump") and code > _EXITED:
            return f"{result} {signal_name(status)}"
        return result


def watched_of(kind: str) -> tuple[str, ...]:
    """What is watched of the interface of a unit's own type."""
    if kind == "service":
        return WATCHED_OF_SERVICE
    return WATCHED_OF_OTHERS if kind in TYPES_WITH_RESULT else ()


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:
        return str(number)
