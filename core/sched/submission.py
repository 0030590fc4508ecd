"""Judging a unit before it is stored: what the API asks when somebody submits, changes or starts one."""

from collections.abc import Generator, Iterable, Mapping

import msgspec

from core.sched import commands, fleet_section, names, unit_text, words
from core.sched.circles import circle
from core.sched.fleet_section import Rules
from core.sched.names import UnitName
from core.sched.records import Desired
from core.sched.unit_text import Remark, UnitText

_SECTIONS = {
    "service": "Service",
    "socket": "Socket",
    "timer": "Timer",
    "path": "Path",
    "mount": "Mount",
    "automount": "Automount",
    "swap": "Swap",
    "slice": "Slice",
    "scope": "Scope",
    "busname": "BusName",
}
MOST_REMARKS = 100
"""Of one unit: more nobody reads."""
_SLICE = 500
"""Options looked at between two pauses."""
_FOR_ALL = ("Unit", "Install")
_GONE = {
    "busname": "systemd has no bus names any more",
    "snapshot": "systemd has no snapshots any more",
    "scope": "systemd makes scopes for processes that run already, never from files",
    "device": "systemd makes devices from what the kernel reports; a file only adds to that",
}
_COMMANDS = ("ExecCondition", "ExecStart", "ExecStartPre", "ExecStartPost", "ExecReload", "ExecStop", "ExecStopPost")


class SubmissionError(ValueError):
    """The unit is refused; the text says why, and what would be accepted."""


class Submission(msgspec.Struct, frozen=True):
    """A unit that may be stored."""

    name: UnitName
    text: UnitText
    rules: Rules
    remarks: tuple[Remark, ...]
    """What its author should know."""


def check(name: str, data: bytes, known: Mapping[str, Iterable[str]] | None = None) -> Submission:
    """Read a unit. SubmissionError.

    `known`: the MachineOf= of the units that are there, by name, so that circles are seen.
    """
    found = commands.at_once(checking(name, data))
    if known is not None:
        check_circle(name, found.rules, known)
    return found


def check_circle(name: str, rules: Rules, known: Mapping[str, Iterable[str]]) -> None:
    """Whether a unit would wait for units that wait for it. SubmissionError."""
    found = circle(name, lambda other: rules.machine_of if other == name else known.get(other, ()))
    if found:
        raise SubmissionError(f"MachineOf=: {' waits for '.join(found)}, so that none of them could ever be first")


def checking(name: str, data: bytes) -> Generator[None, None, Submission]:
    """Read a unit in slices of some milliseconds. SubmissionError."""
    try:
        parsed = names.parse(name)
        text = unit_text.parse(data)
        yield
        rules, remarks = fleet_section.read(text, parsed)
    except (names.UnitNameError, unit_text.UnitTextError, fleet_section.RulesError) as error:
        raise SubmissionError(str(error)) from None
    yield
    of_commands = yield from _command_remarks(parsed, text)
    remarks = [*text.remarks, *_section_remarks(parsed, text), *of_commands, *remarks]
    return Submission(parsed, text, rules, tuple(sorted(remarks, key=lambda remark: remark.line)[:MOST_REMARKS]))


def check_desired(name: UnitName, rules: Rules, desired: Desired, replicas: int | None) -> None:
    """Whether a unit may be asked for in that state and number. SubmissionError."""
    wanted = replicas if replicas is not None else rules.replicas
    if name.is_template and desired != "inactive" and wanted is None:
        raise SubmissionError(
            f"cannot activate template {name.text!r}: start an instance like {name.of('1').text}, or give it Replicas="
        )
    if replicas is not None and not name.is_template:
        raise SubmissionError(f"{name.text} is no template, and only templates have replicas")
    if replicas is not None and not 0 <= replicas <= fleet_section.MOST_REPLICAS:
        raise SubmissionError(f"a template has 0 to {fleet_section.MOST_REPLICAS:,} replicas")
    if replicas is not None and rules.is_global:
        raise SubmissionError("Global= cannot be used with replicas")


def _section_remarks(name: UnitName, text: UnitText) -> list[Remark]:
    own = _SECTIONS.get(name.type)
    found = [
        Remark(0, f"[{section}] has no meaning in a {name.type}, and is ignored")
        for section in text.sections
        if section not in (*_FOR_ALL, own) and not section.startswith("X-")
    ]
    if name.type in _GONE:
        found.append(Remark(0, f"{_GONE[name.type]}, so this unit will not load"))
    if name.type == "service" and "Service" not in text.sections:
        found.append(Remark(0, "it has no [Service], so there is nothing to start"))
    return found


def _command_remarks(name: UnitName, text: UnitText) -> Generator[None, None, list[Remark]]:
    """Command lines and environments that cannot be read: systemd ignores them, or does not load the unit."""
    found: list[Remark] = []
    for number, option in enumerate(text.options):
        if number % _SLICE == 0:
            yield
        if option.section != "Service" or name.type != "service":
            continue
        try:
            if option.name in _COMMANDS:
                yield from commands.reading(option.value)
            elif option.name == "Environment":
                faults: list[str] = []
                yield from commands.reading_assignments(option.value, faults=faults)
                found += [Remark(option.line, f"Environment=: {fault}") for fault in faults[:MOST_REMARKS]]
        except (commands.CommandError, words.WordError) as error:
            found.append(Remark(option.line, f"{option.name}=: {error}"))
    return found
