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
        self.tokens = self.node()
        self.apply(UserCreate("alice", "hash"))

    def node(self, wrong_by: float = 0.0) -> Tokens:
        """The tokens of one more member, whose clock is wrong by so many seconds."""
        return Tokens(self.keyspace.access, lambda: self.now, lambda: 1_000_000 + self.now + wrong_by)

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
    records.now = TTL_SECONDS / 2
    assert [records.tokens.user(token) is not None for token in kept] == [True] * 5, "what was let go of is read again"
    records.now = TTL_SECONDS + 1
    newest = records.tokens.issue("alice").encode()
    assert [records.tokens.user(token) is not None for token in kept].count(True) < 3, "but not for longer than others"
    assert records.tokens.user(newest) == "alice"


def test_a_token_is_good_at_every_member() -> None:
    records = Records()
    one, two, slow = records.node(), records.node(100), records.node(-2 * TTL_SECONDS)
    token = one.issue("alice").encode()
    assert (two.user(token), slow.user(token)) == ("alice", None)
    own = slow.issue("alice").encode()
    assert (slow.user(own), one.user(own)) == ("alice", None)
    records.now = TTL_SECONDS - 1
    assert two.user(token) == "alice"
    records.now = 2 * TTL_SECONDS - 2
    assert two.user(token) == "alice", "it is used there"
    assert one.user(token) is None, "and here it is not"
    assert records.node().user(token) is None, "nor where it comes late"
    fresh = one.issue("alice").encode()
    records.apply(UserChange("alice", "other"))
    assert (two.user(fresh), records.node().user(fresh)) == (None, None)


def test_nobody_makes_a_token_without_the_hash_of_the_password() -> None:
    records = Records()
    records.apply(UserCreate("bob", "another"))
    records.apply(UserCreate("carol", None))
    name, made, chance, signature = records.tokens.issue("alice").split(".")
    bob = records.tokens.issue("bob").split(".")
    forged = [
        (bob[0], made, chance, signature),
        (name, f"{int(made, 16) + 1:x}", chance, signature),
        (name, made, bob[2], signature),
        (name, made, chance, bob[3]),
        (name, made, chance, ""),
        ("", made, chance, signature),
        ("_____", made, chance, signature),
        (name, "x", chance, signature),
        (name, "-1", chance, signature),
        (name, made, chance, signature, signature),
        (name * 500, made, chance, signature),
    ]
    other = records.node()
    for parts in forged:
        assert other.user(".".join(parts).encode()) is None
    assert other.user(b"\xff.1.2.3") is None
    assert other.user(records.tokens.issue("carol").encode()) is None
    assert other.user(".".join((name, made, chance, signature)).encode()) == "alice"
