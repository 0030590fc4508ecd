"""The disk fills up under a running node, and has room again."""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.whole.requests import Answer, Client
from tests.whole.servers import Server

pytestmark = pytest.mark.slow
MIB = 1 << 20
DISK = 384 * MIB
BALLAST = 192 * MIB
VALUE = "v" * 200_000
PATIENCE_S = 30.0


@contextmanager
def small_disk(path: Path) -> Iterator[Path]:
    """A file system of its own at `path`."""
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "small", str(path)], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(client: Client, prefix: str) -> tuple[list[str], Answer]:
    """Write until it is refused; gives the acknowledged keys and the refusal."""
    keys: list[str] = []
    for number in range(20_000):
        answer = client.put(f"{prefix}/{number}", VALUE)
        if answer.status != 201:
            return keys, answer
        keys.append(f"{prefix}/{number}")
    raise AssertionError("it never filled up")


def until_accepted(client: Client, key: str) -> None:
    """Wait until data is taken again."""
    deadline = time.monotonic() + PATIENCE_S
    while client.put(key, VALUE).status not in (200, 201):
        assert time.monotonic() < deadline, client.ask("GET", "/health").body
        time.sleep(0.1)


def check_refused_but_alive(client: Client, keys: list[str], refused: Answer) -> None:
    """Data is refused in words and with an alarm; reads and deletes go on, and a refusal takes no index."""
    assert refused.status >= 500
    assert refused.json["errorCode"] in (300, 500)
    assert "space" in refused.body.decode() or "quota" in refused.body.decode()
    health = client.ask("GET", "/health")
    assert health.status == 503
    assert health.json["health"] == "false"
    assert "NOSPACE" in health.json["reason"]
    before = client.get("/").index
    for _ in range(20):
        assert client.put("/more", VALUE).status == refused.status
    assert client.get("/").index == before
    assert client.get("/more").status == 404
    for key in keys:
        assert client.get(key).json["node"]["value"] == VALUE
    removed = client.delete(keys[0])
    assert (removed.status, removed.json["node"]["modifiedIndex"]) == (200, before + 1)
    assert client.get(keys[0]).status == 404


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small file system")
def test_a_full_disk_refuses_data_and_recovers_by_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(BALLAST))
        with Server("corenode", tmp_path / "home", data=disk / "data") as server:
            with Client(server.port, timeout=30) as client:
                keys, refused = fill(client, "/full")
                assert len(keys) > 20
                # Refused at the low-water mark of 64 MiB, less what was admitted between two looks at the disk.
                assert os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize > 40 * MIB
                assert (disk / "data" / "reserve").exists()
                check_refused_but_alive(client, keys, refused)
                # Not even a byte left for anyone: reads and deletes still go on.
                with (disk / "greedy").open("wb") as greedy:
                    left = os.statvfs(disk)
                    os.posix_fallocate(greedy.fileno(), 0, left.f_bavail * left.f_frsize)
                assert client.get(keys[1]).json["node"]["value"] == VALUE
                assert client.delete(keys[1]).status == 200
                (disk / "greedy").unlink()
                ballast.unlink()
                until_accepted(client, "/again")
                assert client.ask("GET", "/health").status == 200
            server.kill()
            server.start()
            with Client(server.port, timeout=30) as client:
                assert client.get("/again").json["node"]["value"] == VALUE
                assert [client.get(key).status for key in keys[:3]] == [404, 404, 200]


def test_a_quota_refuses_data_until_keys_are_deleted(tmp_path: Path) -> None:
    quota = ("--quota-backend-bytes", str(24 * MIB))
    with Server("corenode", tmp_path, extra=quota) as server, Client(server.port, timeout=30) as client:
        keys, refused = fill(client, "/full")
        assert 20 * MIB < sum(len(VALUE) for _ in keys) <= 28 * MIB
        check_refused_but_alive(client, keys, refused)
        assert client.delete("/full", "?recursive=true").status == 200
        until_accepted(client, "/again")
        assert client.ask("GET", "/health").status == 200
