"""The agent against placements that a test writes: what it does, and above all what it leaves alone."""

import pytest
import trio
from trio.testing import MockClock

from core.agent.presence import DuplicateMachineError
from core.client import Delete, prefix
from core.sched import keys
from core.sched.health import Health
from core.sched.records import Drain, Header
from tests.units.conftest import Bench

WEB = "web.service"
OTHER = "[Service]\nExecStart=/bin/false\n"


def calls(bench_host: object) -> list[tuple[str, str]]:
    return [call for call in bench_host.calls if call[0] not in ("adopt", "settle")]  # type: ignore[attr-defined]


async def test_what_is_placed_runs_and_is_told(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host)):
        await trio.sleep(3)
        state = bench.state(host, WEB)
        assert state is not None
        assert (state.active, state.sub) == ("active", "running")
        assert calls(host) == [("load", WEB), ("start", WEB)]
        bench.unplace(host, WEB)
        await trio.sleep(3)
        assert bench.state(host, WEB) is None
        assert host.units == {}


async def test_a_desired_state_of_loaded_is_not_started_and_stops_what_runs(
    autojump_clock: MockClock, bench: Bench
) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB, desired="loaded")
    async with bench.running(bench.agent(host)):
        await trio.sleep(2)
        assert calls(host) == [("load", WEB)]
        bench.place(host, WEB)
        await trio.sleep(2)
        bench.place(host, WEB, desired="loaded")
        await trio.sleep(2)
        assert calls(host) == [("load", WEB), ("start", WEB), ("stop", WEB)]
        bench.place(host, WEB)
        await trio.sleep(2)
        assert host.running() == {WEB}


async def test_another_text_or_an_operators_restart_restarts_it_once(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host)):
        await trio.sleep(2)
        bench.place(host, WEB, OTHER)
        await trio.sleep(2)
        assert calls(host)[2:] == [("load", WEB), ("stop", WEB), ("start", WEB)]
        bench.place(host, WEB, OTHER, restart=1)
        await trio.sleep(2)
        assert calls(host)[5:] == [("stop", WEB), ("start", WEB)]
        bench.place(host, WEB, OTHER, restart=1, why="told in other words")
        await trio.sleep(2)
        assert len(calls(host)) == 7


@pytest.mark.parametrize("journal_lost", [False, True])
async def test_a_new_agent_takes_over_what_runs(autojump_clock: MockClock, bench: Bench, journal_lost: bool) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    bench.place(host, "done.service")
    async with bench.running(bench.agent(host)):
        await trio.sleep(3)
        host.become("done.service", "inactive")
        await trio.sleep(1)
    first = bench.machine(host)
    before = calls(host)
    if journal_lost:
        host.journal = b"{}"
    else:
        del host.units["done.service"].result
        host.units["done.service"].result = ""
    async with bench.running(bench.agent(host)):
        await trio.sleep(100)
        again = [call for call in calls(host)[len(before) :] if call[1] == WEB]
        assert again == []
        if not journal_lost:
            assert calls(host) == before  # what had ended is not run again either
        second = bench.machine(host)
        assert first is not None
        assert second is not None
        assert first.session != second.session


async def test_an_idle_agent_writes_nothing_but_its_lease(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host)):
        await trio.sleep(5)
        before = bench.cluster.revision
        await trio.sleep(1000)
        assert bench.cluster.revision == before
        assert len(bench.cluster.leases) == 1


async def test_units_stay_while_the_store_is_away(autojump_clock: MockClock, bench: Bench) -> None:
    host, door = bench.host(), bench.door()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host, door)):
        await trio.sleep(3)
        door.cut = True
        await trio.sleep(200)
        assert host.running() == {WEB}
        assert bench.machine(host) is None  # its lease has ended
        door.cut = False
        await trio.sleep(20)
        assert bench.machine(host) is not None
        assert bench.state(host, WEB) is not None
        assert calls(host) == [("load", WEB), ("start", WEB)]


async def test_units_stay_when_the_agent_starts_without_a_store(autojump_clock: MockClock, bench: Bench) -> None:
    host, door = bench.host(), bench.door()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host)):
        await trio.sleep(3)
    door.cut = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bench.agent(host, door).run)
        await trio.sleep(300)
        assert calls(host) == [("load", WEB), ("start", WEB)]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("story", [None, Header("c1", 0), Header("elsewhere", 1)])
async def test_units_stay_when_the_story_is_doubtful(
    autojump_clock: MockClock, bench: Bench, story: Header | None
) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    agent = bench.agent(host)
    async with bench.running(agent):
        await trio.sleep(3)
        if story is None:
            bench.delete(keys.header(host.machine))
        else:
            bench.vouch(host, story)
        bench.unplace(host, WEB)
        bench.place(host, "new.service")
        await trio.sleep(30)
        assert host.running() == {WEB}
        assert agent.figures.doubt
        bench.vouch(host, Header("c1", 2))  # the engine says that this is the story now
        await trio.sleep(10)
        assert host.running() == {"new.service"}


async def test_units_stay_when_the_registry_is_wiped_and_a_header_returns(
    autojump_clock: MockClock, bench: Bench
) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host)):
        await trio.sleep(3)
        bench.cluster.execute(Delete(prefix(keys.PREFIX)))
        await trio.sleep(5)
        bench.vouch(host)
        bench.place(host, "new.service")
        await trio.sleep(60)
        assert host.running() == {WEB}
        assert bench.machine(host) is not None  # it has registered again, and told what runs
        assert bench.state(host, WEB) is not None


async def test_a_restored_snapshot_is_noticed_although_the_watch_says_nothing(
    autojump_clock: MockClock, bench: Bench
) -> None:
    host = bench.host()
    bench.vouch(host)
    old = bench.cluster.snapshot()
    bench.place(host, WEB)
    for _ in range(50):
        bench.put(b"/elsewhere", b"")
    agent = bench.agent(host)
    async with bench.running(agent):
        await trio.sleep(3)
        bench.cluster.restore(old)
        bench.vouch(host, Header("c1", 2))
        await trio.sleep(120)
        assert agent.figures.registered
        assert host.running() == set()  # the new generation does not know it


async def test_the_first_of_two_with_one_id_goes_on(autojump_clock: MockClock, bench: Bench) -> None:
    first, second = bench.host(), bench.host()
    second.boot = 9
    bench.vouch(first)
    bench.place(first, WEB)
    async with bench.running(bench.agent(first)):
        await trio.sleep(5)
        with pytest.raises(DuplicateMachineError, match="belongs to host-1"):
            await bench.agent(second).run()
        assert calls(second) == []
        assert first.running() == {WEB}
        assert bench.machine(first) is not None


async def test_a_rebooted_host_registers_when_its_old_lease_has_ended(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host)):
        await trio.sleep(5)
    host.kill()
    began = trio.current_time()
    async with bench.running(bench.agent(host)):
        assert trio.current_time() - began < 40
        await trio.sleep(3)
        assert host.running() == {WEB}


async def test_one_that_fails_and_one_that_will_not_stop_hold_up_nobody(
    autojump_clock: MockClock, bench: Bench
) -> None:
    host = bench.host()
    bench.vouch(host)
    for name in ("broken.service", "stubborn.service", WEB):
        bench.place(host, name)
    async with bench.running(bench.agent(host)):
        await trio.sleep(3)
        assert host.running() == {"stubborn.service", WEB}
        state = bench.state(host, "broken.service")
        assert state is not None
        assert "it is broken" in state.why
        bench.unplace(host, "stubborn.service")
        await trio.sleep(1)
        bench.place(host, "next.service")
        await trio.sleep(10)
        assert "next.service" in host.running()
        await trio.sleep(90)
        assert "stubborn.service" not in host.units
        attempts = calls(host).count(("load", "broken.service"))
        assert 5 <= attempts <= 9  # 1, 2, 4, 8, … seconds apart


async def test_nothing_is_done_while_the_service_manager_is_away(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    async with bench.running(bench.agent(host)):
        await trio.sleep(3)
        host.gone = True
        bench.unplace(host, WEB)
        await trio.sleep(30)
        assert host.running() == {WEB}
        host.gone = False
        await trio.sleep(70)
        assert host.running() == set()


async def test_asked_to_move_it_ends_its_units_before_it_goes(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    agent = bench.agent(host, on_stop="move")
    async with bench.running(agent):
        await trio.sleep(3)
        agent.stop()
        await trio.sleep(1)
        assert host.units == {}
        assert bench.machine(host) is None


async def test_a_host_that_is_to_restart_says_so_and_goes_when_it_is_empty(
    autojump_clock: MockClock, bench: Bench
) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    agent = bench.agent(host)
    async with bench.running(agent):
        await trio.sleep(3)
        assert (agent.held, agent.ailing) == (1, [])
        before = bench.machine(host)
        agent.leave(Drain(900, 4))
        assert agent.held is None, "until the store knows it"
        await trio.sleep(1)
        machine = bench.machine(host)
        assert machine is not None
        assert before is not None
        assert (machine.leaving, machine.session != before.session) == (Drain(900, 4), True)
        assert host.running() == {WEB}
        agent.leave(None)
        await trio.sleep(1)
        machine = bench.machine(host)
        assert machine is not None
        assert machine.leaving is None
        agent.leave(Drain(900, 4))
        bench.unplace(host, WEB)
        await trio.sleep(3)
        assert agent.held == 0
        agent.stop()
        await trio.sleep(1)
        assert bench.machine(host) is None, "nobody waits for its lease"


async def test_asked_to_leave_it_leaves_its_units(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB)
    agent = bench.agent(host)
    async with bench.running(agent):
        await trio.sleep(3)
        agent.stop()
        await trio.sleep(1)
        assert host.running() == {WEB}
        assert bench.machine(host) is not None


CHECKED = "[Service]\nExecStart=/bin/web\n[X-Fleet]\nHealth=tcp://127.0.0.1:1 interval=10s retries=3 start=30s\n"


async def test_a_health_check_gates_running_and_restarts(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, WEB, CHECKED)
    answer = "connection refused"

    async def probe(_: Health) -> str:
        await trio.sleep(0.1)
        return answer

    def health() -> str:
        state = bench.state(host, WEB)
        assert state is not None
        return state.health

    async with bench.running(bench.agent(host, probe=probe)):
        await trio.sleep(20)
        assert health() == "starting"
        answer = ""
        await trio.sleep(3)
        assert health() == "healthy"
        await trio.sleep(100)
        assert calls(host) == [("load", WEB), ("start", WEB)]
        answer = "connection refused"
        await trio.sleep(25)
        assert calls(host) == [("load", WEB), ("start", WEB)]
        await trio.sleep(15)
        assert calls(host)[2:] == [("stop", WEB), ("start", WEB)]
        state = bench.state(host, WEB)
        assert state is not None
        assert state.restarts == 1
        await trio.sleep(1000)
        starts = calls(host).count(("start", WEB))
        assert 5 <= starts <= 12  # with growing pauses


async def test_what_failed_for_good_is_revived_if_it_asks_for_restarts(autojump_clock: MockClock, bench: Bench) -> None:
    host = bench.host()
    bench.vouch(host)
    bench.place(host, "failing1.service", "[Service]\nExecStart=/x\nRestart=on-failure\n")
    bench.place(host, "failing2.service")
    async with bench.running(bench.agent(host)):
        await trio.sleep(60)
        assert calls(host).count(("start", "failing1.service")) in (4, 5)  # 0, 0, 10, 30, … seconds
        assert calls(host).count(("start", "failing2.service")) == 1
        state = bench.state(host, "failing2.service")
        assert state is not None
        assert (state.active, state.why) == ("failed", "exit-code 1")


async def test_calls_whose_outcome_is_not_known_end_well(autojump_clock: MockClock, bench: Bench) -> None:
    host, door = bench.host(), bench.door()
    bench.vouch(host)
    door.trouble.unknown = door.trouble.lost = 0.4
    for number in range(20):
        bench.place(host, f"web{number}.service")
    async with bench.running(bench.agent(host, door)):
        await trio.sleep(200)
        door.trouble.unknown = door.trouble.lost = 0
        await trio.sleep(60)
        assert len(host.running()) == 20
        for name in host.running():
            state = bench.state(host, name)
            assert state is not None
            assert state.active == "active"
        assert max(calls(host).count(("start", name)) for name in host.running()) == 1
