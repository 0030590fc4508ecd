"""What fleet's interface has not: texts byte for byte, restart, scale, machines, rollouts, events."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trio

from core.api.http.message import Caller, Request
from core.client import Put
from core.sched import keys, records
from core.sched.records import Drain, HostRecord, Machine, Placement, Rollout, UnitRecord, UnitState
from core.sched.unit_text import LARGEST, digest
from tests.auth.support import certificate
from tests.fleet.world import HELLO, ONE, TWO, Awaited, World, world
from tests.v2.fakes import ANYONE, LOCAL, FakeOutlet

OWN = "/corenode/fleet"
ODD = b"# caf\xc3\xa9 \\\n[Service]\r\nExecStart=/bin/sleep \\\n  9\n\n[X-Fleet]\nColour=blue"
OTHER = b"[Service]\nExecStart=/bin/true\n"
TEMPLATE = b"[Service]\nExecStart=/bin/sleep %i\n[X-Fleet]\nReplicas=2\n"
READER = Caller("a:1", certificate=certificate("rita", "corenode:reader"))


@pytest.fixture
async def fleet() -> AsyncIterator[World]:
    async with world() as found:
        yield found


async def put(fleet: World, name: str, text: bytes = HELLO, query: str = "") -> Any:
    return await fleet.good("PUT", f"{OWN}/units/{name}/text{query}", text)


# Texts


async def test_a_text_comes_back_byte_for_byte(fleet: World) -> None:
    done = await put(fleet, "odd.service", ODD)
    assert (done["created"], done["hash"]) == (True, digest(ODD))
    assert any("Colour" in warning for warning in done["warnings"])
    answer = await fleet.ask("GET", f"{OWN}/units/odd.service/text")
    assert answer.body == ODD
    assert f'ETag: "{digest(ODD)}"\r\n'.encode() in answer.headers
    options = (await fleet.good("GET", "/fleet/v1/units/odd.service"))["options"]
    # fleet's reading of it changes nothing of what is stored.
    body = {"desiredState": "loaded", "options": options}
    assert (await fleet.ask("PUT", "/fleet/v1/units/odd.service", body)).status == 204
    assert (await fleet.ask("GET", f"{OWN}/units/odd.service/text")).body == ODD


async def test_another_text_is_taken_only_if_that_is_meant(fleet: World) -> None:
    await put(fleet, "a.service", query="?desired=launched")
    assert (await put(fleet, "a.service"))["changed"] is False
    status, why = await fleet.refused("PUT", f"{OWN}/units/a.service/text", OTHER)
    assert (status, "with another text" in why) == (409, True)
    stale = ((b"if-match", b'"%b"' % digest(OTHER).encode()),)
    assert (await fleet.refused("PUT", f"{OWN}/units/a.service/text", OTHER, headers=stale))[0] == 412
    known = ((b"if-match", b'"%b"' % digest(HELLO).encode()),)
    assert (await fleet.good("PUT", f"{OWN}/units/a.service/text", OTHER, headers=known))["changed"] is True
    assert await fleet.unit("a.service") == UnitRecord(digest(OTHER), "launched")
    await put(fleet, "a.service", HELLO, "?replace=true&desired=loaded")
    assert await fleet.unit("a.service") == UnitRecord(digest(HELLO), "loaded")


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        (b"x" * (1 << 20), 413, "at most"),
        (b"#" * (LARGEST + 1), 413, "at most"),
        (b"[Service]\nA=\0", 400, "line 2: a NUL byte"),
        (b"[Service]\nA=\xff", 400, "line 2: byte 0xff"),
        (b"[Service", 400, "is no section"),
        (b"[X-Fleet]\nConflicts=[\n", 400, "Conflicts="),
        (b"[X-Fleet]\nReplicas=2\n", 400, "Replicas= is for templates"),
    ],
)
async def test_texts_that_cannot_be_are_refused_with_the_line(
    fleet: World, text: bytes, status: int, words: str
) -> None:
    for query in ("", "?check=true"):
        found, why = await fleet.refused("PUT", f"{OWN}/units/a.service/text{query}", text)
        assert (found, words in why) == (status, True), why
    assert await fleet.unit("a.service") is None


async def test_a_check_stores_nothing(fleet: World) -> None:
    assert await fleet.good("PUT", f"{OWN}/units/a.service/text?check=true", ODD) != {"warnings": []}
    assert await fleet.unit("a.service") is None


# What is wanted


async def test_states_restarts_and_scale(fleet: World) -> None:
    await put(fleet, "a.service")
    assert (await fleet.refused("POST", f"{OWN}/units/a.service/restart"))[0] == 409
    await fleet.good("POST", f"{OWN}/units/a.service/state", {"desired": "launched"})
    assert await fleet.good("POST", f"{OWN}/units/a.service/restart") == {"restarted": 1}
    assert await fleet.good("POST", f"{OWN}/units/a.service/restart") == {"restarted": 2}
    assert (await fleet.refused("POST", f"{OWN}/units/a.service/scale", {"replicas": 3}))[0] == 400
    await put(fleet, "t@.service", TEMPLATE, "?desired=launched")
    await fleet.good("POST", f"{OWN}/units/t@.service/scale", {"replicas": 5})
    assert (await fleet.unit("t@.service")) == UnitRecord(digest(TEMPLATE), "launched", 5)
    for bad in ({"replicas": -1}, {"replicas": 10_001}, {"replicas": "3"}, {}, {"replicas": 1, "x": 1}):
        assert (await fleet.refused("POST", f"{OWN}/units/t@.service/scale", bad))[0] == 400
    await fleet.good("POST", f"{OWN}/units/t@.service/scale", {"replicas": None})
    assert (await fleet.refused("POST", f"{OWN}/units/b.service/restart"))[0] == 404
    assert (await fleet.refused("POST", f"{OWN}/units/a.service/dance"))[0] == 404
    assert (await fleet.refused("GET", f"{OWN}/units/a.service/restart"))[0] == 405
    await fleet.good("DELETE", f"{OWN}/units/a.service")
    assert await fleet.unit("a.service") is None


async def test_a_template_that_runs_keeps_its_number(fleet: World) -> None:
    """Without Replicas= only a number of its own lets a template run; that cannot be taken away while it does."""
    await put(fleet, "t@.service", HELLO)
    assert (await fleet.refused("POST", f"{OWN}/units/t@.service/state", {"desired": "launched"}))[0] == 400
    await fleet.good("POST", f"{OWN}/units/t@.service/scale", {"replicas": 2})
    await fleet.good("POST", f"{OWN}/units/t@.service/state", {"desired": "launched"})
    assert (await fleet.refused("POST", f"{OWN}/units/t@.service/scale", {"replicas": None}))[0] == 400


async def test_everybody_who_changes_one_unit_at_once_has_an_effect(fleet: World) -> None:
    await put(fleet, "a.service", query="?desired=launched")
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(fleet.good, "POST", f"{OWN}/units/a.service/restart")
    unit = await fleet.unit("a.service")
    assert unit is not None
    assert unit.restarted == 8


async def test_a_unit_shows_all_it_is_on(fleet: World) -> None:
    await put(fleet, "t@.service", TEMPLATE, "?desired=launched")
    await fleet.write(keys.placement(ONE, "t@1.service"), Placement(digest(TEMPLATE), "launched", "least loaded"))
    await fleet.write(keys.state(ONE, "t@1.service"), UnitState(digest(TEMPLATE), "loaded", "active", "running"))
    await fleet.write(keys.state(TWO, "gone.service"), UnitState("", "loaded", "active", "running"))
    found = await fleet.good("GET", f"{OWN}/units")
    names = ["gone.service", "t@.service", "t@1.service", "t@2.service"]
    assert [unit["name"] for unit in found["units"]] == names, "what waits for a machine is there, too"
    assert found["units"][3] == await fleet.good("GET", f"{OWN}/units/t@2.service")
    assert (found["units"][3]["of"], found["units"][3]["places"]) == ("t@.service", [])
    instance = await fleet.good("GET", f"{OWN}/units/t@1.service")
    assert (instance["of"], instance["desired"], len(instance["places"])) == ("t@.service", "launched", 1)
    place = instance["places"][0]
    assert (place["machine"], place["why"], place["state"]["sub"]) == (ONE, "least loaded", "running")
    assert (await fleet.ask("GET", f"{OWN}/units/t@1.service/text")).body == TEMPLATE
    assert found["units"][0]["desired"] == "inactive"
    for none in ("none.service", "t@3.service"):
        assert (await fleet.refused("GET", f"{OWN}/units/{none}"))[0] == 404
    await fleet.good("POST", f"{OWN}/units/t@.service/scale", {"replicas": 3})
    assert len((await fleet.good("GET", f"{OWN}/units"))["units"]) == 5
    await fleet.good("POST", f"{OWN}/units/t@.service/state", {"desired": "inactive"})
    assert len((await fleet.good("GET", f"{OWN}/units"))["units"]) == 3


# Machines


async def test_cordon_drain_uncordon(fleet: World) -> None:
    await fleet.write(keys.machine(ONE), Machine(ONE, "one", metadata={"az": "a"}))
    await fleet.write(keys.placement(ONE, "a.service"), Placement("x"))
    await fleet.write(keys.host(ONE), HostRecord({"az": "b"}))
    at = f"{OWN}/machines/{ONE}"
    await fleet.good("POST", f"{at}/cordon", {"why": "broken fan"})
    shown = (await fleet.good("GET", f"{OWN}/machines"))["machines"][0]
    assert (shown["cordoned"], shown["units"], shown["metadata"]) == ("broken fan", 1, {"az": "b"})
    await fleet.good("POST", f"{at}/drain", {"seconds": 60, "at_once": 2})
    host = records.decode(HostRecord, await fleet.store.get(keys.host(ONE)) or b"")
    assert host.drain is not None
    assert (host.drain.at_once, host.drain.deadline > 1_700_000_000, host.metadata) == (2, True, {"az": "b"})
    await fleet.good("POST", f"{at}/drain")
    host = records.decode(HostRecord, await fleet.store.get(keys.host(ONE)) or b"")
    assert host.drain == Drain(0, 1)
    await fleet.good("POST", f"{at}/uncordon")
    assert records.decode(HostRecord, await fleet.store.get(keys.host(ONE)) or b"") == HostRecord({"az": "b"})
    for verb, body, status in (
        ("dance", {}, 404),
        ("drain", {"at_once": 0}, 400),
        ("drain", {"seconds": -1}, 400),
        ("cordon", {"why": "a\nb"}, 400),
        ("cordon", {"why": "x" * 2000}, 400),
        ("cordon", {"reason": "x"}, 400),
    ):
        assert (await fleet.refused("POST", f"{at}/{verb}", body))[0] == status
    assert (await fleet.refused("POST", f"{OWN}/machines/{TWO}/cordon"))[0] == 404


# Rollouts


async def test_a_rollout_is_begun_and_steered(fleet: World) -> None:
    await put(fleet, "a.service", query="?desired=launched")
    at = f"{OWN}/rollouts/a.service"
    assert (await fleet.refused("POST", at, HELLO))[0] == 409  # the text it has
    assert (await fleet.refused("POST", f"{OWN}/rollouts/b.service", OTHER))[0] == 404
    assert (await fleet.refused("POST", f"{at}?max_parallel=0", OTHER))[0] == 400
    assert (await fleet.refused("POST", f"{at}?healthy_after=-1", OTHER))[0] == 400
    begun = await fleet.good("POST", f"{at}?max_parallel=3&healthy_after=7", OTHER)
    assert (begun["old"], begun["new"], begun["max_parallel"]) == (digest(HELLO), digest(OTHER), 3)
    assert begun["healthy_after"] == 7
    assert await fleet.store.get(keys.text(digest(OTHER))) == OTHER
    assert await fleet.unit("a.service") == UnitRecord(digest(OTHER), "launched")
    assert (await fleet.refused("POST", at, ODD))[0] == 409  # one at a time
    status, why = await fleet.refused("PUT", f"{OWN}/units/a.service/text?replace=true", ODD)
    assert (status, "rollout" in why) == (409, True)
    assert (await fleet.refused("POST", f"{at}/resume"))[0] == 409
    assert (await fleet.good("POST", f"{at}/pause"))["state"] == "paused"
    assert (await fleet.good("POST", f"{at}/resume"))["state"] == "running"
    assert (await fleet.good("POST", f"{at}/return"))["state"] == "returning"
    assert (await fleet.refused("POST", f"{at}/return"))[0] == 409
    assert (await fleet.refused("POST", f"{at}/dance"))[0] == 404
    assert (await fleet.good("GET", at))["state"] == "returning"
    await fleet.write(keys.rollout("a.service"), Rollout("o", "n", state="returned"))
    assert (await fleet.good("POST", at, ODD))["state"] == "running"
    assert list((await fleet.good("GET", f"{OWN}/rollouts"))["rollouts"]) == ["a.service"]
    await fleet.good("DELETE", f"{OWN}/units/a.service")
    assert (await fleet.refused("GET", at))[0] == 404


# Why


async def test_a_circle_is_refused(fleet: World) -> None:
    for one, two in (("a", "b"), ("b", "c")):
        await put(fleet, f"{one}.service", HELLO + f"[X-Fleet]\nMachineOf={two}.service\n".encode())
    text = HELLO + b"[X-Fleet]\nMachineOf=a.service\n"
    status, why = await fleet.refused("PUT", f"{OWN}/units/c.service/text", text)
    assert (status, "waits for" in why) == (400, True), why


async def test_why_it_is_where_it_is(fleet: World) -> None:
    await fleet.write(keys.machine(ONE), Machine(ONE, "one", metadata={"az": "a"}))
    await fleet.write(keys.machine(TWO), Machine(TWO, "two"))
    await put(fleet, "a.service", HELLO + b"[X-Fleet]\nMachineMetadata=az=b\n", "?desired=launched")
    found = await fleet.good("GET", f"{OWN}/units/a.service/explain", caller=READER)
    assert (found["desired"], found["placed"], len(found["verdicts"])) == ("launched", {}, 2)
    assert "machine" in found["waits_for"]
    assert not any(verdict["qualifies"] for verdict in found["verdicts"])
    await fleet.good("PATCH", "/fleet/v1/machines", [{"op": "add", "path": f"/{TWO}/metadata/az", "value": "b"}])
    found = await fleet.good("GET", f"{OWN}/units/a.service/explain")
    assert [verdict["machine"] for verdict in found["verdicts"] if verdict["qualifies"]] == [TWO]
    assert (await fleet.refused("GET", f"{OWN}/units/b.service/explain"))[0] == 404


# Events


async def test_events_are_told_as_they_happen(fleet: World) -> None:
    await put(fleet, "a.service")
    before = (await fleet.store.range(b"x")).revision
    came = trio.lowlevel.ParkingLot()

    def told_more() -> None:
        came.unpark_all()

    outlet = FakeOutlet(told_more)
    reply = Awaited()
    fleet.handler(Request(b"GET", b"/corenode/fleet/events", b"", (), b"", LOCAL), reply)
    assert reply.produce is not None
    produce = reply.produce

    async def told(number: int) -> list[Any]:
        with trio.fail_after(5):
            while outlet.body.count(b"\n") < number:
                await came.park()
        return [json.loads(line) for line in outlet.body.splitlines()]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(produce, outlet)
        assert await told(1) == [{"revision": before}]
        await fleet.good("POST", f"{OWN}/units/a.service/state", {"desired": "launched"})
        await fleet.write(keys.header(ONE), records.Generation("c"))
        await fleet.store.put(keys.LEADER + b"/1", b"node1")
        await fleet.store.put(b"/ordinary", b"1")
        await fleet.store.txn(
            then=[
                Put(keys.placement(ONE, "a.service"), records.encode(Placement("t", why="least loaded"))),
                Put(keys.machine(ONE), b"broken"),
            ]
        )
        await fleet.good("DELETE", f"{OWN}/units/a.service")
        lines = await told(6)
        nursery.cancel_scope.cancel()
    assert [(line["kind"], line["action"]) for line in lines[1:]] == [
        ("unit", "put"),
        ("leader", "put"),
        ("placement", "put"),
        ("machine", "put"),
        ("unit", "delete"),
    ]
    assert (lines[1]["now"]["desired"], lines[1]["before"].get("desired", "inactive")) == ("launched", "inactive")
    assert lines[2]["leader"] == "node1"
    assert lines[5]["before"]["desired"] == "launched"
    assert lines[3]["revision"] == lines[4]["revision"]


async def test_events_from_a_revision_on(fleet: World) -> None:
    first = (await fleet.store.put(b"/x")).revision
    await put(fleet, "a.service")
    await fleet.store.put(b"/x")
    outlet = FakeOutlet()
    reply = Awaited()
    fleet.handler(Request(b"GET", b"/corenode/fleet/events", b"since=%d" % first, (), b"", LOCAL), reply)
    assert reply.produce is not None
    with trio.move_on_after(5) as scope:
        outlet._on_send = lambda: scope.cancel() if outlet.body.count(b"\n") == 2 else None
        await reply.produce(outlet)
    assert [json.loads(line).get("unit") for line in outlet.body.splitlines()] == [None, "a.service"]
    await fleet.store.compact((await fleet.store.range(b"x")).revision)
    assert (await fleet.refused("GET", f"{OWN}/events?since={first}"))[0] == 410
    assert (await fleet.refused("GET", f"{OWN}/events?since=x"))[0] == 400


# Who


async def test_who_may(fleet: World) -> None:
    reading = ("/units", "/units/a.service", "/units/a.service/text", "/machines", "/rollouts", "/rollouts/a.service")
    for path in (*reading, "/events"):
        assert (await fleet.refused("GET", OWN + path, caller=ANYONE))[0] == 403
    for path in reading:
        assert (await fleet.ask("GET", OWN + path, caller=READER)).status in (200, 404)
    changing = [("PUT", "/units/a.service/text"), ("DELETE", "/units/a.service"), ("POST", f"/machines/{ONE}/cordon")]
    changing += [("POST", f"/units/a.service/{verb}") for verb in ("state", "restart", "scale")]
    changing += [("POST", "/rollouts/a.service"), ("POST", "/rollouts/a.service/pause")]
    changing += [("GET", "/units/a.service/logs"), ("GET", "/units/a.service/status")]
    for caller in (ANYONE, READER, Caller("a:1", certificate=certificate(ONE, "corenode:host"))):
        for method, path in changing:
            assert (await fleet.refused(method, OWN + path, caller=caller))[0] == 403


async def test_too_many_at_once_are_turned_away(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.api.fleet.service.MOST", 0)
    assert (await fleet.refused("GET", f"{OWN}/units"))[0] == 503
    monkeypatch.setattr("core.api.fleet.service.STREAMS", 0)
    assert (await fleet.refused("GET", f"{OWN}/events"))[0] == 503


async def test_what_a_host_makes_up_hides_no_units(fleet: World) -> None:
    """A host writes below its own states whatever it likes."""
    await fleet.good("PUT", "/corenode/fleet/units/web.service/text", HELLO)
    for name in ("garbage", "a/b", "@.x"):
        await fleet.write(keys.state(ONE, name), UnitState())
    await fleet.store.put(keys.states(ONE) + b"\xff\n.service", b"{}")
    for path in ("/corenode/fleet/units", "/fleet/v1/units"):
        assert [unit["name"] for unit in (await fleet.good("GET", path))["units"]] == ["web.service"]
    assert await fleet.good("GET", "/fleet/v1/state") == {}
