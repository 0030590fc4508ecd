"""Properties as `unit status` shows them: systemd's names, values as text."""

from datetime import UTC, datetime
from typing import Any

SHOWN = (
    "Id",
    "Description",
    "LoadState",
    "FragmentPath",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "StateChangeTimestamp",
    "ActiveEnterTimestamp",
    "InactiveEnterTimestamp",
    "NeedDaemonReload",
)
SHOWN_OF_SERVICE = (
    "Type",
    "MainPID",
    "ControlPID",
    "Result",
    "ExecMainStartTimestamp",
    "ExecMainExitTimestamp",
    "ExecMainCode",
    "ExecMainStatus",
    "NRestarts",
    "StatusText",
    "MemoryCurrent",
    "CPUUsageNSec",
    "TasksCurrent",
    "ControlGroup",
)

_UNSET = 2**64 - 1
_YES_NO = {True: "yes", False: "no"}


def shown(prop: str, value: Any) -> str:
    """A property's value as text: times in UTC, yes or no; empty for what is not set."""
    if isinstance(value, bool):
        return _YES_NO[value]
    if prop.endswith("Timestamp"):
        # systemd gives microseconds since 1970, 0 for never.
        return datetime.fromtimestamp(value // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if value else ""
    return "" if value == _UNSET else str(value)
