"""Who may do what with the reserved keys at the door of v3: each kind of caller, each kind of request."""

import json
from typing import Any

import pytest

from core.api.access.reserve import RELAYED
from core.api.http.message import Caller, Request
from core.kv.access import Permission, Right, prefix_end
from core.kv.commands import Admitted, AuthSwitch, LeaseGrant, Put, RoleCreate, UserCreate
from core.kv.reserved import FLEET_PREFIX, UPDATE_PREFIX
from tests.auth.support import certificate
from tests.v2.fakes import ANYONE, LOCAL, FakeOutlet, FakeReply
from tests.v3.client import _written, plain
from tests.v3.watching import Watched

MACHINE, ELSE = "a" * 32, "b" * 32
UNIT = FLEET_PREFIX + b"units/a.service"
TEXT = FLEET_PREFIX + b"texts/00ff"
OWN = FLEET_PREFIX + b"placements/" + MACHINE.encode() + b"/a.service"
OTHERS = FLEET_PREFIX + b"placements/" + ELSE.encode() + b"/a.service"
STATE = FLEET_PREFIX + b"states/" + MACHINE.encode() + b"/a.service"
OTHERS_STATE = FLEET_PREFIX + b"states/" + ELSE.encode() + b"/a.service"
PRESENCE = FLEET_PREFIX + b"machines/" + MACHINE.encode()
OTHERS_PRESENCE = FLEET_PREFIX + b"machines/" + ELSE.encode()
FLEET_END, UPDATE_END = map(prefix_end, (FLEET_PREFIX, UPDATE_PREFIX))
CHANNEL, GROUP = UPDATE_PREFIX + b"channels/stable", UPDATE_PREFIX + b"groups/default"
OFFER, OTHERS_OFFER = (UPDATE_PREFIX + b"offers/" + each.encode() for each in (MACHINE, ELSE))
REPORT, OTHERS_REPORT = (UPDATE_PREFIX + b"reports/" + each.encode() for each in (MACHINE, ELSE))
ALIVE, OTHERS_ALIVE = (UPDATE_PREFIX + b"alive/" + each.encode() for each in (MACHINE, ELSE))
UPDATES = (CHANNEL, GROUP, OFFER, OTHERS_OFFER, REPORT, OTHERS_REPORT, ALIVE, OTHERS_ALIVE)
KEYS = (UNIT, TEXT, OWN, OTHERS, STATE, OTHERS_STATE, PRESENCE, OTHERS_PRESENCE)


def shown(name: str, *organisations: str) -> Caller:
    return Caller("10.0.0.9:4711", certificate=certificate(name, *organisations))


OPERATOR = shown("olga", "corenode:operator")
ADMIN = shown("ada", "corenode:admin")
HOST = shown(MACHINE, "corenode:host")
STRANGERS = {
    "anybody": ANYONE,
    "a plain client": shown("alice"),
    "a reader": shown("rita", "corenode:reader"),
    "a client with the name of a host": shown(MACHINE),
    "a host whose name is no machine id": shown("../x", "corenode:host"),
}
STRANGER = pytest.mark.parametrize("caller", STRANGERS.values(), ids=STRANGERS)


class World(Watched):
    def __init__(self) -> None:
        super().__init__()
        for key in (b"/ordinary", *KEYS, *UPDATES):
            self.do(Put(key, b"1"))

    def write(self, *commands: Put | LeaseGrant) -> None:
        """Apply commands from inside."""
        switch = self.gate.switch
        for command in commands:
            done = self.do(Admitted(switch.revision, command) if switch.enabled else command)
            assert not isinstance(done[0], Exception), done

    def say(self, caller: Caller, path: str, body: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> FakeReply:
        reply = FakeReply()
        data = json.dumps(_written(body)).encode()
        self.handlers[path](Request(b"POST", f"/v3/{path}".encode(), b"", headers, data, caller), reply)
        return reply

    def status(self, caller: Caller, path: str, body: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> int:
        return self.say(caller, path, body, headers).sent.status

    def good(self, caller: Caller, path: str, body: object, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Any:
        sent = self.say(caller, path, body, headers).sent
        assert sent.status == 200, sent
        return json.loads(sent.body)

    def names(self, caller: Caller, key: bytes, end: bytes = b"") -> list[bytes]:
        answer = self.good(caller, "kv/range", {"key": key, "range_end": end})
        found = [plain(kv["key"]) for kv in answer.get("kvs", [])]
        counted = self.good(caller, "kv/range", {"key": key, "range_end": end, "count_only": True})
        assert answer.get("count", "0") == counted.get("count", "0") == str(len(found))
        return found

    async def errand(self, caller: Caller, path: str, body: object) -> tuple[int, bytes]:
        reply, outlet = self.say(caller, path, body), FakeOutlet()
        assert reply.produce is not None
        await reply.produce(outlet)
        return outlet.status, outlet.body

    def watch_all(self, caller: Caller, key: bytes, end: bytes) -> "Ear":
        ear = Ear()
        reply = self.say(caller, "watch", {})
        reply.talk.begin(ear)
        ear.talk = reply.talk
        create = {"create_request": {"key": key, "range_end": end}}
        reply.talk.received(json.dumps(_written(create)).encode(), last=False)
        return ear


class Ear:
    """A connection on which a watch tells."""

    begun = free = True

    def __init__(self) -> None:
        self.said: list[bytes] = []
        self.talk: Any = None

    def start(self, status: int, headers: bytes) -> None: ...

    def wake_in(self, seconds: float) -> None: ...

    def wake(self) -> None: ...

    def end(self) -> None: ...

    def send(self, *pieces: bytes) -> None:
        self.said += pieces

    def heard(self) -> list[bytes]:
        """The keys of events."""
        self.talk.ready()
        lines = [json.loads(piece)["result"] for piece in self.said]
        return [plain(event["kv"]["key"]) for line in lines for event in line.get("events", [])]


@pytest.fixture(params=["free", "restricted"])
def world(request: pytest.FixtureRequest) -> World:
    world = World()
    if request.param == "restricted":
        everything = (Permission(Right.READWRITE, b"\0", b"\0"),)
        world.do(UserCreate("root", "h"), RoleCreate("guest", everything), RoleCreate("all", everything))
        world.do(UserCreate("alice", None, ("all",)), UserCreate("olga", None, ("all",)))
        world.do(UserCreate("rita", None, ("all",)), AuthSwitch(True))
    return world


# Strangers


@STRANGER
def test_to_strangers_they_are_not_there(world: World, caller: Caller) -> None:
    assert world.names(caller, b"\0", b"\0") == [b"/ordinary"]
    assert world.names(caller, FLEET_PREFIX, FLEET_END) == []
    assert world.names(caller, FLEET_PREFIX, b"\0") == []
    assert world.names(caller, UPDATE_PREFIX, UPDATE_END) == []
    assert world.names(caller, UNIT) == world.names(caller, CHANNEL) == []
    every = {"key": FLEET_PREFIX, "range_end": FLEET_END}
    txn = {
        "compare": [{"key": UNIT, "target": "VERSION", "version": 0, "result": "EQUAL"}],
        "success": [{"request_range": every}],
        "failure": [{"request_range": every}],
    }
    answer = world.good(caller, "kv/txn", {**txn, "success": [{"request_txn": txn}]})
    assert answer["succeeded"] is True
    assert UNIT not in str(answer).encode()
    assert "kvs" not in str(answer)
    assert world.good(caller, "kv/deleterange", {"key": b"\0", "range_end": b"\0", "prev_kv": True})["deleted"] == "1"
    assert world.names(LOCAL, FLEET_PREFIX, FLEET_END) == sorted(KEYS)


@STRANGER
def test_strangers_write_none_of_them(world: World, caller: Caller) -> None:
    put, delete = {"key": UNIT, "value": b"2"}, {"key": FLEET_PREFIX, "range_end": FLEET_END}
    assert world.status(caller, "kv/put", put) == 403
    assert world.status(caller, "kv/put", {"key": FLEET_PREFIX + b"units/new"}) == 403
    assert world.status(caller, "kv/put", {"key": CHANNEL}) == 403
    assert world.status(caller, "kv/deleterange", delete) == 403
    for inner in ({"request_put": put}, {"request_delete_range": delete}):
        assert world.status(caller, "kv/txn", {"success": [inner]}) == 403
        assert world.status(caller, "kv/txn", {"failure": [{"request_txn": {"success": [inner]}}]}) == 403
    assert world.names(LOCAL, FLEET_PREFIX, FLEET_END) == sorted(KEYS)


@STRANGER
async def test_strangers_hear_nothing_of_them(world: World, caller: Caller) -> None:
    ears = [world.watch_all(caller, *keys) for keys in ((b"\0", b"\0"), (FLEET_PREFIX, FLEET_END), (UNIT, b""))]
    known = world.watch_all(LOCAL, FLEET_PREFIX, FLEET_END)
    world.write(Put(UNIT, b"3"))
    world.write(Put(b"/ordinary", b"3"))
    assert [ear.heard() for ear in ears] == [[b"/ordinary"], [], []]
    assert known.heard() == [UNIT]


@STRANGER
def test_strangers_do_not_touch_the_lease_of_a_host(world: World, caller: Caller) -> None:
    world.write(LeaseGrant(7, 60))
    world.write(Put(STATE, b"", 7))
    assert world.status(caller, "lease/revoke", {"ID": 7}) == 403
    assert world.status(caller, "lease/keepalive", {"ID": 7}) == 403
    assert "keys" not in world.good(caller, "lease/timetolive", {"ID": 7, "keys": True})
    assert len(world.good(LOCAL, "lease/timetolive", {"ID": 7, "keys": True})["keys"]) == 1


@STRANGER
async def test_strangers_do_not_queue_among_them(world: World, caller: Caller) -> None:
    name = FLEET_PREFIX + b"leader"
    for path, body in (
        ("lock/lock", {"name": name}),
        ("lock/unlock", {"key": UNIT}),
        ("election/campaign", {"name": name}),
        ("election/leader", {"name": name}),
        ("election/observe", {"name": name}),
        ("election/resign", {"leader": {"name": name, "key": UNIT, "rev": 2}}),
    ):
        status, told = await world.errand(caller, path, body)
        assert (status, b"permission denied" in told) == (500, True), path
    assert world.names(LOCAL, FLEET_PREFIX, FLEET_END) == sorted(KEYS)


# Those who may


@pytest.mark.parametrize(
    "caller", [LOCAL, OPERATOR, shown("ada", "corenode:admin")], ids=["socket", "operator", "admin"]
)
async def test_operators_have_them_all(world: World, caller: Caller) -> None:
    assert world.names(caller, b"\0", b"\0") == [b"/ordinary"]
    assert world.names(caller, FLEET_PREFIX, FLEET_END) == sorted(KEYS)
    assert world.names(caller, UPDATE_PREFIX, UPDATE_END) == sorted(UPDATES)
    ear = world.watch_all(caller, FLEET_PREFIX, FLEET_END)
    world.good(caller, "kv/put", {"key": UNIT, "value": b"2", "prev_kv": True})
    compare = [{"key": UNIT, "target": "VERSION", "version": 2, "result": "EQUAL"}]
    assert world.good(caller, "kv/txn", {"compare": compare, "success": [{"request_put": {"key": UNIT}}]})["succeeded"]
    assert ear.heard() == [UNIT, UNIT]
    status, _ = await world.errand(caller, "lock/lock", {"name": FLEET_PREFIX + b"leader"})
    assert status == 200
    world.write(LeaseGrant(7, 60))
    world.write(Put(STATE, b"", 7))
    assert world.status(caller, "lease/keepalive", {"ID": 7}) == 200
    assert world.status(caller, "lease/revoke", {"ID": 7}) == 200
    assert STATE not in world.names(caller, FLEET_PREFIX, FLEET_END)


async def test_a_host_has_its_own_part(world: World) -> None:
    for read in (TEXT, OWN, STATE, PRESENCE, CHANNEL, GROUP, OFFER, REPORT, ALIVE):
        assert world.names(HOST, read) == [read]
    assert world.names(HOST, OWN[: -len(b"a.service")], OWN + b"\xff") == [OWN]
    assert world.names(HOST, FLEET_PREFIX + b"hosts/" + MACHINE.encode()) == []
    ear = world.watch_all(HOST, OWN[: -len(b"a.service")], OWN + b"\xff")
    world.write(Put(OWN), Put(OTHERS))
    assert ear.heard() == [OWN]
    absent = {"key": PRESENCE, "target": "VERSION", "version": 1, "result": "EQUAL"}
    txn = {"compare": [absent], "success": [{"request_put": {"key": PRESENCE, "prev_kv": True}}]}
    assert world.good(HOST, "kv/txn", txn)["succeeded"]
    for key in (STATE, REPORT, ALIVE):
        assert world.good(HOST, "kv/put", {"key": key})
    assert world.names(HOST, UPDATE_PREFIX + b"channels/", UPDATE_PREFIX + b"channels0") == [CHANNEL]
    assert world.good(HOST, "kv/deleterange", {"key": STATE})["deleted"] == "1"


async def test_a_host_lists_no_texts(world: World) -> None:
    """It may ask for one whose hash it was told; those of units elsewhere may hold secrets."""
    for end in (TEXT + b"\xff", FLEET_PREFIX + b"texts0"):
        for start in (TEXT, FLEET_PREFIX + b"texts/"):
            assert world.status(HOST, "kv/range", {"key": start, "range_end": end}) == 403
            assert b"PermissionDenied" in b"".join(world.watch_all(HOST, start, end).said)


@pytest.mark.parametrize(
    "key",
    [
        *(UNIT, OTHERS, OTHERS_STATE, OTHERS_PRESENCE, FLEET_PREFIX + b"leader/1", PRESENCE + b"0"),
        *(OTHERS_OFFER, OTHERS_REPORT, OTHERS_ALIVE, UPDATE_PREFIX + b"leader/1", REPORT + b"0"),
    ],
)
async def test_a_host_has_nothing_of_others(world: World, key: bytes) -> None:
    assert world.status(HOST, "kv/range", {"key": key}) == 403
    assert world.status(HOST, "kv/put", {"key": key}) == 403
    assert world.status(HOST, "kv/deleterange", {"key": key}) == 403
    assert world.status(HOST, "kv/txn", {"success": [{"request_range": {"key": key}}]}) == 403
    assert b"PermissionDenied" in b"".join(world.watch_all(HOST, key, b"").said)


@pytest.mark.parametrize(
    "key", [UNIT, OWN, FLEET_PREFIX + b"hosts/" + MACHINE.encode(), FLEET_PREFIX + b"texts/0", CHANNEL, GROUP, OFFER]
)
def test_a_host_does_not_write_what_it_reads(world: World, key: bytes) -> None:
    assert world.status(HOST, "kv/put", {"key": key}) == 403
    assert world.status(HOST, "kv/deleterange", {"key": key}) == 403


def test_a_host_does_not_read_or_delete_beyond_its_part(world: World) -> None:
    for start in (FLEET_PREFIX, OWN, STATE, PRESENCE):
        assert world.status(HOST, "kv/range", {"key": start, "range_end": FLEET_END}) == 403
        assert world.status(HOST, "kv/deleterange", {"key": start, "range_end": b"\0"}) == 403
    for start in (UPDATE_PREFIX, CHANNEL, OFFER, REPORT):
        assert world.status(HOST, "kv/range", {"key": start, "range_end": UPDATE_END}) == 403
        assert world.status(HOST, "kv/deleterange", {"key": start, "range_end": b"\0"}) == 403
    assert world.names(LOCAL, FLEET_PREFIX, FLEET_END) == sorted(KEYS)


def test_a_host_keeps_its_own_lease_and_ends_no_other(world: World) -> None:
    world.write(LeaseGrant(7, 60), LeaseGrant(8, 60))
    assert world.status(HOST, "kv/put", {"key": STATE, "lease": 7}) == 200
    assert world.status(HOST, "kv/put", {"key": PRESENCE, "lease": 7}) == 200
    assert world.status(HOST, "kv/put", {"key": ALIVE, "lease": 7}) == 200
    world.write(Put(OTHERS_STATE, b"", 8))
    assert world.status(HOST, "lease/keepalive", {"ID": 7}) == 200
    assert world.status(HOST, "lease/keepalive", {"ID": 8}) == 403
    assert len(world.good(HOST, "lease/timetolive", {"ID": 7, "keys": True})["keys"]) == 3
    assert "keys" not in world.good(HOST, "lease/timetolive", {"ID": 8, "keys": True})
    assert world.status(HOST, "lease/revoke", {"ID": 8}) == 403
    assert world.status(HOST, "lease/revoke", {"ID": 7}) == 200


@pytest.mark.parametrize("others", [OTHERS_PRESENCE, OTHERS_ALIVE])
def test_nothing_is_hung_on_the_lease_of_another_host(world: World, others: bytes) -> None:
    """Or else that host could not renew it any more, and would count as gone."""
    world.write(LeaseGrant(8, 60))
    world.write(Put(others, b"", 8))
    put = {"key": STATE, "lease": 8}
    assert world.status(HOST, "kv/put", put) == 403
    assert world.status(HOST, "kv/txn", {"success": [{"request_put": put}]}) == 403
    assert world.status(ANYONE, "kv/put", {"key": b"/mine", "lease": 8}) == 403
    assert world.status(shown(ELSE, "corenode:host"), "lease/keepalive", {"ID": 8}) == 200


def test_what_a_worker_passes_on_has_nothing_of_its_host(world: World) -> None:
    mark = ((RELAYED, b"1"),)
    for key in KEYS:
        assert "kvs" not in world.good(HOST, "kv/range", {"key": key}, mark)
        assert world.status(HOST, "kv/put", {"key": key}, mark) == 403
    world.write(LeaseGrant(7, 60))
    world.write(Put(STATE, b"", 7))
    assert world.status(HOST, "lease/keepalive", {"ID": 7}, mark) == 403


def test_a_host_is_guest_to_ordinary_keys() -> None:
    world = World()
    world.do(UserCreate("root", "h"), UserCreate(MACHINE, None, ("root",)))
    world.do(RoleCreate("guest", (Permission(Right.READ, b"/ordinary"),)), AuthSwitch(True))
    assert world.names(HOST, b"/ordinary") == [b"/ordinary"]
    assert world.status(HOST, "kv/put", {"key": b"/ordinary"}) in (400, 403)
    assert world.status(HOST, "kv/put", {"key": OTHERS_STATE}) == 403
