"""Tokens by which hosts join, as system records."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.kv.commands import (
    AuthSwitch,
    Batch,
    Command,
    Range,
    TokenCreate,
    TokenRevoke,
    TokenUse,
    UserCreate,
    decode,
    encode,
)
from core.kv.errors import LimitError, TokenError, TokenFault
from core.kv.keyspace import Keyspace, Outcome
from core.kv.memory import MemoryStore
from core.kv.tokens import KEPT_NS, MOST_TOKENS, TokenDone

SECOND = 1_000_000_000
DIGEST = hashlib.sha256(b"secret").digest()
HOSTS = [hashlib.sha256(b"%d" % number).digest() for number in range(6)]


class Tokens:
    """A keyspace whose clock the test sets."""

    def __init__(self) -> None:
        self.keyspace = Keyspace(MemoryStore())
        self.now = SECOND

    def do(self, command: Command) -> Outcome:
        batch = decode(encode(Batch(self.now, (command,))))
        return self.keyspace.apply(self.keyspace.applied[0] + 1, 1, batch)[0][0]

    def create(self, name: str = "t", uses: int = 1, ttl: int = 60, role: str = "member") -> Outcome:
        return self.do(TokenCreate(name, DIGEST, role, ttl, uses, "somebody"))

    def use(self, host: int, name: str = "t", digest: bytes = DIGEST, role: str = "member") -> TokenFault | None:
        outcome = self.do(TokenUse(name, digest, role, HOSTS[host]))
        if isinstance(outcome, TokenError):
            return outcome.fault
        assert isinstance(outcome, TokenDone)
        assert HOSTS[host] in outcome.token.holders
        return None


@given(st.lists(st.integers(min_value=0, max_value=5), max_size=30), st.integers(min_value=1, max_value=4))
def test_no_more_hosts_than_uses_and_each_as_often_as_it_likes(asking: list[int], uses: int) -> None:
    tokens = Tokens()
    tokens.create(uses=uses)
    let_in: set[int] = set()
    for host in asking:
        fits = host in let_in or len(let_in) < uses
        assert tokens.use(host) == (None if fits else TokenFault.USED_UP)
        if fits:
            let_in.add(host)
    token = tokens.keyspace.token("t")
    assert token is not None
    assert set(token.holders) == {HOSTS[host] for host in let_in}


def test_going_on_consumes_no_revision() -> None:
    tokens = Tokens()
    tokens.create()
    assert tokens.use(0) is None
    before = tokens.keyspace.revision
    assert tokens.use(0) is None
    assert tokens.keyspace.revision == before


def test_it_ends_by_cluster_time() -> None:
    tokens = Tokens()
    tokens.create(ttl=60)
    tokens.now += 60 * SECOND - 1
    assert tokens.use(0) is None
    tokens.now += 1
    assert tokens.use(0) is TokenFault.EXPIRED
    assert tokens.use(1) is TokenFault.EXPIRED


def test_a_revoked_one_is_of_no_use_to_anybody() -> None:
    tokens = Tokens()
    tokens.create(uses=2)
    assert tokens.use(0) is None
    assert isinstance(tokens.do(TokenRevoke("t")), TokenDone)
    assert isinstance(tokens.do(TokenRevoke("t")), TokenDone)
    assert tokens.use(0) is TokenFault.REVOKED
    assert tokens.use(1) is TokenFault.REVOKED


def test_who_does_not_know_the_secret_learns_nothing_else() -> None:
    tokens = Tokens()
    tokens.create()
    other = hashlib.sha256(b"guess").digest()
    assert tokens.use(0, digest=other) is TokenFault.UNKNOWN
    tokens.do(TokenRevoke("t"))
    assert tokens.use(0, digest=other) is TokenFault.UNKNOWN
    tokens.now += 3600 * SECOND
    assert tokens.use(0, digest=other) is TokenFault.UNKNOWN
    assert tokens.use(0, name="other") is TokenFault.UNKNOWN


def test_it_is_for_one_role() -> None:
    tokens = Tokens()
    tokens.create(role="worker")
    assert tokens.use(0) is TokenFault.OTHER_ROLE
    assert tokens.use(0, role="worker") is None


def test_an_id_is_given_once() -> None:
    tokens = Tokens()
    assert isinstance(tokens.create(), TokenDone)
    again = tokens.create()
    assert isinstance(again, TokenError)
    assert again.fault is TokenFault.EXISTS
    unknown = tokens.do(TokenRevoke("other"))
    assert isinstance(unknown, TokenError)


def test_what_ended_long_ago_makes_room() -> None:
    tokens = Tokens()
    for number in range(MOST_TOKENS):
        assert isinstance(tokens.create(f"t{number}", ttl=60 + number), TokenDone)
    assert isinstance(tokens.create("more"), LimitError)
    tokens.now += KEPT_NS + 62 * SECOND
    assert isinstance(tokens.create("more"), TokenDone)
    assert {token.id for token in tokens.keyspace.tokens()} == {f"t{n}" for n in range(3, MOST_TOKENS)} | {"more"}
    assert tokens.keyspace.range(Range(b"", b"\0")).count == 0  # nothing of it is a key


@pytest.mark.parametrize(
    "command",
    [
        TokenCreate("", DIGEST, "member", 60, 1, ""),
        TokenCreate("t", DIGEST[1:], "member", 60, 1, ""),
        TokenCreate("t", DIGEST, "root", 60, 1, ""),
        TokenCreate("t", DIGEST, "member", 0, 1, ""),
        TokenCreate("t", DIGEST, "member", 1 << 40, 1, ""),
        TokenCreate("t", DIGEST, "member", 60, 0, ""),
        TokenCreate("t", DIGEST, "member", 60, 1_000, ""),
        TokenCreate("t", DIGEST, "member", 60, 1, "x" * 1_000),
    ],
)
def test_what_is_no_token_is_refused(command: TokenCreate) -> None:
    tokens = Tokens()
    assert isinstance(tokens.do(command), LimitError)
    assert tokens.keyspace.tokens() == []


def test_it_works_while_access_is_restricted() -> None:
    tokens = Tokens()
    tokens.do(UserCreate("root", "hash"))
    tokens.do(AuthSwitch(enabled=True))
    assert isinstance(tokens.create(), TokenDone)
    assert tokens.use(0) is None
