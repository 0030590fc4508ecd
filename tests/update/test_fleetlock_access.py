"""FleetLock gives nobody a right that he has not by writing the keys of the lock: both doors beside each other."""

import base64
import http.client
import json
from collections.abc import Iterator

import pytest

from tests.cli.programs import Host, Node

pytestmark = pytest.mark.slow
LOCK = "/coreos.com/updateengine/rebootlock"
KEY = f"/v2/keys{LOCK}/semaphore"
THROUGH, SHUT = {404, 412}, {401, 403, 429}
"""Statuses of a conditional write that was looked at, and of whoever may not; 429 is for one who guesses passwords."""
USERS = {"nobody": None, "stranger": "stranger:s", "zincati": "zincati:z", "wrong": "zincati:x"}


def status(node: Node, method: str, path: str, body: str, headers: dict[str, str]) -> int:
    host, _, port = node.url.removeprefix("http://").rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=30)
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def by_key(node: Node, headers: dict[str, str]) -> int:
    """What locksmith does: a write that changes nothing, because the condition does not hold."""
    headers = {"Content-Type": "application/x-www-form-urlencoded", **headers}
    return status(node, "PUT", f"{KEY}?prevIndex=1", "value=x", headers)


def by_door(node: Node, door: str, headers: dict[str, str], group: str = "default") -> int:
    body = json.dumps({"client_params": {"id": "a", "group": group}})
    return status(node, "POST", f"/v1/{door}", body, {"fleet-lock-protocol": "true", **headers})


def shown(user: str | None) -> dict[str, str]:
    return {} if user is None else {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Host(tmp_path_factory.mktemp("host")).node() as node:
        yield node


@pytest.fixture(scope="module")
def restricted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Host(tmp_path_factory.mktemp("restricted")).node() as node:
        _restrict(node)
        yield node


def _restrict(node: Node) -> None:
    for words, stdin in (
        (("user", "add", "root"), b"r\n"),
        (("user", "add", "stranger"), b"s\n"),
        (("user", "add", "zincati"), b"z\n"),
        (("user", "add", "red"), b"r\n"),
        (("role", "add", "red"), None),
        (("role", "grant", "red", "--readwrite", f"{LOCK}/groups/red/*"), None),
        (("user", "grant", "red", "red"), None),
        (("role", "add", "updater"), None),
        (("role", "grant", "updater", "--readwrite", "/coreos.com/updateengine/*"), None),
        (("user", "grant", "zincati", "updater"), None),
        (("auth", "enable"), None),
        (("role", "revoke", "guest", "--readwrite", "/*"), None),
    ):
        done = node.host.run(*words, stdin=stdin)
        assert done.returncode == 0, (words, done.stderr)


def test_where_keys_are_open_so_are_the_doors(node: Node) -> None:
    assert by_door(node, "pre-reboot", {}) == 200
    assert by_key(node, {}) in THROUGH
    assert by_door(node, "steady-state", {}) == 200


@pytest.mark.parametrize("caller", [{"Origin": "http://evil.example"}, {"Host": "evil.example"}], ids=str)
def test_a_page_in_a_browser_takes_no_lock(node: Node, caller: dict[str, str]) -> None:
    assert (by_key(node, caller), by_door(node, "pre-reboot", caller)) == (403, 403)
    assert by_door(node, "pre-reboot", {}) == 200
    assert by_door(node, "steady-state", caller) == 403


@pytest.mark.parametrize("who", USERS)
def test_where_keys_are_restricted_so_are_the_doors(restricted: Node, who: str) -> None:
    headers = shown(USERS[who])
    key = by_key(restricted, headers)
    doors = [by_door(restricted, door, headers) for door in ("steady-state", "pre-reboot", "steady-state")]
    if who == "zincati":
        assert key in THROUGH
        assert doors == [200] * 3
    else:
        assert key in SHUT
        assert set(doors) <= SHUT


def test_who_may_write_one_lock_does_not_let_go_of_that_of_all_voters(restricted: Node) -> None:
    """A host that votes holds both; its group's keys alone are not enough to come by either through here."""
    red = shown("red:r")
    assert status(restricted, "PUT", f"/v2/keys{LOCK}/groups/red/other?value=1", "", red) == 201
    assert [by_door(restricted, door, red, "red") for door in ("pre-reboot", "steady-state")] == [403, 403]
    assert by_door(restricted, "pre-reboot", red, "voters") == 403
