"""Worlds from seeds hold what they must; and worlds with a part that is broken on purpose are found out."""

import logging
from collections.abc import Iterator

import msgspec
import pytest
import trio

from core.agent import rounds
from core.agent.agent import Agent
from core.agent.orders import Orders
from core.agent.presence import Presence
from core.agent.steps import steps
from core.client import Compare
from core.client.errors import CompactedError
from core.engine import story
from core.engine.term import Term
from core.engine.writer import Writer
from core.sched import handover
from core.sched.tasks import Task
from tests.units.simulator import Kinds, run, survey

SEEDS = range(1, 5)
ENOUGH = 8
"""Worlds in which a broken part must have shown."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_worlds_hold(capsys: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    assert survey(SEEDS, Kinds(), lines.append) == 0, "\n".join(lines)
    with capsys.disabled():
        print("\n" + lines[-1])


def test_an_emptied_registry_stops_nothing() -> None:
    for seed in (1, 2):
        assert run(seed, Kinds(wipe=True))[0] == []


@pytest.mark.slow
def test_many_worlds_hold() -> None:
    lines: list[str] = []
    assert survey(range(100, 140), Kinds(), lines.append) == 0, "\n".join(lines)


def test_a_world_is_reproduced_by_its_seed() -> None:
    (_, one), (_, other) = run(4, Kinds()), run(4, Kinds())
    assert one.ledger == other.ledger
    assert one.cluster.revision == other.cluster.revision


def caught(kinds: Kinds) -> bool:
    return any(run(seed, kinds)[0] for seed in range(1, ENOUGH))


async def anybody(self: Orders) -> bool:
    return True


class WithoutCompare(Writer):
    def fence(self, revision: int) -> list[Compare]:
        return []

    def _conditions(self, task: Task) -> list[Compare]:
        return []


def term_with(writer: type[Writer]) -> type[Term]:
    class Broken(Term):
        def make_writer(self, store, claim, value):  # type: ignore[no-untyped-def]
            return writer(store, claim, value, self.mirror, self._figures)

    return Broken


def test_an_engine_without_compares_is_found_out() -> None:
    what = ("shaky", "restart-engine", "operator", "operator", "drain")
    assert caught(Kinds(term=term_with(WithoutCompare), misfortunes=what, pace=5.0, late=30.0))


def test_an_engine_that_believes_an_old_snapshot_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "SETTLE_SECONDS", 0.0)
    monkeypatch.setattr(story, "adopted", lambda view: [])
    assert caught(Kinds(misfortunes=("kill", "drain", "restore", "operator")))


def test_an_agent_that_overlooks_lost_history_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    follow = Orders._follow

    async def deaf(self: Orders) -> None:
        try:
            await follow(self)
        except CompactedError:
            await trio.sleep_forever()

    monkeypatch.setattr(Orders, "_follow", deaf)
    assert caught(Kinds(misfortunes=("cut", "compact", "operator"), pace=5.0))


def test_an_agent_that_believes_an_empty_registry_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def believe(self: Orders) -> None:
        self.doubt, self.wanted = "", dict(self._placements)
        self._changed()

    monkeypatch.setattr(Orders, "_judge", believe)
    monkeypatch.setattr(Orders, "are_vouched_for", anybody)
    assert run(1, Kinds(wipe=True))[0]


def test_an_agent_that_believes_any_generation_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Orders, "_went_back", lambda self, revision: None)
    monkeypatch.setattr(Orders, "_rewind", lambda self: None)
    assert caught(Kinds(misfortunes=("kill", "drain", "restore", "operator")))


def test_an_agent_that_restarts_what_it_takes_over_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = steps

    def hasty(order, actual, mark):  # type: ignore[no-untyped-def]
        return ("stop", "start") if order and actual and actual.up and mark is None else right(order, actual, mark)

    class Forgetful(Agent):
        async def run(self, **more):  # type: ignore[no-untyped-def]
            self._memory.host.journal = b"{}"  # type: ignore[attr-defined]
            await super().run(**more)

    monkeypatch.setattr(rounds, "steps", hasty)
    assert caught(Kinds(agent=Forgetful, misfortunes=("crash",)))


def test_an_agent_that_does_not_wait_for_the_machine_before_it_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = steps

    def hasty(order, actual, mark):  # type: ignore[no-untyped-def]
        return right(order and msgspec.structs.replace(order, after=()), actual, mark)

    monkeypatch.setattr(rounds, "steps", hasty)
    assert caught(Kinds(misfortunes=("drain",)))


def test_an_engine_that_hands_nothing_over_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "begin", lambda view, unit, machine, placement, source="": placement)
    assert caught(Kinds(misfortunes=("drain",)))


def test_an_agent_that_is_not_seen_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Presence, "lose", lambda self, why: None)
    assert caught(Kinds(misfortunes=("restore", "drain", "operator")))


def test_an_agent_that_ends_its_units_when_it_has_no_store_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Orders._follow

    async def panic(self: Orders) -> None:
        try:
            await right(self)
        finally:
            self.wanted = {}
            self._changed()

    monkeypatch.setattr(Orders, "_follow", panic)
    monkeypatch.setattr(Orders, "are_vouched_for", anybody)
    what = ("watches", "shaky")
    assert all(run(seed, Kinds(misfortunes=what, pace=5.0))[0] for seed in (1, 2, 3))
