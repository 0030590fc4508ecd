"""Units on real nodes: submitted at one, run by the embedded supervisor, seen from others, kept by all that ends."""

import http.client
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cli.programs import Host
from tests.v3.compare import UnixConnection
from tests.whole.servers import NO_UNITS, Server
from tests.whole.test_join import Machine, World

pytestmark = pytest.mark.slow
SECONDS = 30.0
UNITS = {"CORENODE_EXECUTOR": "embedded", "CORENODE_DISABLE_ENGINE": "false", "CORENODE_AGENT_TTL": "3s"}
OWN = "/corenode/fleet/units/hello.service"
HELLO = b'[Service]\nExecStart=/bin/sh -c "echo hello; exec sleep 600"\n'


class Door:
    """A node's unix socket."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def ask(self, method: str, target: str, body: bytes = b"") -> tuple[int, bytes]:
        connection = UnixConnection(self._socket)
        try:
            connection.request(method, target, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def good(self, method: str, target: str, body: bytes = b"") -> Any:
        status, told = self.ask(method, target, body)
        assert status < 300, told
        return json.loads(told) if told else None

    def states(self) -> dict[str, str]:
        """Sub-states of the unit by machine, empty while nobody can be asked."""
        with suppress(OSError, http.client.HTTPException, AssertionError):
            found = self.good("GET", "/fleet/v1/state?unitName=hello.service").get("states", [])
            return {state["machineID"]: state["systemdSubState"] for state in found}
        return {}

    def pid(self) -> int:
        return int(self.good("GET", f"{OWN}/status")["properties"]["MainPID"])


def until(condition: Callable[[], bool], what: str, log: Callable[[], str] = str) -> None:
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, f"not in time: {what}\n{log()}"
        time.sleep(0.05)


def alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


@contextmanager
def cleared_away(*doors: Door) -> Iterator[list[int]]:
    """Whatever happens, no unit outlives the test: `pids` are killed if they still live."""
    pids: list[int] = []
    try:
        yield pids
        for door in doors:
            door.good("DELETE", OWN)
        until(lambda: not any(map(alive, pids)), "destroyed units end")
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def test_a_unit_outlives_its_node_and_is_taken_over(tmp_path: Path) -> None:
    socket = tmp_path / "fleet.sock"
    with Server("corenode", tmp_path, environment=UNITS, extra=["--fleet-socket", str(socket)]) as server:
        door = Door(socket)  # where programs for fleet look
        with cleared_away(door) as pids:
            done = door.good("PUT", f"{OWN}/text?desired=launched", HELLO)
            assert done["created"] is True
            until(lambda: list(door.states().values()) == ["running"], "the unit runs", server.output)
            pids.append(door.pid())
            assert door.ask("GET", f"{OWN}/logs")[1].rstrip().endswith(b"hello")
            server.kill()
            assert alive(pids[0])
            server.start()
            until(lambda: list(door.states().values()) == ["running"], "it is taken over", server.output)
            assert door.pid() == pids[0]
            assert server.stop() == 0
            assert alive(pids[0])  # --on-stop leave
            server.start()
            until(lambda: list(door.states().values()) == ["running"], "it is taken over again", server.output)
            assert door.pid() == pids[0]
        until(lambda: door.states() == {}, "nothing is told of it any more")


def test_a_stopped_host_takes_its_units_with_it_if_told_so(tmp_path: Path) -> None:
    with Server("corenode", tmp_path, environment=UNITS, extra=["--on-stop", "move"]) as server:
        door = Door(server.data / "corenode.sock")
        with cleared_away(door) as pids:
            door.good("PUT", f"{OWN}/text?desired=launched", HELLO)
            until(lambda: list(door.states().values()) == ["running"], "the unit runs", server.output)
            pids.append(door.pid())
            assert server.stop() == 0
            assert not alive(pids[0])
            server.start()
            until(lambda: list(door.states().values()) == ["running"], "it runs again", server.output)
            pids.append(door.pid())


def test_a_host_that_moves_its_units_asks_systemd_for_the_time_they_take(tmp_path: Path) -> None:
    """More than TimeoutStopSec= of its own unit file, or it would be killed, and they would run here and elsewhere."""
    script = f'trap "until test -e {tmp_path}/go; do sleep 0.1; done; exit" TERM; echo >{tmp_path}/up;'
    script += " while :; do sleep 0.1; done"
    slow = f"[Service]\nTimeoutStopSec=600\nExecStart=/bin/sh -c '{script}'\n"
    with Host(tmp_path).node("--on-stop", "move", **UNITS) as node:
        door = Door(Path(node.file.socket))
        door.good("PUT", f"{OWN}/text?desired=launched", slow.encode())
        until((tmp_path / "up").exists, "the unit runs")
        with cleared_away() as pids:
            pids.append(door.pid())
            node.process.send_signal(signal.SIGTERM)
            assert node.wait_for("EXTEND_TIMEOUT_USEC=20000000")[0].startswith("STOPPING=1")
            assert alive(pids[0])
            assert node.process.poll() is None
            (tmp_path / "go").touch()
            assert node.process.wait(SECONDS) == 0
            assert not alive(pids[0])


def test_a_worker_runs_units_and_any_member_shows_them(tmp_path: Path) -> None:
    """By the certificate that `join` got it, over TLS both ways."""
    with World(tmp_path) as world:
        world.first.environment.update(UNITS)
        world.found("--client-cert-auth")
        worker = world.machine("worker")
        worker.environment.update(UNITS)
        joined = world.join(worker, world.token("--role", "worker"), "--role", "worker")
        assert joined.returncode == 0, joined.stderr
        machine = (worker.data / "machine-id").read_text().strip()
        worker.up("--data-dir", "data")
        door, there = Door(world.first.data / "corenode.sock"), Door(worker.data / "corenode.sock")
        log = _logs(world.machines)
        until(lambda: len(door.good("GET", "/fleet/v1/machines").get("machines", [])) == 2, "both are there", log)
        with cleared_away(door) as pids:
            text = HELLO + f"[X-Fleet]\nMachineID={machine}\n".encode()
            door.good("PUT", f"{OWN}/text?desired=launched", text)
            until(lambda: door.states() == {machine: "running"}, "the unit runs on the worker", log)
            pids.append(door.pid())
            assert door.ask("GET", f"{OWN}/logs?lines=1")[1].rstrip().endswith(b"hello")
            status, told = there.ask("GET", "/corenode/host/units/hello.service/status")
            assert (status, json.loads(told)["properties"]["MainPID"]) == (200, str(pids[0]))
            # The worker's own doors give nothing of what its certificate gives.
            assert there.ask("GET", "/fleet/v1/units")[0] == 403
            assert there.ask("PUT", f"{OWN}/text", HELLO)[0] == 403
            world.first.kill()  # the store is away
            time.sleep(1)
            assert alive(pids[0])
            world.found("--client-cert-auth")
            until(lambda: door.states() == {machine: "running"}, "the worker is there again", log)
            assert door.pid() == pids[0]


def test_members_ask_each_other_for_logs_at_their_own_urls(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        world.first.environment.update(UNITS)
        world.found("--client-cert-auth")
        other = world.machine("two")
        other.environment.update(UNITS)
        joined = world.join(other, world.token())
        assert joined.returncode == 0, joined.stderr
        other.up("--data-dir", "data")
        door, log = Door(world.first.data / "corenode.sock"), _logs(world.machines)
        until(lambda: len(door.good("GET", "/fleet/v1/machines").get("machines", [])) == 2, "both are there", log)
        machine = (other.data / "machine-id").read_text().strip()
        with cleared_away(door) as pids:
            text = HELLO + f"[X-Fleet]\nMachineID={machine}\n".encode()
            door.good("PUT", f"{OWN}/text?desired=launched", text)
            until(lambda: door.states() == {machine: "running"}, "the unit runs on the other member", log)
            until(lambda: door.ask("GET", f"{OWN}/status")[0] == 200, "its member is asked", log)
            pids.append(door.pid())
            assert door.ask("GET", f"{OWN}/logs?lines=1")[1].rstrip().endswith(b"hello")


def _logs(machines: list[Machine]) -> Callable[[], str]:
    return lambda: "\n".join(machine.log()[-2000:] for machine in machines)


def test_two_hosts_of_one_machine_id(tmp_path: Path) -> None:
    """The second ends with a sentence, and nothing of the first."""
    with World(tmp_path) as world:
        world.first.environment.update(UNITS)
        world.found()
        machine = (world.first.data / "machine-id").read_text().strip()
        twin = world.machine("twin")
        door = Door(world.first.data / "corenode.sock")
        until(lambda: bool(door.good("GET", "/fleet/v1/machines")), "it is registered", _logs(world.machines))
        words = ("--role", "worker", "--machine-id", machine)
        joined = world.join(twin, world.token("--role", "worker"), *words)
        assert (joined.returncode, "is running" in joined.stderr) == (1, True), joined.stderr
        # Nor does it fall to a token while its member runs no units.
        world.first.kill()
        world.first.environment.update(NO_UNITS)
        world.found()
        until(lambda: not door.good("GET", "/fleet/v1/machines"), "it is gone", _logs(world.machines))
        joined = world.join(twin, world.token("--role", "worker"), *words)
        assert (joined.returncode, "belongs to" in joined.stderr) == (1, True), joined.stderr
