"""Which hosts may update now: from what is wanted and what hosts report to the next changes. Pure, and made in slices.

A host is under way from its offer until it reports that it is well on the version offered, or that it failed. One whose
patience has run out counts as failed, and still as under way, because nobody knows what it does. Whatever an offer was
for, it is taken back while the host can still stay: when the group is held, or the channel has gone on to another
version. What failed stays noted until the group is resumed, so a failure counts once. A host that only comes by now and
then is offered something while it asks and at no other time: for one that is not there the others would wait.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from functools import lru_cache
from typing import NamedTuple

import msgspec

from core.update.records import Channel, Group, Offer, Report
from core.update.versions import Key, key

_WELL = frozenset(("idle", "asking"))
_BUSY = frozenset(("fetching", "writing", "comparing", "waiting", "rebooting", "proving"))
SLICE = 500
"""Hosts looked at in one slice; some milliseconds."""

_COMMITTED = frozenset(("rebooting", "proving"))
"""Stages in which an offer that is taken back is too late."""


class Target(NamedTuple):
    """A release that is served: of its manifest."""

    sha256: str
    size: int


Releases = Mapping[tuple[str, str, str], Target]
"""By product, version and architecture."""


class World(msgspec.Struct, frozen=True):
    """All that is known at one moment. Hosts are named by machine id."""

    channels: Mapping[str, Channel]
    groups: Mapping[str, Group]
    reports: Mapping[str, Report]
    offers: Mapping[str, Offer]
    alive: Set[str]
    """Hosts that are there."""
    ages: Mapping[str, float]
    """Seconds for which each offer has stood."""
    open: Set[str]
    """Groups whose window holds now, or that have none."""
    releases: Releases


class Grant(msgspec.Struct, frozen=True):
    """A host may go."""

    machine: str
    offer: Offer


class Withdraw(msgspec.Struct, frozen=True):
    """An offer goes."""

    machine: str
    why: str


class Pause(msgspec.Struct, frozen=True):
    """A group stops by itself."""

    group: str
    why: str


Change = Grant | Withdraw | Pause


def plan(world: World) -> Iterator[list[Change]]:
    """The changes to make now, slice by slice; none once they are made and nothing else changed. The world stays as it
    is meanwhile."""
    hosts, offered = _by_group(world, world.reports), _by_group(world, world.offers)
    yield [
        Withdraw(machine, "its group is gone") for name in offered.keys() - world.groups for machine in offered[name]
    ]
    for name in sorted(world.groups):
        yield from _sliced(_Plan(world, name, hosts.get(name, []), offered.get(name, [])).changes())


def _by_group(world: World, machines: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for machine in sorted(machines):
        found.setdefault(_group_of(world, machine), []).append(machine)
    return found


def _sliced(changes: Iterator[Change | None]) -> Iterator[list[Change]]:
    """None is a host that was looked at."""
    found: list[Change] = []
    for number, change in enumerate(changes, 1):
        if change is not None:
            found.append(change)
        if number % SLICE == 0:
            yield found
            found = []
    yield found


@lru_cache(maxsize=4096)
def next_version(channel: Channel, version: str) -> str | None:
    """Where a host goes from a version: to the next floor that it may not skip, else to that of the channel; None if it
    is there already, or ahead."""
    steps = sorted({*channel.floors, channel.version}, key=key)
    return next((step for step in steps if key(version) < key(step) <= key(channel.version)), None)


def failed(world: World, machine: str) -> bool:
    """Whether the host did not do what its offer lets it: it says so, or its time is over."""
    offer, report = world.offers.get(machine), world.reports.get(machine)
    group = world.groups.get(_group_of(world, machine))
    if offer is None or group is None:
        return False
    says = report is not None and report.stage == "failed"
    same = report is not None and (report.wanted, report.attempt) == (offer.version, offer.attempt)
    return (says and same) or (world.ages.get(machine, 0.0) > group.policy.patience and not arrived(world, machine))


def arrived(world: World, machine: str) -> bool:
    """Whether the host is well on the version it was offered."""
    offer, report = world.offers[machine], world.reports.get(machine)
    return report is not None and report.version == offer.version and report.stage in _WELL


def _group_of(world: World, machine: str) -> str:
    """Its report says it; while that is gone, its offer."""
    report = world.reports.get(machine)
    return report.group if report is not None else world.offers[machine].group


class _Plan:
    """Of one group."""

    def __init__(self, world: World, name: str, hosts: list[str], offered: list[str]) -> None:
        self._world = world
        self._name = name
        self._group = world.groups[name]
        self._channel = world.channels.get(self._group.channel)
        self._hosts = hosts
        self._offered = offered

    def changes(self) -> Iterator[Change | None]:
        """None for each host that needs none."""
        failures = []
        for machine in self._offered:
            if self._counts(machine):
                failures.append(machine)
            yield None
        most = self._group.policy.max_failures
        stops = bool(most) and len(failures) >= most and not self._group.paused
        if stops:
            yield Pause(self._name, f"{len(failures)} failed: {', '.join(map(self._told, failures[:3]))}")
        held = self._held() or ("too many failures" if stops else "")
        kept = set()
        for machine in self._offered:
            why = self._over(machine, held)
            if why:
                yield Withdraw(machine, why)
            else:
                kept.add(machine)
                yield None
        if not held and self._channel is not None:
            yield from self._grants(self._channel, kept)

    def _counts(self, machine: str) -> bool:
        """Whether it failed since the group was resumed, at what the channel still wants."""
        return failed(self._world, machine) and self._world.offers[machine].attempt == self._group.attempt

    def _told(self, machine: str) -> str:
        report, offer = self._world.reports.get(machine), self._world.offers[machine]
        why = report.error if report is not None and report.stage == "failed" else "it took too long"
        return f"{machine} to {offer.version}: {why or 'it does not say why'}"

    def _held(self) -> str:
        if self._group.paused:
            return "the group is paused"
        if self._channel is None:
            return "its channel is gone"
        return "" if self._name in self._world.open else "its window is over"

    def _over(self, machine: str, held: str) -> str:
        """Why an offer goes; empty if it stays."""
        offer, report = self._world.offers[machine], self._world.reports.get(machine)
        if arrived(self._world, machine):
            return "it is there"
        if report is not None and report.stage in _COMMITTED:
            return ""
        wants = self._channel and report and next_version(self._channel, report.version)
        if report is not None and (offer.product != report.product or wants != offer.version):
            return "the channel has another version"
        if failed(self._world, machine):
            return "it may try again" if offer.attempt != self._group.attempt else ""
        return held

    def _grants(self, channel: Channel, kept: Set[str]) -> Iterator[Grant | None]:
        world = self._world
        under_way = {machine for machine in self._hosts if world.reports[machine].stage in _BUSY}
        under_way |= {machine for machine in kept if not self._says_failed(machine)}
        proven = self._proven()
        free = self._limit() - len(under_way)
        for machine in self._hosts:
            yield None
            report = world.reports[machine]
            if machine in kept or machine in under_way or machine not in world.alive:
                continue
            if report.visits and report.stage != "asking":
                continue
            version = next_version(channel, report.version) if report.product == channel.product else None
            target = world.releases.get((report.product, version or "", report.architecture))
            if version is None or target is None:
                continue
            alone = self._group.policy.first_alone and (proven is None or key(version) > proven)
            if free <= 0 or (alone and under_way):
                return
            offer = Offer(
                report.product,
                version,
                report.architecture,
                target.sha256,
                target.size,
                self._group.attempt,
                self._name,
            )
            yield Grant(machine, offer)
            under_way.add(machine)
            free -= 1

    def _says_failed(self, machine: str) -> bool:
        report = self._world.reports.get(machine)
        return failed(self._world, machine) and report is not None and report.stage == "failed"

    def _proven(self) -> Key | None:
        """The latest version on which a host of the group is well."""
        reports = (self._world.reports[machine] for machine in self._hosts)
        return max(map(key, {report.version for report in reports if report.stage in _WELL}), default=None)

    def _limit(self) -> int:
        policy = self._group.policy
        if policy.at_once:
            return policy.at_once
        there = sum(machine in self._world.alive for machine in self._hosts)
        return max(1, there * policy.percent // 100)
