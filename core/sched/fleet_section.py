"""The section [X-Fleet] of a unit file: where a unit may run, how many of it, and what it needs.

fleet's options mean what they meant there, under their old names too. New are the operators of `MachineMetadata=`
(`metadata`), `Replicas=`, `Spread=`, `Weight=`, `MemoryRequest=`, `CPURequest=`, `MaxPerMachine=` and `Health=`
(`health`). An unknown option gives a remark; what contradicts itself is refused.
"""

import re
from collections.abc import Callable
from typing import TypeVar

import msgspec

from core.sched import globs, health, metadata, values
from core.sched.health import Health
from core.sched.metadata import Condition
from core.sched.names import UnitName, UnitNameError
from core.sched.names import parse as parse_name
from core.sched.specifiers import expand_names
from core.sched.unit_text import Option, Remark, UnitText

SECTION = "X-Fleet"
LARGEST = 8 * 1024
"""Letters in all values of the section together, specifiers replaced: the engine looks at them time and again."""
MOST_WORDS = 100
"""Names, patterns or conditions that one option may list."""
MOST_REPLICAS = 10_000
ONE_CPU = 1000
"""`Rules.cpus` counts thousandths."""
ONE = 1000
"""`Rules.weight` counts thousandths."""

OLD_NAMES = {
    "X-ConditionMachineID": "MachineID",
    "X-ConditionMachineOf": "MachineOf",
    "X-ConditionMachineMetadata": "MachineMetadata",
    "X-Conflicts": "Conflicts",
    "X-Health": "Health",
}
_BOOT = "X-ConditionMachineBootID"
_KNOWN = frozenset(
    {
        "MachineID", "MachineOf", "MachineMetadata", "Conflicts", "Global", "Replaces", _BOOT, *OLD_NAMES, "Health",
        "Replicas", "Spread", "Weight", "MemoryRequest", "CPURequest", "MaxPerMachine",
    }
)  # fmt: skip
_MACHINE_ID = re.compile(r"[0-9a-f]{8}(?:[0-9a-f]{24})?")
_YES = frozenset({"true", "yes", "1", "on", "t"})
_CPUS = re.compile(r"([0-9]+)(?:\.([0-9]{1,3}))?")
_MILLI = re.compile(r"([0-9]+)m")


T = TypeVar("T")


class RulesError(ValueError):
    """A unit whose wishes cannot be read, or cannot all be met; the text says which."""


class Rules(msgspec.Struct, frozen=True, gc=False):
    """What [X-Fleet] asks for, its specifiers replaced by a unit's name."""

    machine_id: str = ""
    """The whole id or its first eight digits."""
    boot_id: str = ""
    machine_of: tuple[str, ...] = ()
    conditions: tuple[Condition, ...] = ()
    conflicts: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    is_global: bool = False
    replicas: int | None = None
    """How many instances of a template are kept; None: whoever wants one submits it."""
    spread: tuple[str, ...] = ()
    """Keys of metadata over whose values the instances of a template are spread."""
    weight: int = ONE
    """What it adds to the load of its machine, in thousandths."""
    memory: int = 0
    """Bytes it asks for."""
    cpus: int = 0
    """Thousandths of a processor it asks for."""
    max_per_machine: int | None = None
    """How many instances of its template may be on one machine."""
    checks: tuple[Health, ...] = ()


def read(text: UnitText, name: UnitName) -> tuple[Rules, list[Remark]]:
    """The rules of a unit of that name with that text, and what its author should know. RulesError."""
    options = [option for option in text.options if option.section == SECTION]
    remarks = [
        Remark(option.line, f"{option.name}= is no option of [{SECTION}], and is ignored")
        for option in options
        if option.name not in _KNOWN
    ]
    reader = _Reader(options, name)
    rules = reader.rules()
    _refuse_contradictions(rules, name)
    return rules, [*remarks, *reader.remarks, *_idle(rules, name)]


def depends_on_name(text: UnitText) -> bool:
    """Whether units of different names with this text can have different rules."""
    return any("%" in option.value for option in text.options if option.section == SECTION)


def is_global(text: UnitText) -> bool:
    return text_flag([option.value for option in text.options if (option.section, option.name) == (SECTION, "Global")])


def replicas(text: UnitText) -> int:
    """How many instances of a template its text keeps; 0 if it says nothing of it that could be read."""
    value = text.last(SECTION, "Replicas") or ""
    return min(int(value), MOST_REPLICAS) if value.isdecimal() and len(value) < len(str(MOST_REPLICAS)) + 1 else 0


def text_flag(given: list[str]) -> bool:
    """fleet's reading of a boolean: the last word counts, and what is no yes is no."""
    return bool(given) and given[-1].lower() in _YES


class _Reader:
    """Values of options by their present names, with quoted lists split and specifiers replaced."""

    def __init__(self, options: list[Option], name: UnitName) -> None:
        self.remarks: list[Remark] = []
        self._values: dict[str, list[str]] = {}
        self._line: dict[str, int] = {}
        self._name = name
        size = 0
        for option in options:
            size += len(option.value) + option.value.count("%") * len(name.text)
            if size > LARGEST:
                raise RulesError(f"line {option.line}: [{SECTION}] has at most {LARGEST:,} letters in its values")
            key = OLD_NAMES.get(option.name, option.name)
            self._line[key] = option.line
            if not option.value:
                self._values[key] = []
                continue
            # What a template asks of machines can only be judged with some instance's name in the place of %i.
            named = name.of("1") if name.is_template and key == "MachineMetadata" else name
            self._values.setdefault(key, []).extend(
                expand_names(value, named) for value in _quoted_list(option.value, key == "Health")
            )

    def rules(self) -> Rules:
        machine_ids = self._values.get("MachineID", [])
        boot_ids = self._values.get(_BOOT, [])
        if len(machine_ids) > 1:
            self._remark("MachineID", "only the first MachineID= counts")
        for machine_id in machine_ids[:1]:
            if not _MACHINE_ID.fullmatch(machine_id) and not self._name.is_template:
                self._remark("MachineID", f"{machine_id!r} is no machine id: 32 hexadecimal digits, or the first eight")
        return Rules(
            machine_id=machine_ids[0] if machine_ids else "",
            boot_id=boot_ids[0] if boot_ids and not machine_ids else "",
            machine_of=self._words("MachineOf"),
            conditions=self._conditions(),
            conflicts=self._patterns("Conflicts"),
            replaces=self._patterns("Replaces"),
            is_global=text_flag(self._values.get("Global", [])),
            replicas=self._count("Replicas", 0, MOST_REPLICAS),
            spread=self._words("Spread"),
            weight=self._thousandths("Weight", ONE),
            memory=self._memory(),
            cpus=self._thousandths("CPURequest", 0),
            max_per_machine=self._count("MaxPerMachine", 1, MOST_REPLICAS),
            checks=self._each("Health", health.parse, health.HealthError),
        )

    def _remark(self, key: str, text: str) -> None:
        self.remarks.append(Remark(self._line[key], text))

    def _fail(self, key: str, reason: object) -> RulesError:
        return RulesError(f"line {self._line[key]}: {key}=: {reason}")

    def _words(self, key: str) -> tuple[str, ...]:
        found = tuple(dict.fromkeys(word for value in self._values.get(key, []) for word in value.split()))
        if len(found) > MOST_WORDS:
            raise self._fail(key, f"it lists {len(found):,}, and at most {MOST_WORDS} are possible")
        return found

    def _patterns(self, key: str) -> tuple[str, ...]:
        patterns = self._words(key)
        for pattern in patterns:
            try:
                globs.check(pattern)
            except globs.GlobError as error:
                raise self._fail(key, error) from None
        return patterns

    def _each(self, key: str, parse: Callable[[str], T], error: type[ValueError]) -> tuple[T, ...]:
        given = self._values.get(key, [])
        if len(given) > MOST_WORDS:
            raise self._fail(key, f"it is there {len(given):,} times, and at most {MOST_WORDS} are possible")
        try:
            return tuple(parse(value) for value in given)
        except error as problem:
            raise self._fail(key, problem) from None

    def _conditions(self) -> tuple[Condition, ...]:
        found = self._each("MachineMetadata", metadata.parse, metadata.ConditionError)
        try:
            return metadata.combine(list(found))
        except metadata.ConditionError as error:
            raise self._fail("MachineMetadata", error) from None

    def _last(self, key: str) -> str | None:
        given = self._values.get(key)
        return given[-1] if given else None

    def _count(self, key: str, least: int, most: int) -> int | None:
        value = self._last(key)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) < 9 and least <= int(value) <= most):
            raise self._fail(key, f"{value!r} is no number from {least} to {most:,}")
        return int(value)

    def _thousandths(self, key: str, default: int) -> int:
        value = self._last(key)
        if value is None:
            return default
        milli, whole = _MILLI.fullmatch(value), _CPUS.fullmatch(value)
        if milli is not None and len(value) < 10:
            return int(milli[1])
        if whole is not None and len(value) < 14:
            return int(whole[1]) * 1000 + int((whole[2] or "").ljust(3, "0"))
        raise self._fail(key, f"{value!r} is no number such as 2, 0.5 or 500m")

    def _memory(self) -> int:
        value = self._last("MemoryRequest")
        if value is None:
            return 0
        try:
            found = values.size(value)
        except values.ValueFormError as error:
            raise self._fail("MemoryRequest", error) from None
        if found is None:
            raise self._fail("MemoryRequest", "no machine has infinite memory; write it like 512M")
        return found


def _quoted_list(value: str, whole: bool) -> list[str]:
    """A line that begins and ends with a double quote is a list of quoted values, and any other is one value."""
    if whole or not (len(value) > 1 and value.startswith('"') and value.endswith('"')):
        return [value]
    inside = [part for place, part in enumerate(value.split('"')) if place % 2]
    return [part for part in inside if part]


def _refuse_contradictions(rules: Rules, name: UnitName) -> None:
    """fleet's, in its order, and those of the options it had not. RulesError."""
    for peer in rules.machine_of:
        try:
            parse_name(peer)
        except UnitNameError as error:
            if not name.is_template:
                raise RulesError(f"MachineOf=: {error}") from None
        if peer == name.text:
            raise RulesError(f"MachineOf={peer}: a unit cannot wait for itself")
        for word, patterns in (("Conflicts", rules.conflicts), ("Replaces", rules.replaces)):
            for pattern in patterns:
                if globs.matches(pattern, peer):
                    raise RulesError(f"MachineOf={peer} asks to be with a unit that {word}={pattern} keeps away")
    fixed = rules.machine_id or rules.boot_id
    together = [
        ("MachineID", fixed, "MachineOf", rules.machine_of),
        ("MachineID", fixed, "Conflicts", rules.conflicts),
        ("MachineID", fixed, "Global", rules.is_global),
        ("MachineID", fixed, "Replaces", rules.replaces),
        ("Global", rules.is_global, "MachineOf", rules.machine_of),
        ("Global", rules.is_global, "Replaces", rules.replaces),
        ("Conflicts", rules.conflicts, "Replaces", rules.replaces),
        ("Global", rules.is_global, "Replicas", rules.replicas is not None),
        ("Global", rules.is_global, "Spread", rules.spread),
        ("Global", rules.is_global, "MaxPerMachine", rules.max_per_machine),
    ]
    for one, has_one, other, has_other in together:
        if has_one and has_other:
            raise RulesError(f"{one}= cannot be used with {other}=")
    if rules.replicas is not None and not name.is_template and not name.is_instance:
        raise RulesError(f"Replicas= is for templates, whose names look like {name.stem}@.{name.type}")


def _idle(rules: Rules, name: UnitName) -> list[Remark]:
    """Options without effect in a unit of this name."""
    if name.is_template or name.is_instance:
        return []
    words = [("Spread", rules.spread), ("MaxPerMachine", rules.max_per_machine)]
    return [Remark(0, f"{word}= has an effect on instances of templates only") for word, given in words if given]
