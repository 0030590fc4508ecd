"""`corenode auth`, `user` and `role`, against a real node: from open to restricted and back."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.programs import Host, Node

pytestmark = pytest.mark.slow


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Host(tmp_path).node() as running:
        yield running


def told(node: Node, *words: str, stdin: bytes | None = None) -> tuple[int, str]:
    """Exit code, and both outputs in one."""
    done = node.host.run(*words, stdin=stdin)
    return done.returncode, (done.stdout + done.stderr).decode()


def test_from_open_to_restricted_and_back(node: Node) -> None:
    over_tcp = ("--endpoints", node.url)
    alice = ("--user", "alice:wonderland", *over_tcp)
    assert told(node, "auth", "status") == (0, "disabled\n")
    assert told(node, "auth", "enable") == (1, "corenode: Auth: No root user available, please create one.\n")
    assert told(node, "user", "add", "root", stdin=b"secret\n")[0] == 0
    assert told(node, "user", "add", "alice", stdin=b"wonderland\nmore\n")[0] == 0
    assert told(node, "role", "add", "developer")[0] == 0
    granted = told(node, "role", "grant", "developer", "--readwrite", "/app/*", "--read", "/config")
    assert granted == (0, "Role developer changed.\n")
    assert told(node, "user", "grant", "alice", "developer")[0] == 0
    assert told(node, "user", "list") == (0, "USER   ROLES\nalice  developer\nroot   root\n")
    assert told(node, "role", "list") == (
        0,
        "ROLE       READ            WRITE\ndeveloper  /app/* /config  /app/*\nroot       /*              /*\n",
    )
    assert told(node, "auth", "enable")[0] == 0
    assert told(node, "auth", "status", "-o", "json", *over_tcp) == (0, '{"enabled":true}\n')
    assert told(node, "role", "revoke", "guest", "--readwrite", "/*")[0] == 0
    assert told(node, "role", "show", "guest", "-o", "json")[1] == (
        '{"role":"guest","permissions":{"kv":{"read":[],"write":[]}}}\n'
    )

    assert told(node, "kv", "put", "/app/a", "1", *alice)[0] == 0
    assert told(node, "kv", "get", "/app/a", *alice) == (0, "1\n")
    for words in (("kv", "put", "/b", "1", *alice), ("kv", "get", "/app/a", *over_tcp), ("user", "list", *alice)):
        code, text = told(node, *words)
        assert code == 1
        assert "nsufficient credentials" in text
    assert told(node, "kv", "get", "/app/a") == (0, "1\n")  # over the socket: an admin

    assert told(node, "user", "passwd", "alice", stdin=b"rabbit\n")[0] == 0
    assert told(node, "kv", "get", "/app/a", *alice)[0] == 1
    assert told(node, "kv", "get", "/app/a", "--user", "alice:rabbit", *over_tcp)[0] == 0
    assert told(node, "user", "revoke", "alice", "developer")[0] == 0
    assert told(node, "user", "delete", "alice")[0] == 0
    assert told(node, "role", "delete", "developer")[0] == 0
    assert told(node, "auth", "disable", "--user", "root:secret", *over_tcp)[0] == 0
    assert told(node, "kv", "get", "/app/a", *over_tcp) == (0, "1\n")


@pytest.mark.parametrize(
    ("words", "stdin", "code", "says"),
    [
        (("user", "add", "x"), b"", 2, "The password is missing"),
        (("user", "passwd", "x"), b"y\n", 1, "User x does not exist"),
        (("user", "delete", "x"), None, 1, "User x does not exist"),
        (("user", "grant", "x", "r"), None, 1, "User x does not exist"),
        (("role", "show", "x"), None, 1, "Role x does not exist"),
        (("role", "grant", "x"), None, 2, "Say what"),
        (("role", "grant", "root", "--read", "/x"), None, 1, "is root role"),
        (("role", "revoke", "root", "--read", "/x"), None, 1, "has no permission to read /x"),
        (("auth", "disable"), None, 1, "already disabled"),
    ],
)
def test_what_cannot_be_done(node: Node, words: tuple[str, ...], stdin: bytes | None, code: int, says: str) -> None:
    found, text = told(node, *words, stdin=stdin)
    assert found == code
    assert says in text


def test_a_user_is_not_added_twice(node: Node) -> None:
    assert told(node, "user", "add", "alice", stdin=b"one\n")[0] == 0
    code, text = told(node, "user", "add", "alice", stdin=b"two\n")
    assert code == 1
    assert "corenode user passwd alice" in text
    assert json.loads(told(node, "user", "list", "-o", "json")[1]) == [{"user": "alice", "roles": []}]
