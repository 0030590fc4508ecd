"""`corenode update channel` and `group`, against a node."""

import json
from collections.abc import Iterator

import pytest

from tests.cli.programs import Host

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    host = Host(tmp_path_factory.mktemp("host"))
    with host.node():
        yield host


def good(host: Host, *words: str) -> bytes:
    done = host.run("update", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_channel_is_promoted_and_a_group_paused_and_resumed(host: Host) -> None:
    good(host, "channel", "set", "beta", "--version", "1.1.0", "--floor", "1.0.5")
    good(host, "channel", "promote", "beta", "stable")
    channel = {"product": "corenode", "version": "1.1.0", "floors": ["1.0.5"]}
    assert json.loads(good(host, "channel", "list", "-o", "json")) == {"beta": channel, "stable": channel}
    good(host, "group", "set", "web", "--channel", "stable", "--percent", "10", "--window", "Sat 02:00", "4h")
    good(host, "group", "pause", "web", "--why", "packets are lost")
    assert b"packets are lost" in good(host, "group", "list")
    good(host, "group", "resume", "web")
    shown = json.loads(good(host, "group", "show", "web", "-o", "json"))["group"]
    window = {"start": "Sat 02:00", "length": "4h"}
    assert shown == {"channel": "stable", "policy": {"at_once": 0, "percent": 10, "window": window}, "attempt": 2}
    shown = json.loads(good(host, "channel", "show", "stable", "-o", "json"))
    assert (shown["channel"], list(shown["groups"]), shown["hosts"]) == (channel, ["web"], {})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("group", "show", "nope"), b"There is no group nope"),
        (("group", "pause", "nope"), b"There is no group nope"),
        (("channel", "promote", "nope", "stable"), b"There is no channel nope"),
        (("group", "set", "a/b"), b"letters, digits"),
        (("group", "set", "web", "--window", "noon", "1h"), b"is no start of a window"),
        (("group", "set", "web", "--at-once", "1", "--percent", "5"), b"give one of them"),
    ],
)
def test_what_makes_no_sense_is_said(host: Host, words: tuple[str, ...], said: bytes) -> None:
    done = host.run("update", *words)
    assert done.returncode != 0
    assert said in done.stderr
