"""fleet's API v1: every answer and refusal of its reference, over a real store."""

import base64
import json
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.api.fleet.shapes import shape_of
from core.api.http.message import Caller
from core.client.errors import UnavailableError
from core.sched import keys
from core.sched.records import HostRecord, Machine, Placement, UnitRecord, UnitState
from core.sched.unit_text import digest
from tests.auth.support import certificate
from tests.fleet.world import HELLO, ONE, TWO, World, option, world
from tests.v2.fakes import ANYONE

UNITS, STATE, MACHINES = "/fleet/v1/units", "/fleet/v1/state", "/fleet/v1/machines"
FLEET = "X-Fleet"
OPTIONS = [option("ExecStart", "/bin/sleep 9")]
OPERATOR = Caller("a:1", certificate=certificate("olga", "corenode:operator"))
READER = Caller("a:1", certificate=certificate("rita", "corenode:reader"))


@pytest.fixture
async def fleet() -> AsyncIterator[World]:
    async with world() as found:
        yield found


def token(limit: int, page: int) -> str:
    return base64.urlsafe_b64encode(struct.pack("<HH", limit, page)).decode()


async def submit(fleet: World, name: str, desired: str = "inactive", *options: dict[str, str]) -> None:
    answer = await fleet.ask("PUT", f"{UNITS}/{name}", {"desiredState": desired, "options": list(options) or OPTIONS})
    assert answer.status == 201, answer


# Units


async def test_a_unit_is_made_read_changed_and_forgotten(fleet: World) -> None:
    await submit(fleet, "hello.service")
    found = await fleet.good("GET", f"{UNITS}/hello.service")
    assert found == {
        "name": "hello.service",
        "options": OPTIONS,
        "desiredState": "inactive",
        "currentState": "inactive",
    }
    answer = await fleet.ask("PUT", f"{UNITS}/hello.service", {"desiredState": "launched"})
    assert (answer.status, answer.body) == (204, b"")
    assert await fleet.unit("hello.service") == UnitRecord(digest(HELLO), "launched")
    # The same options again are no change, others are.
    same = {"desiredState": "loaded", "options": OPTIONS, "name": "hello.service"}
    assert (await fleet.ask("PUT", f"{UNITS}/hello.service", same)).status == 204
    other = {"desiredState": "launched", "options": [option("ExecStart", "/bin/true")]}
    assert (await fleet.ask("PUT", f"{UNITS}/hello.service", other)).status == 201
    text = b"[Service]\nExecStart=/bin/true\n"
    assert await fleet.unit("hello.service") == UnitRecord(digest(text), "launched")
    assert await fleet.store.get(keys.text(digest(text))) == text
    assert (await fleet.ask("DELETE", f"{UNITS}/hello.service")).status == 204
    assert await fleet.refused("GET", f"{UNITS}/hello.service") == (404, "unit does not exist")
    assert await fleet.refused("DELETE", f"{UNITS}/hello.service") == (404, "unit does not exist")


@pytest.mark.parametrize(
    ("name", "body", "status", "words"),
    [
        ("new.service", {"desiredState": "launched"}, 409, "options field empty"),
        ("there.service", {"options": OPTIONS}, 409, "must provide DesiredState"),
        ("there.service", {"desiredState": "running"}, 400, "is no state"),
        ("a.service", {"name": "b.service", "options": OPTIONS}, 400, "differs from unit name"),
        ("a.service", b"{", 400, "unable to decode body"),
        ("a.service", b'{"options": 3}', 400, "unable to decode body"),
        ("a.service", b"[" * 100_000, 400, "unable to decode body"),
        ("a", {"options": OPTIONS}, 400, "does not end in a type"),
        ("@a.service", {"options": OPTIONS}, 400, "nothing before its @"),
        ("..%2Fa.service", {"options": OPTIONS}, 400, "characters"),
        ("a%00.service", {"options": OPTIONS}, 400, "characters"),
        ("%ff.service", {"options": OPTIONS}, 400, "UTF-8"),
        ("t@.service", {"options": OPTIONS, "desiredState": "launched"}, 400, "cannot activate template"),
        ("a.service", {"options": [option("MachineID", ONE, FLEET), option("Global", "true", FLEET)]}, 400, "cannot"),
        ("a.service", {"options": [option("MachineOf", "a.service", FLEET)]}, 400, "wait for itself"),
        ("a.service", {"options": [option("Ex\nec", "x")]}, 400, "no section and option"),
        ("a.service", {"options": [option("Environment", "x" * (1 << 20))]}, 413, "at most"),
        ("a.service", {"options": [option("Environment", "\0")]}, 400, "NUL"),
    ],
)  # fmt: skip
async def test_what_cannot_be_is_refused_with_the_reason(
    fleet: World, name: str, body: Any, status: int, words: str
) -> None:
    await submit(fleet, "there.service")
    revision = (await fleet.store.range(b"x")).revision
    found, why = await fleet.refused("PUT", f"{UNITS}/{name}", body)
    assert (found, words in why) == (status, True), why
    assert (await fleet.store.range(b"x")).revision == revision


async def test_only_json_is_taken(fleet: World) -> None:
    for kind in ((), ((b"content-type", b"text/plain"),)):
        status, why = await fleet.refused("PUT", f"{UNITS}/a.service", {"options": OPTIONS}, headers=kind)
        assert (status, "application/json" in why) == (415, True)
    with_charset = ((b"content-type", b"application/json; charset=utf-8"),)
    assert (await fleet.ask("PUT", f"{UNITS}/a.service", {"options": OPTIONS}, headers=with_charset)).status == 201


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/units", 405),
        ("DELETE", "/units", 405),
        ("POST", "/units/a.service", 405),
        ("GET", "/units/", 404),
        ("GET", "/units/a/b", 404),
        ("PUT", "/state", 405),
        ("DELETE", "/machines", 405),
        ("POST", "/discovery", 400),
        ("GET", "/nothing", 404),
        ("GET", "", 404),
    ],
)
@pytest.mark.parametrize("base", ["/fleet/v1", "/v1-alpha"])
async def test_other_methods_and_paths(fleet: World, base: str, method: str, path: str, status: int) -> None:
    assert (await fleet.refused(method, base + path))[0] == status


async def test_a_template_that_keeps_instances_can_be_launched(fleet: World) -> None:
    await submit(fleet, "t@.service", "launched", *OPTIONS, option("Replicas", "2", FLEET))
    await fleet.write(keys.placement(ONE, "t@1.service"), Placement((await fleet.unit("t@.service")).text))  # type: ignore[union-attr]
    found = await fleet.good("GET", f"{UNITS}/t@1.service")
    assert (found["name"], found["desiredState"], found["machineID"]) == ("t@1.service", "launched", ONE)
    status, why = await fleet.refused("DELETE", f"{UNITS}/t@1.service")
    assert (status, "scale that" in why) == (404, True)
    assert "currentState" not in await fleet.good("GET", f"{UNITS}/t@.service")


async def test_where_it_is_and_how_far_it_has_come(fleet: World) -> None:
    await submit(fleet, "hello.service", "launched")
    placed = keys.placement(ONE, "hello.service")

    async def shown() -> tuple[str, str]:
        found = await fleet.good("GET", f"{UNITS}/hello.service")
        return found.get("machineID", ""), found["currentState"]

    assert await shown() == ("", "inactive")
    await fleet.write(placed, Placement(digest(HELLO), "loaded"))
    assert await shown() == (ONE, "inactive")
    await fleet.write(keys.state(ONE, "hello.service"), UnitState(digest(HELLO), "loaded", "inactive", "dead"))
    assert await shown() == (ONE, "loaded")
    await fleet.write(placed, Placement(digest(HELLO), "launched"))
    assert await shown() == (ONE, "launched")
    await submit(fleet, "all.service", "launched", *OPTIONS, option("Global", "true", FLEET))
    found = await fleet.good("GET", f"{UNITS}/all.service")
    assert set(found) == {"name", "options", "desiredState"}


# Pages


async def test_pages(fleet: World) -> None:
    await fleet.store.put(keys.text(digest(HELLO)), HELLO)
    for number in range(200):
        await fleet.write(keys.unit(f"u{number:03}.service"), UnitRecord(digest(HELLO)))
    first = await fleet.good("GET", UNITS)
    assert len(first["units"]) == 100
    assert first["nextPageToken"] == token(100, 2) == "ZAACAA=="
    # Units that come between two pages shift nothing.
    await fleet.write(keys.unit("a.service"), UnitRecord(digest(HELLO)))
    second = await fleet.good("GET", f"{UNITS}?nextPageToken=ZAACAA%3D%3D")
    assert [unit["name"] for unit in first["units"] + second["units"]] == [f"u{n:03}.service" for n in range(200)]
    assert second["nextPageToken"] == token(100, 3)
    assert await fleet.good("GET", f"{UNITS}?nextPageToken={token(100, 3)}") == {}
    assert (await fleet.good("GET", UNITS))["units"][0]["name"] == "a.service"


@pytest.mark.parametrize(
    "query",
    [
        f"nextPageToken={token(50, 1)}",
        f"nextPageToken={token(100, 0)}",
        "nextPageToken=x",
        "nextPageToken=ZAACAA%3D%3D&nextPageToken=ZAACAA%3D%3D",
        "nextPageToken=%ff",
    ],
)
@pytest.mark.parametrize("path", [UNITS, STATE, MACHINES])
async def test_tokens_that_are_none(fleet: World, path: str, query: str) -> None:
    assert (await fleet.refused("GET", f"{path}?{query}"))[0] == 400


async def test_an_empty_cluster_lists_nothing(fleet: World) -> None:
    for path in (UNITS, STATE, MACHINES):
        assert await fleet.good("GET", path) == {}


# State


async def test_states(fleet: World) -> None:
    await fleet.store.put(keys.text(digest(HELLO)), HELLO)
    for machine in (TWO, ONE):
        await fleet.write(keys.state(machine, "b.service"), UnitState(digest(HELLO), "loaded", "active", "running"))
    await fleet.write(keys.state(TWO, "a.service"), UnitState("", "not-found", "inactive", "dead"))
    found = (await fleet.good("GET", STATE))["states"]
    assert [(state["name"], state["machineID"]) for state in found] == [
        ("a.service", TWO),
        ("b.service", ONE),
        ("b.service", TWO),
    ]
    assert found[1] == {
        "name": "b.service",
        "hash": shape_of(HELLO).sha1,
        "machineID": ONE,
        "systemdLoadState": "loaded",
        "systemdActiveState": "active",
        "systemdSubState": "running",
    }
    assert len((await fleet.good("GET", f"{STATE}?unitName=b.service"))["states"]) == 2
    assert len((await fleet.good("GET", f"{STATE}?machineID={TWO}"))["states"]) == 2
    assert len((await fleet.good("GET", f"{STATE}?machineID={TWO}&unitName=a.service"))["states"]) == 1
    assert await fleet.good("GET", f"{STATE}?unitName=c.service") == {}
    assert await fleet.good("GET", f"{STATE}/b.service") == found[1]
    assert (await fleet.refused("GET", f"{STATE}/c.service"))[0] == 404


# Machines


async def test_machines_and_their_metadata(fleet: World) -> None:
    await fleet.write(keys.machine(ONE), Machine(ONE, address="10.0.0.1", metadata={"az": "a", "disk": "ssd"}))
    await fleet.write(keys.machine(TWO), Machine(TWO))
    assert await fleet.good("GET", MACHINES) == {
        "machines": [{"id": ONE, "primaryIP": "10.0.0.1", "metadata": {"az": "a", "disk": "ssd"}}, {"id": TWO}]
    }
    changes = [
        {"op": "replace", "path": f"/{ONE}/metadata/az", "value": {"value": "b"}},
        {"op": "remove", "path": f"/{ONE}/metadata/disk"},
        {"op": "add", "path": f"/{TWO}/metadata/rack", "value": "r1"},
        {"op": "add", "path": f"/{'3' * 32}/metadata/rack", "value": "r2"},
    ]
    assert (await fleet.ask("PATCH", MACHINES, changes)).status == 204
    found = (await fleet.good("GET", MACHINES))["machines"]
    assert [machine.get("metadata") for machine in found] == [{"az": "b"}, {"rack": "r1"}]
    await fleet.write(keys.machine("3" * 32), Machine("3" * 32, metadata={"az": "c"}))
    found = (await fleet.good("GET", MACHINES))["machines"]
    assert found[2]["metadata"] == {"az": "c", "rack": "r2"}
    assert (await fleet.ask("PATCH", MACHINES, [])).status == 204


@pytest.mark.parametrize(
    "change",
    [
        {"op": "move", "path": f"/{ONE}/metadata/az", "value": "b"},
        {"op": "add", "path": f"/{ONE}/metadata/az"},
        {"op": "add", "path": f"/{ONE}/metadata/az", "value": {"value": ""}},
        {"op": "add", "path": f"/{ONE}/metadata/a=b", "value": "x"},
        {"op": "add", "path": f"/{ONE}/metadata/a/b", "value": "x"},
        {"op": "add", "path": "/../metadata/a", "value": "x"},
        {"op": "add", "path": f"/{ONE}/metadata/az", "value": "a\nb"},
        {"op": "add", "path": f"/{ONE}/metadata/az", "value": 7},
        {"path": f"/{ONE}/metadata/az"},
    ],
)
async def test_changes_of_metadata_that_are_none(fleet: World, change: object) -> None:
    good = {"op": "add", "path": f"/{ONE}/metadata/ok", "value": "x"}
    assert (await fleet.refused("PATCH", MACHINES, [good, change]))[0] == 400
    assert await fleet.store.get(keys.host(ONE)) is None


async def test_cordons_outlive_a_change_of_metadata(fleet: World) -> None:
    await fleet.write(keys.host(ONE), HostRecord({"a": "1"}, "broken fan"))
    change = {"op": "replace", "path": f"/{ONE}/metadata/a", "value": "2"}
    assert (await fleet.ask("PATCH", MACHINES, [change])).status == 204
    found = await fleet.store.get(keys.host(ONE))
    assert found is not None
    assert json.loads(found) == {"metadata": {"a": "2"}, "cordoned": "broken fan"}


# The rest


async def test_the_discovery_document_names_what_is_served(fleet: World) -> None:
    for base in ("/fleet/v1", "/v1-alpha"):
        found = await fleet.good("GET", f"{base}/discovery", caller=ANYONE)
        assert found["basePath"] == f"{base}/"
        methods = [method for each in found["resources"].values() for method in each["methods"].values()]
        assert len(methods) == 8
        for method in methods:
            path = method["path"].replace("{unitName}", "a.service")
            answer = await fleet.ask(method["httpMethod"], f"{base}/{path}")
            assert answer.status not in (404, 405) or b"is known" in answer.body or b"unit does not" in answer.body


async def test_who_may(fleet: World) -> None:
    body = {"options": OPTIONS, "desiredState": "inactive"}
    for path in (UNITS, STATE, MACHINES, f"{UNITS}/a.service", f"{STATE}/a.service"):
        assert (await fleet.refused("GET", path, caller=ANYONE))[0] == 403
        assert (await fleet.ask("GET", path, caller=READER)).status in (200, 404)
    for caller in (ANYONE, READER, Caller("a:1", certificate=certificate(ONE, "corenode:host"))):
        assert (await fleet.refused("PUT", f"{UNITS}/a.service", body, caller=caller))[0] == 403
        assert (await fleet.refused("DELETE", f"{UNITS}/a.service", caller=caller))[0] == 403
        assert (await fleet.refused("PATCH", MACHINES, [], caller=caller))[0] == 403
    assert (await fleet.ask("PUT", f"{UNITS}/a.service", body, caller=OPERATOR)).status == 201


async def test_a_store_that_does_not_answer(fleet: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object, **__: object) -> None:
        raise UnavailableError(503, 14, "no leader")

    monkeypatch.setattr(fleet.store, "execute", away)
    for method, path in (
        ("GET", UNITS),
        ("GET", MACHINES),
        ("GET", f"{STATE}/a.service"),
        ("DELETE", f"{UNITS}/a.service"),
    ):
        assert await fleet.refused(method, path) == (503, "the store does not answer: no leader")
