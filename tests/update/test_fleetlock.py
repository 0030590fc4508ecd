"""FleetLock's two doors of a real node, as Zincati knocks at them."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.whole.servers import HOST, Server

HEADERS = {"fleet-lock-protocol": "true", "Content-Type": "application/json"}
SEMAPHORE = "/v2/keys/coreos.com/updateengine/rebootlock"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    directory: Path = tmp_path_factory.mktemp("node")
    with Server("corenode", directory / "data") as server:
        yield server.port


def ask(port: int, door: str, body: object, headers: dict[str, str] = HEADERS, method: str = "POST") -> tuple[int, str]:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.request(method, f"/v1/{door}", body if isinstance(body, str) else json.dumps(body), headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, json.loads(text)["kind"] if text else ""


def of(id_: str, group: str = "default") -> object:
    return {"client_params": {"id": id_, "group": group}}


def holders(port: int, below: str = "") -> object:
    connection = http.client.HTTPConnection(HOST, port, timeout=20)
    connection.request("GET", f"{SEMAPHORE}{below}/semaphore")
    node = json.loads(connection.getresponse().read())["node"]
    connection.close()
    return json.loads(node["value"])["holders"]


def test_both_doors_may_be_used_again_and_again(port: int) -> None:
    assert ask(port, "steady-state", of("a")) == (200, "")
    for _ in range(2):
        assert ask(port, "pre-reboot", of("a")) == (200, "")
    assert holders(port) == ["a"], "the group default is that of all who name none"
    assert ask(port, "pre-reboot", of("b")) == (409, "failed_lock")
    assert ask(port, "steady-state", of("b")) == (200, ""), "what is not held need not be let go"
    for _ in range(2):
        assert ask(port, "steady-state", of("a")) == (200, "")
    assert ask(port, "pre-reboot", of("b")) == (200, "")
    assert ask(port, "steady-state", of("b")) == (200, "")


def test_groups_are_apart(port: int) -> None:
    assert ask(port, "pre-reboot", of("a", "red")) == (200, "")
    assert ask(port, "pre-reboot", of("b", "blue")) == (200, "")
    assert holders(port, "/groups/red") == ["a"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("", "invalid_body"),
        ("[]", "invalid_body"),
        ('{"client_params":{"id":"a"}}', "invalid_body"),
        ('{"client_params":{"id":1,"group":"g"}}', "invalid_body"),
        ("[" * 5000, "invalid_body"),
        ("x" * 70_000, "invalid_body"),
        (of(""), "invalid_id"),
        (of("x" * 257), "invalid_id"),
        (of("a", "a/b"), "invalid_group"),
        (of("a", ""), "invalid_group"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_request_is_refused_with_the_reason(port: int, body: object, kind: str) -> None:
    assert ask(port, "pre-reboot", body) == (400, kind)


def test_the_header_and_the_method_are_asked_for(port: int) -> None:
    assert ask(port, "pre-reboot", of("a"), {}) == (400, "missing_header")
    assert ask(port, "pre-reboot", "", HEADERS, "GET") == (405, "method_not_allowed")
