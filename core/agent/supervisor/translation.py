"""From a unit's text to the job its shim is given. What systemd would refuse is refused; what we do not do is said."""

import os
import re
from collections.abc import Callable
from typing import TypeVar

from core.agent.supervisor import options
from core.agent.supervisor.cgroups import OPTIONS as LIMITS
from core.agent.supervisor.cgroups import Cgroups
from core.agent.supervisor.host import Host
from core.agent.supervisor.shim.fields import Rows, pack
from core.sched import commands, specifiers, values, words
from core.sched.names import UnitName
from core.sched.unit_text import UnitText

T = TypeVar("T")
D = TypeVar("D")

STAGES = {
    "ExecCondition": "condition",
    "ExecStartPre": "pre",
    "ExecStart": "start",
    "ExecStartPost": "post",
    "ExecReload": "reload",
    "ExecStop": "stop",
    "ExecStopPost": "stop-post",
}
DIRECTORIES = {
    "RuntimeDirectory": "runtime",
    "StateDirectory": "state",
    "CacheDirectory": "cache",
    "LogsDirectory": "logs",
    "ConfigurationDirectory": "configuration",
}
SILENT = {
    "Unit": ("Description", "Documentation", "StartLimitIntervalSec", "StartLimitInterval", "StartLimitBurst"),
    "Service": (
        *("StartLimitInterval", "StartLimitBurst", "TimeoutSec", "TimeoutStartSec", "TimeoutStopSec", "RestartSec"),
        *("Environment", "EnvironmentFile", "PassEnvironment", "UnsetEnvironment", "User", "Group"),
        *("SupplementaryGroups", "WorkingDirectory", "UMask", "PIDFile", "Nice", "OOMScoreAdjust", "StandardOutput"),
        *("StandardError", "RuntimeDirectoryPreserve", *STAGES, *DIRECTORIES, *options.KINDS, *options.SPANS),
        *(f"{name}Mode" for name in DIRECTORIES),
        *(*options.SIGNALS, *options.SWITCHES, *options.EXITS, *LIMITS),
    ),
}
"""Options that have their effect here, or need none."""
STREAMS = {
    "journal": "log",
    "journal+console": "log",
    "syslog": "log",
    "kmsg": "log",
    "null": "null",
    "inherit": "inherit",
}


class TranslationError(ValueError):
    """This unit cannot run here; the text says why."""


def translate(
    name: UnitName, text: UnitText, host: Host, cgroups: Cgroups, log: tuple[int, int]
) -> tuple[bytes, list[str]]:
    """The job of a service, and sentences about what will not have its effect. TranslationError.

    `log` is the size in bytes and the number of the files its output goes to.
    """
    return _Translation(name, text, host).job(cgroups, log)


def surroundings(name: UnitName, text: UnitText, host: Host) -> bytes:
    """The records of a unit's job that say what its programs run in, of whatever type it is. TranslationError."""
    return _Translation(name, text, host).surroundings()


class _Translation:
    def __init__(self, name: UnitName, text: UnitText, host: Host) -> None:
        self._name = name
        self._text = text
        self._host = host
        self._context = specifiers.Context(name, host.specifiers)
        self._rows: Rows = [["name", name.text]]
        self._warnings = [str(remark) for remark in text.remarks]

    def job(self, cgroups: Cgroups, log: tuple[int, int]) -> tuple[bytes, list[str]]:
        try:
            self._process()
            self._times()
            self._environment()
            self._identity()
            self._streams()
            self._directories()
            self._single()
            given = {name: value for name in LIMITS if (value := self._last(name)) is not None}
            rows, warnings = cgroups.rows(self._name.text, given, self._host)
        except (ValueError, OverflowError) as error:  # a text that another host took must not end this one
            raise TranslationError(str(error)) from None
        self._rows += [*rows, ["log", *map(str, log)]]
        self._unknown()
        self._warnings += warnings
        self._rows += [["warning", sentence] for sentence in self._warnings]
        return pack(self._rows), self._warnings

    def surroundings(self) -> bytes:
        try:
            self._environment()
            self._identity()
            self._directories()
            self._single()
        except (ValueError, OverflowError) as error:
            raise TranslationError(str(error)) from None
        return pack(self._rows)

    # reading

    def _expand(self, text: str) -> str:
        return specifiers.expand(text, self._context)

    def _all(self, option: str) -> list[str]:
        return self._text.all("Service", option)

    def _last(self, option: str) -> str | None:
        value = self._text.last("Service", option)
        return None if value is None else self._expand(value)

    def _chosen(self, option: str, default: str) -> str:
        value = self._last(option) or default
        if value not in options.KINDS[option]:
            reason = "; D-Bus names need systemd" if (option, value) == ("Type", "dbus") else ""
            raise TranslationError(f"{option}={value} is none of {', '.join(options.KINDS[option])}{reason}")
        return value

    def _read(self, option: str, form: Callable[[str], T], default: D) -> T | D:
        value = self._last(option)
        if value is None:
            return default
        try:
            return form(value)
        except ValueError as error:
            raise TranslationError(f"{option}={value}: {error}") from None

    # parts

    def _process(self) -> None:
        """Type=, the commands, and what belongs to them."""
        kind = self._chosen("Type", "simple" if self._all("ExecStart") else "oneshot")
        restart = self._chosen("Restart", "no")
        found = {stage: self._commands(option, stage) for option, stage in STAGES.items()}
        remain = self._read("RemainAfterExit", values.boolean, False)
        if not found["start"] and not (found["stop"] and (kind == "oneshot" or remain)):
            raise TranslationError("the service has no ExecStart=")
        if found["start"] > 1 and kind != "oneshot":
            raise TranslationError("the service has several ExecStart=, which only Type=oneshot can have")
        if kind == "oneshot" and restart in ("always", "on-success"):
            raise TranslationError(f"Restart={restart} cannot be with Type=oneshot: it would never end")
        watched = self._read("WatchdogSec", values.time_span, 0.0) > 0
        access = self._chosen("NotifyAccess", "main" if kind == "notify" or watched else "none")
        if access == "none" and kind == "notify":
            access = "main"
        self._rows += [
            ["type", "simple" if kind == "idle" else kind],
            ["restart", restart],
            ["kill-mode", self._chosen("KillMode", "control-group")],
            ["notify", access],
        ]
        if (path := self._last("PIDFile")) is not None:
            self._rows.append(["pid-file", os.path.join(self._host.bases["runtime"], path)])

    def _commands(self, option: str, stage: str) -> int:
        count = 0
        for line in self._all(option):
            for command in commands.commands(line, self._expand):
                flags = "-" * command.ignore_failure + ":" * (not command.replace_variables)
                flags += "+" * bool(command.privileges)
                self._rows.append(["exec", stage, flags, command.path, *command.arguments])
                count += 1
        return count

    def _times(self) -> None:
        oneshot = ["type", "oneshot"] in self._rows
        both = self._span("TimeoutSec")
        start = self._span("TimeoutStartSec") or both or ("inf" if oneshot else "90")
        stop = self._span("TimeoutStopSec") or both or "90"
        pause = self._read("RestartSec", values.time_span, 0.1)
        self._rows += [["start-timeout", start], ["stop-timeout", stop], ["restart-pause", str(pause)]]
        if self._last("TimeoutAbortSec") is None:
            self._rows.append(["abort-timeout", stop])
        for option, key in options.SPANS.items():
            if (span := self._span(option)) is not None:
                self._rows.append([key, span])
        interval = self._limits("StartLimitIntervalSec", "StartLimitInterval") or "10"
        burst = self._limits("StartLimitBurst") or "5"
        if not burst.isdecimal():
            raise TranslationError(f"StartLimitBurst={burst}: it is a number")
        self._rows.append(["start-limit", str(values.time_span(interval)), burst])

    def _span(self, option: str) -> str | None:
        """Seconds, of which 0 is as good as none; None if it is not given."""
        seconds = self._read(option, values.time_span, None)
        return None if seconds is None else str(seconds or float("inf"))

    def _limits(self, *names: str) -> str | None:
        found = [self._text.last(section, name) for section in ("Service", "Unit") for name in names]
        return next((value for value in reversed(found) if value is not None), None)

    def _environment(self) -> None:
        for line in self._all("PassEnvironment"):
            names = (self._expand(name) for name in words.split(line))
            self._rows += [["env", name, os.environ[name]] for name in names if name in os.environ]
        for line in self._all("Environment"):
            faults: list[str] = []
            self._rows += [["env", name, value] for name, value in commands.assignments(line, self._expand, faults)]
            self._warnings += [f"Environment=: {fault}" for fault in faults]
        for line in self._all("EnvironmentFile"):
            path = self._expand(line.removeprefix("-"))
            self._rows.append(["env-file", "1" if line.startswith("-") else "0", _absolute("EnvironmentFile", path)])
        for line in self._all("UnsetEnvironment"):
            self._rows += [["unset", self._expand(name)] for name in words.split(line)]

    def _identity(self) -> None:
        for option, key in (("User", "user"), ("Group", "group")):
            if value := self._last(option):
                self._rows.append([key, value])
        for line in self._all("SupplementaryGroups"):
            self._rows.append(["groups", *(self._expand(name) for name in words.split(line))])
        if place := self._last("WorkingDirectory"):
            path = place.removeprefix("-")
            self._rows.append(
                [
                    "directory",
                    "1" if place.startswith("-") else "0",
                    path if path == "~" else _absolute("WorkingDirectory", path),
                ]
            )
        if (mask := self._last("UMask")) is not None:
            self._rows.append(["umask", _octal("UMask", mask)])
        for option, key, low, high in (("Nice", "nice", -20, 19), ("OOMScoreAdjust", "oom", -1000, 1000)):
            if (number := self._read(option, int, None)) is not None:
                if not low <= number <= high:
                    raise TranslationError(f"{option}={number} is not between {low} and {high}")
                self._rows.append([key, str(number)])

    def _streams(self) -> None:
        for option, key, default in (("StandardOutput", "stdout", "journal"), ("StandardError", "stderr", "inherit")):
            value = self._last(option) or default
            kind, colon, path = value.partition(":")
            if colon and kind in ("file", "append", "truncate"):
                self._rows.append([key, kind, _absolute(option, path)])
            elif value in STREAMS:
                self._rows.append([key, STREAMS[value]])
            else:
                self._warnings.append(f"{option}={value} is not done here: it goes into the log")
                self._rows.append([key, "log"])

    def _directories(self) -> None:
        for option, kind in DIRECTORIES.items():
            names = [self._expand(word) for line in self._all(option) for word in words.split(line)]
            names = [name.partition(":")[0] for name in names]
            for name in names:
                if not name or name.startswith("/") or ".." in name.split("/"):
                    raise TranslationError(f"{option}={name}: it is a path below {self._host.bases[kind]}")
            if names:
                mode = _octal(f"{option}Mode", self._last(f"{option}Mode") or "0755")
                self._rows.append(["made", kind, mode, *(f"{self._host.bases[kind]}/{name}" for name in names)])
        if (keep := self._last("RuntimeDirectoryPreserve")) is not None:
            always = "restart" if keep == "restart" else "yes" if values.boolean(keep) else "no"
            self._rows.append(["keep-runtime", always])

    def _single(self) -> None:
        for option, key in options.SIGNALS.items():
            if (number := self._read(option, options.signal_number, None)) is not None:
                self._rows.append([key, str(number)])
        if self._last("WatchdogSignal") is None:
            self._rows.append(["watchdog-signal", str(options.signal_number("SIGABRT"))])
        for option, (key, way) in options.SWITCHES.items():
            if (switch := self._read(option, values.boolean, None)) is not None:
                self._rows.append([key, "1" if switch == way else ""])
        for option, key in options.EXITS.items():
            found = [options.exit_word(self._expand(word)) for line in self._all(option) for word in words.split(line)]
            if found:
                self._rows.append([key, *found])
        for one in self._text.options:
            if one.section == "Service" and one.value and options.is_limit(one.name):
                self._rows.append(options.limit(one.name, self._expand(one.value)))

    def _unknown(self) -> None:
        """Name, once each, what stands in the text and has no effect here."""
        found: dict[str, None] = {}
        for one in self._text.options:
            if one.section.startswith("X-") or one.name.startswith("X-") or one.section == "Install":
                continue
            known = one.name in SILENT.get(one.section, ())
            if not known and not (one.section == "Service" and options.is_limit(one.name)):
                found[f"{one.name}= in [{one.section}] has no effect: the embedded supervisor does not know it"] = None
        self._warnings += found


def _absolute(option: str, path: str) -> str:
    if not path.startswith("/"):
        raise TranslationError(f"{option}={path}: it has to be an absolute path")
    return path


def _octal(option: str, text: str) -> str:
    if not re.fullmatch(r"[0-7]{1,4}", text):
        raise TranslationError(f"{option}={text}: it is a mode in octal digits, like 0755")
    return text
