"""The verbs against a real node, each a process of its own."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import PATIENCE, PROGRAM, Host, Node
from tests.whole.servers import Server, missing

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    with Host(tmp_path_factory.mktemp("host")).node() as running:
        yield running


@pytest.fixture
def host(node: Node) -> Host:
    return node.host


SESSION = [
    # words after `kv`, exit code, standard output, part of standard error
    ("put /t/a 1", 0, "", "/t/a: set at index"),
    ("get /t/a", 0, "1\n", ""),
    ("get --quorum t/a", 0, "1\n", ""),
    ("mk /t/a 2", 1, "", "Key already exists (/t/a)."),
    ("mk /t/b 2", 0, "", "/t/b: create at index"),
    ("update /t/none 3", 1, "", "Key not found (/t/none)."),
    ("update /t/b 3", 0, "", "/t/b: update at index"),
    ("put --swap-with-value 1 /t/b 4", 1, "", "Compare failed ([1 != 3])."),
    ("put --swap-with-value 3 /t/b 4", 0, "", "/t/b: compareAndSwap at index"),
    ("put --swap-with-index 1 /t/b 4", 1, "", "Compare failed"),
    ("put --ttl 100 /t/ttl x", 0, "", "/t/ttl: set"),
    ("mk --dir /t/dir", 0, "", "/t/dir: create"),
    ("update --dir --ttl 100 /t/dir", 0, "", "/t/dir: update"),
    ("get /t/dir", 1, "", "/t/dir is a directory. List it with: corenode kv ls /t/dir"),
    ("put /t/dir/deep/key v", 0, "", ""),
    ("ls --sort /t", 0, "/t/a\n/t/b\n/t/dir\n/t/ttl\n", ""),
    ("ls --sort -r -p /t", 0, "/t/a\n/t/b\n/t/dir/\n/t/dir/deep/\n/t/dir/deep/key\n/t/ttl\n", ""),
    ("ls /t/a", 0, "/t/a\n", ""),
    ("put -- /t/dash -v", 0, "", "/t/dash: set"),
    ("get /t/dash", 0, "-v\n", ""),
    ("rm /t/dir", 1, "", "Not a file (/t/dir)."),
    ("rm --dir /t/dir", 1, "", "Directory not empty (/t/dir)."),
    ("rm --with-value 9 /t/a", 1, "", "Compare failed ([9 != 1])."),
    ("rm --with-value 1 /t/a", 0, "", "/t/a: compareAndDelete"),
    ("rm --recursive /t", 0, "", "/t: delete"),
    ("get /t", 1, "", "Key not found (/t)."),
]


@pytest.fixture(params=["corenode", "etcd"])
def endpoint(request: pytest.FixtureRequest, node: Node, tmp_path: Path) -> Iterator[str]:
    """This node, and etcd as the foreign judge of what the client says to it."""
    if request.param == "corenode":
        yield node.url
        return
    if why := missing("etcd"):
        pytest.skip(why)
    with Server("etcd", tmp_path) as server:
        yield server.url


def test_a_session(host: Host, endpoint: str) -> None:
    for words, code, out, err in SESSION:
        done = host.run("kv", *words.split(), CORENODE_ENDPOINTS=endpoint)
        told = done.stderr.decode()
        assert (words, done.returncode, done.stdout.decode()) == (words, code, out), told
        assert err in told
        assert "Traceback" not in told


def test_values_pass_byte_for_byte(host: Host) -> None:
    value = "tab\tline\r\nünïcödé \U0001f600 %+&=\n" + "x" * 100_000
    assert host.run("kv", "put", "/bytes", stdin=value.encode()).returncode == 0
    assert host.run("kv", "get", "/bytes").stdout == value.encode() + b"\n"


def test_in_order(host: Host) -> None:
    keys = [host.run("kv", "mk", "--in-order", "/queue", f"job{n}").stdout.decode() for n in range(3)]
    assert host.text("kv", "ls", "--sort", "/queue") == "".join(keys)
    assert keys == sorted(keys)


def test_tables_and_json(host: Host) -> None:
    host.run("kv", "put", "/table/\x1b[2J", "red\x1b[31m\n")
    shown = host.text("kv", "ls", "-o", "table", "/table")
    assert shown.split()[:5] == ["KEY", "VALUE", "TTL", "MODIFIED", "CREATED"]
    assert "\x1b" not in shown
    assert json.loads(host.text("kv", "ls", "-o", "json", "/table"))["node"]["nodes"][0]["value"] == "red\x1b[31m\n"


def test_what_up_says_works_as_it_says_it(node: Node) -> None:
    end = time.monotonic() + PATIENCE
    while len(said := [line.strip() for line in node.errors.read_text().splitlines() if line.startswith("  ")]) < 3:
        assert time.monotonic() < end  # the log has a thread of its own
        time.sleep(0.02)
    put, get, watch = said
    assert get == f"curl {node.url}/v2/keys/greeting"
    assert " kv put /greeting 'hello, world'" in put
    assert " kv watch --recursive /" in watch
    node.host.run("kv", "put", "/greeting", "hello, world")
    if shutil.which("curl"):
        got = subprocess.run(get.split(), capture_output=True, timeout=PATIENCE, check=True).stdout
        assert json.loads(got)["node"]["value"] == "hello, world"


def test_status_health_version(host: Host, node: Node) -> None:
    [status] = json.loads(host.text("status", "-o", "json"))
    assert status["endpoint"] == f"unix://{node.file.socket}"
    assert (status["status"]["name"], status["status"]["alarms"]) == ("default", [])
    assert status["status"]["leader_id"] == status["status"]["member_id"]
    assert "leader" in host.text("status")
    [health] = json.loads(host.text("health", "-o", "json"))
    assert (health["healthy"], health["reason"]) == (True, "")
    version = json.loads(host.text("version", "-o", "json"))
    assert list(version["nodes"].values()) == [version["corenode"]]


def test_one_endpoint_that_is_dead(host: Host, node: Node) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{unused.getsockname()[1]}"
        done = host.run("health", "-o", "json", "--endpoints", f"{dead},{node.url}")
        assert done.returncode == 1
        rows = {row["endpoint"]: (row["healthy"], row["reason"]) for row in json.loads(done.stdout)}
        assert rows == {dead: (False, "Connection refused"), node.url: (True, "")}
        done = host.run("kv", "get", "/nothing", CORENODE_ENDPOINTS=f"{dead},{node.url}")
        assert b"Key not found" in done.stderr


def test_operations_need_more_than_a_loopback_port(host: Host, node: Node, tmp_path: Path) -> None:
    for words in (["status"], ["snapshot", "save", str(tmp_path / "s")], ["kv", "compact", "1"]):
        done = host.run(*words, "--endpoints", node.url)
        assert done.returncode == 1
        assert b"unix socket" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_snapshot_there_and_back(host: Host, tmp_path: Path) -> None:
    host.run("kv", "put", "/kept", "value")
    file = tmp_path / "backup"
    done = host.run("snapshot", "save", str(file))
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["backup"]
    assert file.stat().st_mode & 0o777 == 0o600
    summary = json.loads(host.text("snapshot", "status", "-o", "json", str(file)))
    assert summary["size"] == file.stat().st_size
    assert b"exists already" in host.run("snapshot", "save", str(file)).stderr
    done = host.run("snapshot", "restore", str(file), "--data-dir", str(tmp_path / "new"))
    assert done.returncode == 0, done.stderr
    other = Host(tmp_path)
    with other.node(name="new"):
        assert other.text("kv", "get", "/kept") == "value\n"
        [status] = json.loads(other.text("status", "-o", "json"))
        assert status["status"]["revision"] >= summary["header"]["revision"]
    again = host.run("snapshot", "restore", str(file), "--data-dir", str(tmp_path / "new"))
    assert (again.returncode, b"empty or new directory" in again.stderr) == (1, True)


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer"])
def test_a_damaged_snapshot_is_refused(host: Host, tmp_path: Path, damage: str) -> None:
    file = tmp_path / "backup"
    host.run("snapshot", "save", str(file))
    content = bytearray(file.read_bytes())
    if damage == "flipped":
        content[len(content) // 2] ^= 1
    file.write_bytes({"cut": content[:-5], "flipped": content, "longer": content + b"x"}[damage])
    for words in (["verify"], ["status"], ["restore", "--data-dir", str(tmp_path / "new")]):
        done = host.run("snapshot", words[0], str(file), *words[1:])
        assert done.returncode == 1
        assert str(file).encode() in done.stderr
        assert b"Traceback" not in done.stderr
    assert not (tmp_path / "new" / "format").exists()


def test_compaction(host: Host) -> None:
    for number in range(5):
        host.run("kv", "put", "/compacted", str(number))
    revision = json.loads(host.text("status", "-o", "json"))[0]["status"]["revision"]
    assert host.run("kv", "compact", str(revision)).returncode == 0
    done = host.run("kv", "watch", "--once", "--after-index", "1", "/compacted")
    assert done.returncode == 1
    assert b"from index 2 on are no longer kept" in done.stderr
    assert b"not been reached" in host.run("kv", "compact", str(10**9)).stderr


def test_a_watch_until_ctrl_c(host: Host) -> None:
    before = json.loads(host.run("kv", "put", "-o", "json", "/watched/0", "v").stdout)["node"]["modifiedIndex"]
    with host.start("kv", "watch", "-r", "--after-index", str(before), "/watched") as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        for number in range(1, 4):
            host.run("kv", "put", f"/watched/{number}", f"v{number}")
        host.run("kv", "rm", "-r", "/watched")
        lines = [watch.stdout.readline().decode().split()[1:] for _ in range(4)]
        watch.send_signal(signal.SIGINT)
        assert watch.wait(PATIENCE) == -signal.SIGINT
        assert watch.stderr.read().strip() == b""
    assert lines == [*(["set", f"/watched/{n}", f"v{n}"] for n in range(1, 4)), ["delete", "/watched/"]]


def test_a_watch_goes_on_when_the_node_was_killed(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.node() as first:
        url = first.url
        host.run("kv", "put", "/before", "1")
        with host.start("kv", "watch", "-r", "/", "--after-index", "1", "--endpoints", url) as watch:
            assert watch.stdout is not None
            assert watch.stderr is not None
            seen = [watch.stdout.readline()]
            first.process.kill()
            assert b"The connection is lost" in watch.stderr.readline()
            with host.node("--listen-client-urls", url):
                for number in range(2, 5):
                    host.run("kv", "put", "/after", str(number))
                seen += [watch.stdout.readline() for _ in range(3)]
                watch.send_signal(signal.SIGINT)
                rest, _ = watch.communicate(timeout=PATIENCE)
    assert [line.split()[-1] for line in seen] == [b"1", b"2", b"3", b"4"]
    assert rest == b""


def test_a_watch_that_runs_a_program(host: Host) -> None:
    change = json.loads(host.run("kv", "put", "-o", "json", "/run", "it's").stdout)["node"]["modifiedIndex"]
    script = 'echo "$ETCD_WATCH_ACTION $ETCD_WATCH_KEY $ETCD_WATCH_VALUE $ETCD_WATCH_MODIFIED_INDEX"; exit 3'
    done = host.run("kv", "watch", "--once", "--after-index", str(change - 1), "/run", "--", "sh", "-c", script)
    assert done.stdout.decode() == f"set /run it's {change}\n"
    assert b"sh failed" in done.stderr
    assert done.returncode == 0


def test_a_reader_that_leaves_is_no_news(host: Host) -> None:
    assert host.run("kv", "put", "/left", "behind").returncode == 0
    with host.start("kv", "ls", "-r", "/") as listing:
        assert listing.stdout is not None
        assert listing.stderr is not None
        listing.stdout.close()
        assert (listing.wait(PATIENCE), listing.stderr.read()) == (1, b"")


def test_a_second_daemon_on_the_same_directory(host: Host) -> None:
    done = host.run("up", "--data-dir", "data", "--listen-client-urls", "http://127.0.0.1:0")
    assert done.returncode == 1
    assert b"data" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_port_that_is_taken(host: Host, node: Node, tmp_path: Path) -> None:
    done = host.run("up", "--data-dir", str(tmp_path / "d"), "--listen-client-urls", node.url)
    assert done.returncode == 1
    assert node.url.rpartition(":")[2].encode() in done.stderr
    assert b"Traceback" not in done.stderr


def test_killed_nodes_are_not_found(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.node(name="a") as first:
        first.process.kill()
        first.process.wait()
        assert first.file_path.exists()
        with host.node(name="b") as second:
            [status] = json.loads(host.text("status", "-o", "json"))
            assert status["endpoint"] == f"unix://{second.file.socket}"
            assert not first.file_path.exists()


def test_sigterm_ends_it_in_order(tmp_path: Path) -> None:
    with Host(tmp_path).node() as node:
        node.process.terminate()
        node.wait_for("STOPPING=1")
        assert node.process.wait(PATIENCE) == 0
        assert not node.file_path.exists()
        assert "stopped" in node.errors.read_text()


def test_a_misspelt_variable_is_told(tmp_path: Path) -> None:
    (tmp_path / "corenode.toml").write_text('name = "from-the-file"')
    with Host(tmp_path).node(CORENODE_CONFIG=str(tmp_path / "corenode.toml"), CORENODE_NMAE="x") as node:
        assert node.file.name == "from-the-file"
        assert "variable=CORENODE_NMAE" in node.errors.read_text()
        assert "CORENODE_CONFIG" not in node.errors.read_text()


def test_signs_of_life(tmp_path: Path) -> None:
    with Host(tmp_path).node(WATCHDOG_USEC="200000") as node:
        start = time.monotonic()
        for _ in range(5):
            node.wait_for("WATCHDOG=1")
        assert time.monotonic() - start < 10
        node.process.send_signal(signal.SIGSTOP)
        assert node.is_silent(1.0), "a stopped node must be silent, which is what the watchdog is for"
        node.process.send_signal(signal.SIGCONT)
        node.wait_for("WATCHDOG=1")


def test_reload(tmp_path: Path) -> None:
    config = tmp_path / "corenode.toml"
    config.write_text('log-level = "info"\nlog-format = "json"\nhistory-revisions = 1000')
    with Host(tmp_path).node("--config", str(config)) as node:
        for content in ('log-level = "info"\nlog-format = "json"\nhistory-revisions = 7', "log-level = 7"):
            config.write_text(content)
            node.process.send_signal(signal.SIGHUP)
            [first, *_] = node.wait_for("READY=1")
            assert first.startswith("RELOADING=1\nMONOTONIC_USEC=")
        node.process.terminate()
        node.process.wait(PATIENCE)
        lines = [json.loads(line) for line in node.errors.read_text().splitlines()]  # nothing else is among them
    assert [line["needs_restart"] for line in lines if "needs_restart" in line] == ["history-revisions"]
    assert ["not one of debug" in line["why"] for line in lines if line["level"] == "error"] == [True]


def test_a_reload_lists_other_origins(tmp_path: Path) -> None:
    config = tmp_path / "corenode.toml"
    config.write_text('cors = ["http://a.example"]')
    with Host(tmp_path).node("--config", str(config)) as node:

        def write(origin: str) -> int:
            headers = {"Origin": origin, "Content-Type": "application/x-www-form-urlencoded"}
            connection = http.client.HTTPConnection(node.url.removeprefix("http://"), timeout=PATIENCE)
            connection.request("PUT", "/v2/keys/a", "value=1", headers)
            status = connection.getresponse().status
            connection.close()
            return status

        assert (write("http://a.example"), write("http://b.example")) == (201, 403)
        config.write_text('cors = ["http://b.example"]')
        node.process.send_signal(signal.SIGHUP)
        node.wait_for("READY=1")
        assert (write("http://a.example"), write("http://b.example")) == (403, 200)


def test_nobody_reads_its_standard_error(tmp_path: Path) -> None:
    host = Host(tmp_path)
    read, write = os.pipe()
    os.set_blocking(write, False)
    try:
        while True:
            os.write(write, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    words = ["up", "--data-dir", "d", "--listen-client-urls", "http://127.0.0.1:0", "--log-level", "debug"]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.bind(str(tmp_path / "n"))
        notified.settimeout(PATIENCE)
        environment = {**host.environment, "NOTIFY_SOCKET": str(tmp_path / "n")}
        process = subprocess.Popen([*PROGRAM, *words], stderr=write, cwd=tmp_path, env=environment)
        try:
            assert notified.recv(4096).startswith(b"READY=1")
            assert host.run("kv", "put", "/a", "1").returncode == 0
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
            os.close(read)
            os.close(write)
