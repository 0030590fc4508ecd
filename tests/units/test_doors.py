"""Units that mean no good, and words that make no sense, through the doors of real nodes: HTTP and command line."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from core.runtime_dir import NodeFile, read_all
from core.sched.unit_text import LARGEST
from tests.cli.programs import PROGRAM
from tests.units.test_fleet_names import FLEET, HOSTS, SLEEPS, Three, cluster, three

__all__ = ["cluster", "three"]
pytestmark = pytest.mark.slow
MANY = 1_000
NEVER = b"[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetadata=nobody=has\n"
LONGEST_HOLD = "0.0512"
"""Seconds of processor time that nothing may hold the loop: a bucket's edge, near what is promised of plans."""
LOG_BYTES = 1_000_000_000


@pytest.fixture
def mark(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A number of seconds that nobody else sleeps; whoever still does at the end is killed."""
    seconds = f"{abs(hash(tmp_path)) % 10**6 + 10**6}"
    yield seconds
    subprocess.run(["pkill", "-9", "-f", f"^/?[a-z/]*sleep {seconds}"], check=False)


def sleepers(seconds: str) -> list[str]:
    found = subprocess.run(["pgrep", "-f", f"sleep {seconds}"], capture_output=True, text=True, check=False)
    return found.stdout.split()


def refused(three: Three, *words: str) -> str:
    """What the command line says of words it does not accept: one sentence, and no trace of the program's insides."""
    done = three.host.run(*words)
    said = done.stderr.decode()
    assert done.returncode == 1, (words, said)
    assert "Traceback" not in said
    return said


def raw(three: Three, method: str, path: str, body: bytes = b"") -> tuple[int, str]:
    with closing(HTTPConnection("localhost", timeout=60)) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(nodes(three)[0].socket)
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()


def nodes(three: Three) -> list[NodeFile]:
    return sorted(read_all({"XDG_RUNTIME_DIR": str(three.home)}), key=lambda node: node.name)


@pytest.mark.parametrize(
    ("text", "status", "why"),
    [
        (b"#" * (1 << 20), 413, f"at most {LARGEST:,} bytes, and this has 1,048,576"),
        (b"[Service]\nExecStart=/bin/true\0\n", 400, "line 2: a NUL byte"),
        (b"[Service]\nExecStart=/bin/echo \xff\n", 400, "line 2: byte 0xff at column 21 is no UTF-8"),
        (b"[Service]\n[X-Fleet]\nMachineOf=a.service\n", 400, "a unit cannot wait for itself"),
    ],
    ids=["1 MiB", "NUL", "bad UTF-8", "waits for itself"],
)
def test_texts_that_cannot_be(three: Three, text: bytes, status: int, why: str) -> None:
    found, said = raw(three, "PUT", f"{FLEET}/units/a.service/text?desired=launched", text)
    assert (found, why in said) == (status, True), said
    (three.home / "a.service").write_bytes(text)
    for verb in ("submit", "start", "verify"):
        told = refused(three, "unit", verb, "a.service")
        assert why.lower() in told.lower(), told
        assert "a.service" in told, "of several files one wants to know which"
    assert three.units() == []


@pytest.mark.parametrize(
    "name", ["../../x.service", "a/b.service", "..", "%2e%2e", "a%00b.service", "x%0a.service", "é.service"]
)
def test_names_that_lead_elsewhere(three: Three, name: str) -> None:
    path = "".join(letter if letter.isascii() else f"%{letter.encode().hex()}" for letter in name)
    for shown in {path, path.replace("/", "%2f"), path.replace("/", "%252f")}:
        status, said = raw(three, "PUT", f"{FLEET}/units/{shown}/text?desired=launched", SLEEPS.encode())
        assert status in (400, 404, 405), (shown, said)
    assert three.units() == []
    if "/" not in name:
        assert "names no unit" in refused(three, "unit", "start", name)


def test_words_that_name_no_unit_are_shown_as_they_are(three: Three) -> None:
    assert refused(three, "unit", "cat", "") == "corenode: '' names no unit: it is empty behind the last slash.\n"
    assert "'x\\ny.service' names no unit" in refused(three, "unit", "cat", "x\ny.service")
    assert "There is no unit none.service" in refused(three, "unit", "destroy", "../../none.service")
    assert not any("none" in str(path) for path in three.home.rglob("*"))


def test_a_template_without_an_instance_and_a_circle(three: Three) -> None:
    three.write("t@.service", SLEEPS)
    assert "start an instance like t@1.service, or give it Replicas=" in refused(three, "unit", "start", "t@.service")
    three.write("a.service", f"{SLEEPS}[X-Fleet]\nMachineOf=b.service\n")
    three.write("b.service", f"{SLEEPS}[X-Fleet]\nMachineOf=a.service\n")
    told = refused(three, "unit", "start", "--wait", "1", "a.service")
    assert "waits for b.service, which it wants to be with, and which nobody started" in told
    told = refused(three, "unit", "start", "b.service")
    assert "b.service waits for a.service waits for b.service, so that none of them could ever be first" in told


def test_a_value_with_a_newline_arrives_as_it_was_written(three: Three) -> None:
    three.write("a.service", "[Service]\nType=oneshot\nRemainAfterExit=yes\n"
                             'Environment="A=one\\ntwo" "B=x\\\ny" "C=[Service]\\nExecStart=/bin/false"\n'
                             "ExecStart=/bin/sh -c 'printf \"%%s|%%s|%%s|\" \"$A\" \"$B\" \"$C\"'\n")  # fmt: skip
    assert three.host.run("unit", "start", "a.service").returncode == 0
    logged = three.host.run("unit", "logs", "-n", "9", "a.service").stdout.decode().splitlines()
    assert [line.partition(" ")[2] for line in logged] == ["one", "two|x y|[Service]", "ExecStart=/bin/false|"]


def test_a_unit_that_forks_twice_and_leaves_its_session_ends_with_it(three: Three, mark: str) -> None:
    script = f'setsid sh -c "sleep {mark} & setsid sleep {mark} &"; exec sleep {mark}'
    three.write("a.service", f"[Service]\nExecStart=/bin/sh -c '{script}'\n")
    assert three.host.run("unit", "start", "a.service").returncode == 0
    three.until("three processes", lambda: len(sleepers(mark)) >= 3)
    assert three.host.run("unit", "stop", "a.service").returncode == 0
    three.until("all have ended", lambda: sleepers(mark) == [])


def test_a_unit_that_ignores_sigterm_is_killed_in_time(three: Three, mark: str) -> None:
    script = f'trap "" TERM; sleep {mark} & while :; do wait; done'
    three.write("a.service", f"[Service]\nTimeoutStopSec=1\nExecStart=/bin/sh -c '{script}'\n")
    assert three.host.run("unit", "start", "a.service").returncode == 0
    three.until("it sleeps", lambda: len(sleepers(mark)) >= 1)
    three.destroy("a.service")
    three.until("it is gone from its host", lambda: three.units() == [])
    assert sleepers(mark) == []


def test_a_gigabyte_of_log_costs_little_disk_and_its_end_is_kept(three: Three) -> None:
    script = f'yes "a line of a log that goes on and on and on" 2>/dev/null | head -c {LOG_BYTES}'
    three.write("a.service", "[Service]\nType=oneshot\nTimeoutStartSec=infinity\n"
                             f"ExecStart=/bin/sh -c '{script}; echo; echo the end'\n")  # fmt: skip
    said = three.host.run("unit", "start", "--no-block", "a.service")
    assert said.returncode == 0, said.stderr
    largest = 0

    def over() -> bool:
        nonlocal largest
        largest = max(largest, sum(file.stat().st_size for file in three.home.glob("demo/*/data/**/a.service/log*")))
        return any((place["state"] or {}).get("ended") for unit in three.units() for place in unit["places"])

    three.until("it has ended", over)
    assert 1_000_000 < largest < 32_000_000
    assert three.host.run("unit", "logs", "-n", "1", "a.service").stdout.endswith(b" the end\n")


def long_holds(three: Three) -> int:
    """How often the loop of some node was held for longer than LONGEST_HOLD, in processor time."""
    found = 0
    for node in nodes(three):
        with closing(HTTPConnection("localhost", timeout=60)) as connection:
            connection.sock = socket.socket(socket.AF_UNIX)
            connection.sock.connect(node.socket)
            connection.request("GET", "/metrics")
            said = connection.getresponse().read().decode()
        bucket = 'corenode_loop_hold_duration_seconds_bucket{le="%s",time="processor"} '
        counts = [re.search(re.escape(bucket % edge) + "(.+)", said) for edge in ("+Inf", LONGEST_HOLD)]
        assert counts[0] is not None
        assert counts[1] is not None
        found += int(float(counts[0][1])) - int(float(counts[1][1]))
    return found


def memory(three: Three) -> int:
    """KiB that the nodes hold together."""
    statuses = [Path(f"/proc/{node.pid}/status").read_text() for node in nodes(three)]
    return sum(int(found[1]) for status in statuses if (found := re.search(r"VmRSS:\s+(\d+)", status)))


def test_a_thousand_units_that_can_never_be_placed_are_no_burden(
    three: Three, capsys: pytest.CaptureFixture[str]
) -> None:
    before, held = memory(three), long_holds(three)

    def each(method: str, tail: str, body: bytes) -> None:
        def one(number: int) -> None:
            status, said = raw(three, method, f"{FLEET}/units/never{number}.service{tail}", body)
            assert status in (201, 204), said

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(one, range(MANY)))

    each("PUT", "/text?desired=launched", NEVER)
    three.start("able.service")
    three.until("others are placed", lambda: set(three.active()) == {"able.service"})
    began = time.monotonic()
    listed = three.host.run("unit", "list").stdout.decode().splitlines()
    seconds = time.monotonic() - began
    assert len(listed) == MANY + 2
    assert sum("its metadata do not meet nobody=has" in line for line in listed) == 5
    assert sum("corenode unit explain never" in line for line in listed) == MANY - 5
    grown = memory(three) - before
    each("DELETE", "", b"")
    assert long_holds(three) == held, "nothing holds a node's loop for long"
    assert grown < 60_000, "KiB, of three nodes"
    with capsys.disabled():
        print(f"\n{MANY} waiting units: listed in {seconds:.1f} s, {grown / 3:.0f} KiB a node")


def test_each_host_of_a_demo_has_an_id_of_its_own(three: Three) -> None:
    ids = {path.parent.parent.name: path.read_text().strip() for path in three.home.glob("demo/*/data/machine-id")}
    told = {host["metadata"]["host"]: host["id"] for host in three.machines()}
    assert (ids, len(set(ids.values()))) == (told, len(HOSTS))


def test_waiting_replicas_are_listed_with_their_reason(three: Three) -> None:
    three.start("web@.service", "Replicas=5", "MaxPerMachine=1")
    three.until("three run", lambda: len(three.active()) == len(HOSTS))
    listed = three.host.run("unit", "list").stdout.decode().splitlines()
    waiting = [line for line in listed if "MaxPerMachine= allows no more" in line]
    assert [line.split()[:3] for line in waiting] == [[f"web@{number}.service", "launched", "-"] for number in (4, 5)]
    assert [line.split()[0] for line in listed[1:]] == [
        "web@.service",
        *(f"web@{number}.service" for number in range(1, 6)),
    ]


def test_a_unit_that_is_through_with_its_work_is_said_to_be(three: Three) -> None:
    three.write("once.service", "[Service]\nType=oneshot\nExecStart=/bin/echo done\n")
    started = three.host.run("unit", "start", "--wait", "60", "once.service")
    assert re.search(rb"once.service has run, and ended well, on [0-9a-f]{8}/host\d\n", started.stderr), started.stderr
    assert b"has run, and ended well" in three.host.run("unit", "list").stdout
    assert b"Outcome" in three.host.run("unit", "status", "once.service").stdout
    (unit,) = json.loads(three.host.run("unit", "list", "-o", "json").stdout)
    assert unit["places"][0]["state"]["ended"] is True
    three.write("bad.service", "[Service]\nType=oneshot\nExecStart=/bin/false\n")
    told = refused(three, "unit", "start", "--wait", "3", "bad.service")
    assert "bad.service is failed" in told
    assert "exit-code 1" in told
    assert "Its log: corenode unit logs bad.service" in told


def test_events_go_on_at_another_node_of_this_host(three: Three) -> None:
    """Nobody has named one: the node that tells is killed, and the next one that is found tells the rest."""
    told = three.home / "told"
    newest = max(nodes(three), key=lambda node: node.written).name
    with told.open("wb") as file:
        events = subprocess.Popen(
            [*PROGRAM, "events"], stdout=file, stderr=subprocess.STDOUT, cwd=three.home, env=three.host.environment
        )
    try:

        def heard() -> bool:
            three.ask("/units/a.service/text?desired=launched", "PUT", SLEEPS.encode())
            three.destroy("a.service")
            return b"a.service is to be launched" in told.read_bytes()

        three.until("it is heard", heard)
        assert three.host.run("demo", "kill", newest).returncode == 0
        three.until("it has ended", lambda: newest not in {node.name for node in nodes(three)})
        three.until("its death is noticed", lambda: not three.all_there())
        three.start("b.service")
        three.until("the next one tells", lambda: b"b.service is to be launched" in told.read_bytes())
        assert b"going on at the next node that answers" in told.read_bytes()
        assert b"is away" in told.read_bytes()
    finally:
        events.kill()
        events.wait()
        assert three.host.run("demo", "start", newest).returncode == 0
        three.until("it is back", three.all_there)
