"""The rules of placement once more, slowly and without an index: from the bytes of the store alone."""

from dataclasses import dataclass, field

from core.sched import fleet_section, globs, keys, names, records, unit_text
from core.sched.fleet_section import Rules
from core.sched.keys import Kind
from core.sched.records import HostRecord, Machine, Placement, UnitRecord


@dataclass
class Oracle:
    """What is wanted, what is there, and what stands where."""

    rules: dict[str, Rules] = field(default_factory=dict)
    machines: dict[str, Machine] = field(default_factory=dict)
    hosts: dict[str, HostRecord] = field(default_factory=dict)
    standing: dict[str, set[str]] = field(default_factory=dict)
    """By machine: names of units."""

    @classmethod
    def read(cls, store: dict[bytes, bytes]) -> "Oracle":
        oracle, units = cls(), dict[str, UnitRecord]()
        for key, data in store.items():
            place = keys.parse(key)
            match place.kind if place is not None else None:
                case Kind.UNIT:
                    units[keys.parse(key).name] = records.decode(UnitRecord, data)  # type: ignore[union-attr]
                case Kind.MACHINE:
                    oracle.machines[keys.parse(key).machine] = records.decode(Machine, data)  # type: ignore[union-attr]
                case Kind.HOST:
                    oracle.hosts[keys.parse(key).machine] = records.decode(HostRecord, data)  # type: ignore[union-attr]
                case Kind.PLACEMENT:
                    found = keys.parse(key)
                    oracle.standing.setdefault(found.machine, set()).add(found.name)  # type: ignore[union-attr]
                    records.decode(Placement, data)
        for name, record in units.items():
            if record.desired != "inactive":
                oracle._want(name, record, units, store)
        return oracle

    def _want(self, name: str, record: UnitRecord, units: dict[str, UnitRecord], store: dict[bytes, bytes]) -> None:
        text = unit_text.parse(store[keys.text(record.text)])
        parsed = names.parse(name)
        rules, _ = fleet_section.read(text, parsed)
        if not parsed.is_template:
            self.rules[name] = rules
            return
        for number in range(1, (record.replicas if record.replicas is not None else rules.replicas or 0) + 1):
            instance = parsed.of(str(number))
            if instance.text not in units:
                self.rules[instance.text] = fleet_section.read(text, instance)[0]

    def is_open(self, machine: str) -> bool:
        host = self.hosts.get(machine, HostRecord())
        return machine in self.machines and not host.cordoned and host.drain is None

    def fits(self, name: str, machine: str) -> bool:
        """Whether a unit can be on a machine, as things are there without it."""
        if machine not in self.machines:
            return False
        rules, record = self.rules[name], self.machines[machine]
        others = {other for other in self.standing.get(machine, set()) if other in self.rules and other != name}
        host = self.hosts.get(machine, HostRecord())
        metadata = {key: value for key, value in {**record.metadata, **host.metadata}.items() if value}
        return (
            rules.machine_id in ("", machine, machine[:8])
            and all(condition.holds(metadata) for condition in rules.conditions)
            and set(rules.machine_of) <= others
            and not any(self._keeps_away(name, other) for other in others)
            and (rules.is_global or not any(self._replaces(other, name) for other in others))
            and (rules.max_per_machine is None or self._siblings(name, others) < rules.max_per_machine)
            and self._has_room(rules, others, record)
        )

    def _keeps_away(self, one: str, other: str) -> bool:
        return any(globs.matches(pattern, other) for pattern in self.rules[one].conflicts) or any(
            globs.matches(pattern, one) for pattern in self.rules[other].conflicts
        )

    def _replaces(self, one: str, other: str) -> bool:
        return self._names(one, other) and one not in self._reach(other)

    def _names(self, one: str, other: str) -> bool:
        return one != other and any(globs.matches(pattern, other) for pattern in self.rules[one].replaces)

    def _reach(self, name: str) -> set[str]:
        seen: set[str] = set()
        ahead = [name]
        while ahead:
            first = ahead.pop()
            for other in self.rules:
                if other not in seen and self._names(first, other):
                    seen.add(other)
                    ahead.append(other)
        return seen

    def _siblings(self, name: str, others: set[str]) -> int:
        template = names.parse(name).template
        return sum(template is not None and names.parse(other).template == template for other in others)

    def _has_room(self, rules: Rules, others: set[str], record: Machine) -> bool:
        memory = rules.memory + sum(self.rules[other].memory for other in others)
        return not (rules.memory and record.memory) or memory <= record.memory

    def places(self, name: str) -> list[str]:
        return sorted(machine for machine, units in self.standing.items() if name in units)

    def may_leave(self, name: str, machine: str) -> bool:
        """Whether there is a reason to take a unit away from a machine."""
        host = self.hosts.get(machine, HostRecord())
        return (
            name not in self.rules
            or host.drain is not None
            or not self.fits(name, machine)
            or (not self.rules[name].is_global and len(self.places(name)) > 1)
        )

    def complaints(self) -> list[str]:
        """What is wrong with what stands where, once nothing is left to do."""
        found = []
        for machine, units in self.standing.items():
            for name in units:
                if name not in self.rules:
                    found.append(f"{name} on {machine} is not wanted")
                elif machine in self.machines and not self.fits(name, machine):
                    found.append(f"{name} on {machine} breaks a rule")
        for name, rules in self.rules.items():
            places = self.places(name)
            could = [machine for machine in self.machines if self.is_open(machine) and self.fits(name, machine)]
            if rules.is_global:
                found += [f"{name} is missing on {machine}" for machine in could if machine not in places]
            else:
                if len(places) > 1:
                    found.append(f"{name} stands on {places}")
                if could and not any(machine in self.machines for machine in places):
                    found.append(f"{name} could be on {could}")
        return found
