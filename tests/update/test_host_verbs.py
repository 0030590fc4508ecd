"""`corenode update status|check|apply` on a host whose disk is a file, as its operator types them."""

import json
import random
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from core.partitions.slots import Marks
from tests.cli.programs import Host, Node
from tests.partitions.disks import disk_with, two_slots

pytestmark = pytest.mark.slow


def good(host: Host, *words: str) -> str:
    done = host.run(*words)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr.decode()}"
    return done.stdout.decode() + done.stderr.decode()


def publish(host: Host, version: str, data: bytes) -> None:
    (host.home / f"usr-{version}").write_bytes(data)
    good(host, "image", "build", f"usr-{version}", "--out", version, "--version", version)
    good(host, "image", "sign", version, "--repo", "repo", "--keys", "keys")
    good(host, "image", "publish", version)
    good(host, "image", "publish", version, "repo", "--online", "online")


def refused_over_plain_http(node: Node, what: str, method: str) -> None:
    request = urllib.request.Request(f"{node.url}/corenode/host/update{what}", method=method)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(request, timeout=20)


def test_a_host_is_updated_by_hand(tmp_path: Path) -> None:
    host = Host(tmp_path)
    disk_with(two_slots(Marks(1, 0, True), Marks(0, 0, False), 16 << 10)).save(tmp_path / "disk.img")
    good(host, "image", "trust", "init", "repo", "--keys", "keys", "--online", "online", "--no-passphrase")
    disk = ("--update-disk", "disk.img", "--update-slot", "A", "--update-root", "repo/metadata/1.root.json")
    strategy = ("--reboot-strategy", "off", "--reboot-command", "touch restart")
    with host.node(*disk, *strategy) as node:
        assert "idle: the cluster" in (said := good(host, "update", "status")) or "idle: up to date" in said
        assert "A     -        yes   0      yes   yes" in said
        done = host.run("update", "check")
        assert done.returncode == 1
        assert b"The cluster serves no images" in done.stderr
        good(host, "image", "trust", "upload", "repo", "--online", "online")
        assert "nothing newer is served" in good(host, "update", "check")
        assert b"Nothing is newer than 0" in host.run("update", "apply").stderr
        publish(host, "1.0", random.Random(1).randbytes(300_000))
        assert json.loads(good(host, "update", "check", "-o", "json"))["newer"] == ["1.0"]
        done = host.run("update", "apply", "7.7")
        assert b"No release 7.7 of corenode is signed and served; there are: 1.0" in done.stderr
        for what, method in (("", "GET"), ("/check", "POST"), ("/apply", "POST")):
            refused_over_plain_http(node, what, method)
        assert "--reboot-strategy is off" in good(host, "update", "apply")
        assert b"1.0 is under way already" in host.run("update", "apply").stderr
        assert not (tmp_path / "restart").exists()
        assert "rebooting, on the way to 1.0" in good(host, "update", "apply", "--now")
        for _ in range(100):
            if (tmp_path / "restart").exists():
                break
            good(host, "update", "status")
        else:
            raise AssertionError("it was not told to restart")
        found = json.loads(good(host, "update", "status", "-o", "json"))
        assert (found["version"], found["wanted"], found["by_hand"]) == ("0", "1.0", True)
        assert [(slot["version"], slot["next"]) for slot in found["slots"]] == [("", False), ("1.0", True)]
        node.process.kill()
    with host.node("--update-disk", "disk.img", "--update-slot", "B", *disk[4:], "--update-healthy", "0s"):
        for _ in range(100):
            found = json.loads(good(host, "update", "status", "-o", "json"))
            if (found["step"], found["version"]) == ("idle", "1.0"):
                break
        else:
            raise AssertionError(f"it is not well: {found}")
        assert b"This host runs 1.0" in host.run("update", "apply", "1.0").stderr


def test_a_host_without_slots_says_why_it_is_not_updated(tmp_path: Path) -> None:
    host = Host(tmp_path)
    with host.node():
        assert "this host is not updated: " in good(host, "update", "status")
        assert host.run("update", "apply").returncode == 1
    done = host.run(
        "up", "--data-dir", "data", "--update-disk", "none.img", "--listen-client-urls", "http://127.0.0.1:0"
    )
    assert done.returncode == 1
    assert b"--update-disk: " in done.stderr
    assert b"Traceback" not in done.stderr
