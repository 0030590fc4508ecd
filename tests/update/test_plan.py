"""The plan of updates: what holds after every step of random rollouts, and variants that break it and are caught."""

import random
from collections.abc import Callable, Sequence

import msgspec
import pytest

from core.update import plan as planning
from core.update.plan import Change, Grant, Pause, Target, Withdraw, World, next_version
from core.update.records import Channel, Group, Offer, Policy, Report
from core.update.versions import key

WELL = ("idle", "asking")
VERSIONS = ("1.0", "1.1", "1.2", "1.10")
RELEASES = {("os", version, "x86_64"): Target(version * 4, 100) for version in VERSIONS}
Planner = Callable[[World], Sequence[Change]]


def plan(world: World) -> list[Change]:
    """All slices."""
    return [change for part in planning.plan(world) for change in part]


class BrokenRuleError(Exception):
    """What may never be."""


def require(condition: bool, what: str) -> None:
    if not condition:
        raise BrokenRuleError(what)


class Rollout:
    """Hosts that follow offers, or fail, or vanish, by chance; every change is judged."""

    def __init__(self, seed: int, planner: Planner) -> None:
        self.chance = chance = random.Random(seed)
        self.planner = planner
        policy = Policy(
            at_once=chance.randrange(4),
            percent=chance.choice([10, 34, 100]),
            first_alone=chance.random() < 0.5,
            max_failures=chance.randrange(4),
            patience=50,
        )
        self.group = Group("stable", policy)
        self.channel = Channel("os", "1.10", chance.choice([(), ("1.1",), ("1.1", "1.2")]))
        self.hosts = [f"m{number:02}" for number in range(chance.randrange(1, 12))]
        visitors = chance.choice([0.0, 0.0, 0.5, 1.0])
        self.reports = {
            host: Report("g", "os", "x86_64", "1.0", visits=chance.random() < visitors) for host in self.hosts
        }
        self.offers: dict[str, Offer] = {}
        self.ages: dict[str, float] = {}
        self.alive = set(self.hosts)
        self.open = {"g"}
        self.failing = chance.choice([0.0, 0.1, 0.5])

    def world(self) -> World:
        group, channel = {"g": self.group}, {"stable": self.channel}
        return World(channel, group, self.reports, self.offers, self.alive, self.ages, self.open, RELEASES)

    def under_way(self) -> int:
        busy = {host for host in self.hosts if self.reports[host].stage not in (*WELL, "failed")}
        return len(busy | {host for host in self.offers if self.reports[host].stage != "failed"})

    def turn(self) -> None:
        world = self.world()
        for change in self.planner(world):
            self.judge(change)
        again = self.planner(self.world())
        require(not again, f"a plan that was made leaves nothing to do: {again}")

    def judge(self, change: Change) -> None:
        match change:
            case Grant(machine, offer):
                report, policy = self.reports[machine], self.group.policy
                require(not self.group.paused and bool(self.open), "nothing is offered while the group is held")
                require(machine in self.alive, "nothing is offered to a host that is away")
                require(not report.visits or report.stage == "asking", "who is not there now is offered nothing")
                require(machine not in self.offers, "one offer at a time")
                require(offer.version == next_version(self.channel, report.version), "no floor is skipped")
                require(key(offer.version) > key(report.version), "nobody goes back")
                limit = policy.at_once or max(1, len(self.alive) * policy.percent // 100)
                require(self.under_way() < limit, "no more at once than the policy says")
                proven = any(
                    each.stage in WELL and key(each.version) >= key(offer.version) for each in self.reports.values()
                )
                first = not policy.first_alone or proven or self.under_way() == 0
                require(first, "the first goes alone")
                self.offers[machine] = offer
                self.ages[machine] = 0
            case Withdraw(machine, _):
                stage = self.reports[machine].stage
                require(stage not in ("rebooting", "proving"), "no offer goes from under a host that reboots")
                del self.offers[machine], self.ages[machine]
                if stage not in (*WELL, "failed"):
                    self.reports[machine] = msgspec.structs.replace(self.reports[machine], stage="idle")
            case Pause(_, why):
                failures = sum(planning.failed(self.world(), host) for host in self.offers)
                require(0 < self.group.policy.max_failures <= failures, "it stops for failures alone")
                self.group = msgspec.structs.replace(self.group, paused=True, why=why)

    def live(self) -> None:
        """Something happens."""
        chance = self.chance
        self.ages = {host: age + chance.randrange(10) for host, age in self.ages.items()}
        if chance.random() < 0.1:
            self.open = set() if self.open else {"g"}
        if self.group.paused and chance.random() < 0.3:
            self.group = msgspec.structs.replace(self.group, paused=False, attempt=self.group.attempt + 1)
        for host, offer in list(self.offers.items()):
            if chance.random() < 0.5:
                self.reports[host] = self.next(self.reports[host], offer)
        for host, report in self.reports.items():
            if report.visits and report.stage in WELL and chance.random() < 0.5:
                self.visit(host)
        if chance.random() < 0.1:
            self.alive ^= {chance.choice(self.hosts)}

    def visit(self, host: str) -> None:
        """One that only visits comes, or goes."""
        report = self.reports[host]
        self.reports[host] = msgspec.structs.replace(report, stage="idle" if report.stage == "asking" else "asking")

    def next(self, report: Report, offer: Offer) -> Report:
        order = ("idle", "fetching", "rebooting", "proving")
        wanted = {"wanted": offer.version, "attempt": offer.attempt}
        if report.stage == "failed" and report.attempt == offer.attempt and report.wanted == offer.version:
            return report
        if report.stage == "asking":
            return msgspec.structs.replace(report, stage="fetching", **wanted)
        if report.stage == "proving":
            return msgspec.structs.replace(report, stage="idle", version=offer.version, **wanted)
        if report.stage == "fetching" and self.chance.random() < self.failing:
            return msgspec.structs.replace(report, stage="failed", error="no", **wanted)
        stage = "fetching" if report.stage == "failed" else order[order.index(report.stage) + 1]
        return msgspec.structs.replace(report, stage=stage, **wanted)


def run(seed: int, planner: Planner = plan, steps: int = 60) -> Rollout:
    rollout = Rollout(seed, planner)
    for _ in range(steps):
        rollout.turn()
        rollout.live()
    return rollout


@pytest.mark.parametrize("seed", range(150))
def test_the_rules_hold_whatever_happens(seed: int) -> None:
    run(seed)


@pytest.mark.parametrize("seed", range(20))
def test_a_rollout_comes_to_its_end(seed: int) -> None:
    rollout = Rollout(seed, plan)
    rollout.failing = 0.0
    for _ in range(2000):
        for host, report in rollout.reports.items():
            if report.visits and report.stage in WELL:
                rollout.visit(host)
        rollout.turn()
        for host, offer in list(rollout.offers.items()):
            rollout.reports[host] = rollout.next(rollout.reports[host], offer)
    assert {report.version for report in rollout.reports.values()} == {"1.10"}
    assert not rollout.offers


def _without(**changed: object) -> Planner:
    """A planner that sees another policy than there is."""

    def planner(world: World) -> Sequence[Change]:
        groups = {
            name: msgspec.structs.replace(group, policy=msgspec.structs.replace(group.policy, **changed))
            for name, group in world.groups.items()
        }
        return plan(msgspec.structs.replace(world, groups=groups))

    return planner


BROKEN: dict[str, Planner] = {
    "at once": _without(at_once=9),
    "first alone": _without(first_alone=False),
    "impatient": _without(patience=0, max_failures=1),
    "paused": lambda world: plan(
        msgspec.structs.replace(
            world, groups={n: msgspec.structs.replace(g, paused=False) for n, g in world.groups.items()}
        )
    ),
    "window": lambda world: plan(msgspec.structs.replace(world, open=set(world.groups))),
    "away": lambda world: plan(msgspec.structs.replace(world, alive=set(world.reports))),
    "visitors": lambda world: plan(
        msgspec.structs.replace(
            world, reports={n: msgspec.structs.replace(r, visits=False) for n, r in world.reports.items()}
        )
    ),
    "floors": lambda world: plan(
        msgspec.structs.replace(
            world, channels={n: msgspec.structs.replace(c, floors=()) for n, c in world.channels.items()}
        )
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_plan_is_caught(name: str) -> None:
    with pytest.raises(BrokenRuleError):
        all(run(seed, BROKEN[name]) for seed in range(150))


@pytest.mark.parametrize(
    ("earlier", "later"), [("1.9", "1.10"), ("1.10-rc1", "1.10"), ("1.10~beta2", "1.10~beta10"), ("1.0", "1.0.1")]
)
def test_versions_in_order(earlier: str, later: str) -> None:
    assert key(earlier) < key(later)
    assert key("1.0") == key("1.0.0")
