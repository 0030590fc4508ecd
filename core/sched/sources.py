"""The unit texts that a view knows, reduced to what placement needs of them, and the units each record stands for."""

import msgspec

from core.sched import fleet_section, names, unit_text, values
from core.sched.board import Unit
from core.sched.fleet_section import SECTION, Rules
from core.sched.names import UnitName
from core.sched.records import UnitRecord
from core.sched.unit_text import UnitText

STOP_TIMEOUT = 90.0
"""Seconds, systemd's default."""
STOPPING_SPARE = 30
LONGEST_STOPPING = 3_600
"""Seconds; nobody waits longer for a unit that has TimeoutStopSec=infinity."""


class UnreadableError(ValueError):
    """A record whose text cannot be read or is not there; the text says why."""


class Source(msgspec.Struct, eq=False, gc=False):
    """One text: what it says on placement, and the rules read from it."""

    text: UnitText
    """With the options of [X-Fleet] only, and without its bytes."""
    kept: bool
    """Whether its author asked for restarts."""
    stopping: int
    """Seconds that stopping it may take."""
    rules: Rules | None = None
    """If they are the same whatever the unit's name."""


class Sources:
    """Texts by their hash, and what they come to for units of some name. Equal rules are one object."""

    def __init__(self) -> None:
        self._known: dict[str, Source | str] = {}
        self._rules: dict[Rules, Rules] = {}

    def __contains__(self, digest: str) -> bool:
        return digest in self._known

    def add(self, digest: str, data: bytes) -> None:
        try:
            whole = unit_text.parse(data)
        except unit_text.UnitTextError as error:
            self._known[digest] = str(error)
            return
        restart = whole.last("Service", "Restart")
        options = tuple(option for option in whole.options if option.section == SECTION)
        self._known[digest] = Source(
            UnitText(b"", options, whole.sections, ()),
            restart is not None and restart.lower() != "no",
            _stopping(whole),
        )

    def discard(self, digest: str) -> None:
        self._known.pop(digest, None)

    def rules(self, digest: str, name: UnitName) -> Rules:
        """The rules of a unit of that name with that text. UnreadableError."""
        return self._read(self._source(digest), name)

    def _source(self, digest: str) -> Source:
        source = self._known.get(digest)
        if isinstance(source, Source):
            return source
        raise UnreadableError(source or f"its text {digest[:12]} is not in the store")

    def _read(self, source: Source, name: UnitName) -> Rules:
        if source.rules is not None:
            return source.rules
        try:
            rules, _ = fleet_section.read(source.text, name)
        except fleet_section.RulesError as error:
            raise UnreadableError(str(error)) from None
        rules = self._rules.setdefault(rules, rules)
        if not fleet_section.depends_on_name(source.text) and name.is_instance:
            source.rules = rules
        return rules

    def instances(self, name: UnitName, record: UnitRecord) -> list[str]:
        """The names of the units that a record of that name stands for. UnreadableError."""
        if record.desired == "inactive":
            return []
        if not name.is_template:
            return [name.text]
        wanted = record.replicas if record.replicas is not None else self.rules(record.text, name).replicas
        return [name.of(str(number)).text for number in range(1, (wanted or 0) + 1)]

    def unit(self, name: str, owner: str, record: UnitRecord) -> Unit:
        """One unit of a record. UnreadableError."""
        source = self._source(record.text)
        parsed = names.parse(name)
        rules = self._read(source, parsed)
        return Unit(
            name,
            owner,
            record.text,
            record.desired,
            record.restarted,
            rules,
            family=parsed.template or "",
            replica=name != owner,
            kept=source.kept or bool(rules.checks),
            stopping=source.stopping,
        )


def _stopping(text: UnitText) -> int:
    """Seconds from the word to stop until a unit is down: it has its time twice, for ExecStop= and after SIGTERM."""
    timeout = text.last("Service", "TimeoutStopSec") or text.last("Service", "TimeoutSec") or ""
    try:
        seconds = values.time_span(timeout) if timeout else STOP_TIMEOUT
    except values.ValueFormError:
        seconds = STOP_TIMEOUT
    return STOPPING_SPARE + int(2 * min(seconds, LONGEST_STOPPING / 2))
