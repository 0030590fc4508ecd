"""Tokens of v3: whom they prove, for how long, and what ends them."""

import pytest

from core.api.access import tokens
from core.api.access.tokens import TTL_SECONDS, Tokens
from core.kv.commands import Batch, Command, UserChange, UserCreate, UserDelete
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore


class Records:
    """A keyspace with one user."""

    def __init__(self) -> None:
        self.now = 0.0
        self.keyspace = Keyspace(MemoryStore())
        self.tokens = Tokens(self.keyspace.access, lambda: self.now)
        self.apply(UserCreate("alice", "hash"))

    def apply(self, command: Command) -> None:
        self.keyspace.apply(self.keyspace.applied[0] + 1, 1, Batch(1, (command,)))


def test_a_token_proves_its_user_and_no_other_text_does() -> None:
    records = Records()
    token = records.tokens.issue("alice").encode()
    assert records.tokens.user(token) == "alice"
    assert records.tokens.user(b"Bearer " + token) == "alice"
    for other in (b"", b"Bearer ", token[:-1], token + b"x", token.swapcase(), b"Basic " + token):
        assert records.tokens.user(other) is None
    with pytest.raises(ValueError, match="no user"):
        records.tokens.issue("nobody")


def test_a_token_lives_for_a_while_after_each_use() -> None:
    records = Records()
    token = records.tokens.issue("alice").encode()
    for now in (TTL_SECONDS - 1, 2 * TTL_SECONDS - 2):
        records.now = now
        assert records.tokens.user(token) == "alice"
    records.now = 3 * TTL_SECONDS
    assert records.tokens.user(token) is None
    records.now = 2 * TTL_SECONDS
    assert records.tokens.user(token) is None, "what has ended does not come back"


def test_another_password_or_no_user_any_more_ends_a_token() -> None:
    records = Records()
    first = records.tokens.issue("alice").encode()
    records.apply(UserChange("alice", grant=("r",)))
    assert records.tokens.user(first) == "alice"
    records.apply(UserChange("alice", "other"))
    assert records.tokens.user(first) is None
    second = records.tokens.issue("alice").encode()
    records.apply(UserDelete("alice"))
    assert records.tokens.user(second) is None
    records.apply(UserCreate("alice", "new"))
    assert records.tokens.user(second) is None


def test_the_table_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "KEPT", 3)
    records = Records()
    kept = [records.tokens.issue("alice").encode() for _ in range(5)]
    assert [records.tokens.user(token) is not None for token in kept] == [False, False, True, True, True]
    records.now = 10 * TTL_SECONDS
    newest = records.tokens.issue("alice").encode()
    records.now = 0.0
    assert records.tokens.user(kept[4]) is None, "those that ended make room first"
    assert records.tokens.user(newest) == "alice"
