"""Users, roles and the decision over them, beside a twin that is too simple to be wrong."""

from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.kv import commands as c
from core.kv.access import (
    Office,
    Permission,
    Right,
    Role,
    Span,
    covers,
    may,
    pattern_of,
    pattern_range,
    span,
    tree_spans,
)
from core.kv.errors import AccessError, KeyspaceError, ReservedKeyError, StaleAccessError, Why
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.outcomes import AccessDone, Revoked
from core.kv.records import Event
from core.kv.transaction import Table
from tests.kv.trial import dump

# The decision

ALPHABET = (b"\0", b"/", b"0", b"\xff")
UNIVERSE = [b"".join(parts) for length in range(4) for parts in product(ALPHABET, repeat=length)]
"""Every key of up to three letters. Ranges have ends of up to two, so what holds here holds for longer keys."""
short = st.sampled_from([b"".join(parts) for length in (1, 2) for parts in product(ALPHABET, repeat=length)])
ranges = st.tuples(short, st.none() | short)
permissions = st.builds(lambda right, pair: Permission(right, *pair), st.sampled_from(Right), ranges)


def holds(key: bytes, start: bytes, end: bytes | None) -> bool:
    """Whether a range as v3 writes it has a key in it."""
    if end is None:
        return key == start
    return key >= (b"" if start == b"\0" else start) and (end == b"\0" or key < end)


@given(st.lists(permissions, max_size=5), st.sampled_from([Right.READ, Right.WRITE]), ranges)
def test_together_permissions_cover_what_they_cover_key_by_key(
    held: list[Permission], right: Right, wanted: tuple[bytes, bytes | None]
) -> None:
    span_of_wanted = span(*wanted)
    stop = span_of_wanted.stop
    if stop is not None and stop <= span_of_wanted.start:
        return  # nothing is in it
    keys = [key for key in UNIVERSE if holds(key, *wanted)]
    naive = all(any(each.right & right and holds(key, each.key, each.end) for each in held) for key in keys)
    assert covers(held, right, span_of_wanted) == naive


@given(st.binary(min_size=1, max_size=3).filter(lambda pattern: not pattern.startswith(b"\0")))
def test_a_pattern_is_a_range_and_back(pattern: bytes) -> None:
    assert pattern_of(*pattern_range(pattern)) == pattern


@pytest.mark.parametrize(
    ("pattern", "path", "recursive", "allowed"),
    [
        (b"/a", b"/a", False, True),
        (b"/a", b"/a", True, False),
        (b"/a", b"/ab", False, False),
        (b"/a", b"/a/b", False, False),
        (b"/a/*", b"/a/b", False, True),
        (b"/a/*", b"/a/b", True, True),
        (b"/a/*", b"/a/b/c", True, True),
        (b"/a/*", b"/a", False, False),
        (b"/a/*", b"/a", True, False),
        (b"/a*", b"/a", True, True),
        (b"/a*", b"/ab", True, True),
        (b"/*", b"/", True, True),
        (b"/*", b"/x", True, True),
        (b"/a/*", b"/", True, False),
        (b"*", b"/", True, True),
    ],
)
def test_patterns_of_v2(pattern: bytes, path: bytes, recursive: bool, allowed: bool) -> None:
    role = Role("r", (Permission(Right.READ, *pattern_range(pattern)),))
    assert may(Office.NONE, [role], Right.READ, tree_spans(path, recursive=recursive)) is allowed
    assert not may(Office.NONE, [role], Right.WRITE, tree_spans(path, recursive=recursive))


def test_admin_and_the_role_root_may_do_everything_and_nobody_nothing() -> None:
    everything = [Span(b"", None)]
    assert may(Office.ADMIN, [], Right.READWRITE, everything)
    assert may(Office.NONE, [Role("root")], Right.READWRITE, everything)
    for office in (Office.NONE, Office.READER, Office.OPERATOR):
        assert not may(office, [], Right.READ, tree_spans(b"/a", recursive=False))


# The records


class Cluster:
    """A state machine that is fed one command an entry, encoded and decoded as in a log."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.keyspace = Keyspace(self.store)
        self.log: list[bytes] = []

    def do(self, *batch: c.Command) -> Any:
        """Apply a batch; the outcome of its last command."""
        self.log.append(c.encode(c.Batch(0, batch)))
        return self.keyspace.apply(len(self.log), 1, c.decode(self.log[-1]))[0][-1]

    def admitted(self, command: c.Admissible) -> Any:
        """As if it had been allowed just now."""
        return self.do(c.Admitted(self.keyspace.access.switch.revision, command))


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def why(outcome: object) -> Why:
    assert isinstance(outcome, AccessError), outcome
    return outcome.why


def test_each_change_consumes_one_index_and_is_the_revision_of_the_switch(cluster: Cluster) -> None:
    for command in (c.UserCreate("root", "h"), c.RoleCreate("r"), c.UserChange("root", "i"), c.RoleDelete("r")):
        before = cluster.keyspace.revision
        done = cluster.do(command)
        assert isinstance(done, AccessDone)
        assert cluster.keyspace.revision == done.revision == before + 1
        assert cluster.keyspace.access.switch.revision == before + 1
        reopened = Keyspace(cluster.store).access.switch
        assert (reopened.enabled, reopened.revision) == (False, before + 1)


def test_enabling_needs_root_and_makes_guest(cluster: Cluster) -> None:
    assert why(cluster.do(c.AuthSwitch(True))) is Why.NO_ROOT
    assert why(cluster.do(c.AuthSwitch(False))) is Why.ALREADY_DISABLED
    cluster.do(c.UserCreate("root", "h"))
    cluster.do(c.AuthSwitch(True))
    assert why(cluster.admitted(c.AuthSwitch(True))) is Why.ALREADY_ENABLED
    assert cluster.keyspace.access.role("guest") == Role("guest", (Permission(Right.READWRITE, b"/", b"0"),))
    assert Keyspace(cluster.store).access.switch.enabled
    assert why(cluster.admitted(c.UserDelete("root"))) is Why.ROOT_USER
    assert isinstance(cluster.admitted(c.AuthSwitch(False)), AccessDone)
    assert isinstance(cluster.do(c.UserDelete("root")), AccessDone)


def test_the_system_records_are_out_of_reach_of_keys(cluster: Cluster) -> None:
    cluster.do(c.UserCreate("root", "h"))
    before = dump(cluster.store)
    assert cluster.do(c.DeleteRange(b"\0", b"\0")).deleted == 0
    assert isinstance(cluster.do(c.Put(b"\0corenode/auth/switch", b"\xc2")), ReservedKeyError)
    assert cluster.keyspace.range(c.Range(b"\0", b"\0")).records == ()
    after = dump(cluster.store)
    assert {name for name in after if after[name] != before[name]} <= {Table.META, Table.TIME}


def test_a_deleted_role_is_nobodys_when_it_is_made_again(cluster: Cluster) -> None:
    cluster.do(c.RoleCreate("r"))
    cluster.do(c.UserCreate("alice", "h", ("r", "s")))
    cluster.do(c.RoleDelete("r"))
    cluster.do(c.RoleCreate("r"))
    alice = cluster.keyspace.access.user("alice")
    assert alice is not None
    assert alice.roles == ("s",)


# Decisions that are out of date


def restricted() -> Cluster:
    cluster = Cluster()
    cluster.do(c.UserCreate("root", "h"))
    cluster.do(c.AuthSwitch(True))
    return cluster


ASKED_FOR: list[c.Admissible] = [
    c.Set(b"/a", b"1"), c.Create(b"/b"), c.Update(b"/a"), c.CompareAndSwap(b"/a"), c.Delete(b"/a"),
    c.CompareAndDelete(b"/a"), c.Put(b"k"), c.DeleteRange(b"k"), c.Txn(), c.LeaseGrant(1, 5), c.LeaseKeepAlive(1),
    c.LeaseRevoke(1), c.UserCreate("u"), c.UserChange("u", "h"), c.UserDelete("u"), c.RoleCreate("r"),
    c.RoleChange("r", (Permission(Right.READ, b"/"),)), c.RoleDelete("r"), c.AuthSwitch(False),
]  # fmt: skip


def test_every_command_that_can_be_asked_for_is_tried() -> None:
    assert {type(command) for command in ASKED_FOR} == set(c.Admissible.__args__)


@pytest.mark.parametrize("command", ASKED_FOR, ids=lambda command: type(command).__name__)
def test_a_command_allowed_before_access_was_restricted_is_refused_after(command: c.Admissible) -> None:
    cluster = Cluster()
    cluster.do(c.UserCreate("root", "h"))
    enable = c.AuthSwitch(True)
    old = cluster.keyspace.access.switch.revision
    assert isinstance(cluster.do(enable, command), StaleAccessError)
    revision = cluster.keyspace.revision
    assert isinstance(cluster.do(c.Admitted(old, command)), StaleAccessError)
    assert cluster.keyspace.revision == revision
    assert not isinstance(cluster.admitted(command), StaleAccessError)


def test_a_decision_is_void_once_a_right_was_taken_away() -> None:
    cluster = restricted()
    seen = cluster.keyspace.access.switch.revision
    narrow = c.RoleChange("guest", revoke=(Permission(Right.WRITE, b"/", b"0"),))
    assert isinstance(cluster.do(c.Admitted(seen, narrow)), AccessDone)
    assert isinstance(cluster.do(c.Admitted(seen, c.Set(b"/a", b"1"))), StaleAccessError)


def test_what_nobody_asked_for_goes_on() -> None:
    cluster = restricted()
    assert not isinstance(cluster.do(c.Expire(10)), KeyspaceError)
    assert not isinstance(cluster.do(c.Compact(cluster.keyspace.revision)), KeyspaceError)


def test_when_access_is_free_again_an_old_decision_does_no_harm() -> None:
    cluster = restricted()
    seen = cluster.keyspace.access.switch.revision
    cluster.admitted(c.AuthSwitch(False))
    assert isinstance(cluster.do(c.Admitted(seen, c.Set(b"/a", b"1"))), Event)


# A walk beside a twin


class Twin:
    """Users and roles as plain dicts and sets."""

    def __init__(self) -> None:
        self.enabled = False
        self.users: dict[str, tuple[str | None, set[str]]] = {}
        self.roles: dict[str, set[tuple[str, bytes, bytes | None]]] = {}

    def apply(self, command: c.Command) -> bool:
        """Whether it takes effect."""
        match command:
            case c.AuthSwitch(True):
                if self.enabled or "root" not in self.users:
                    return False
                self.enabled = True
                self.roles.setdefault("guest", {("r", b"/", b"0"), ("w", b"/", b"0")})
            case c.AuthSwitch():
                if not self.enabled:
                    return False
                self.enabled = False
            case c.UserCreate(name, password, roles):
                if name in self.users:
                    return False
                self.users[name] = password, {*roles, *(["root"] if name == "root" else [])}
            case c.UserDelete(name):
                if name not in self.users or (name == "root" and self.enabled):
                    return False
                del self.users[name]
            case c.UserChange():
                return self._change_user(command)
            case c.RoleCreate(name, permissions):
                if name in self.roles or name == "root":
                    return False
                self.roles[name] = rights(permissions)
            case c.RoleDelete(name):
                if self.roles.pop(name, None) is None:
                    return False
                for _, held in self.users.values():
                    held.discard(name)
            case c.RoleChange():
                return self._change_role(command)
        return True

    def _change_user(self, command: c.UserChange) -> bool:
        if command.name not in self.users:
            return False
        password, old = self.users[command.name]
        held = set(old)
        for role in command.grant:
            if role in held:
                return False
            held.add(role)
        for role in command.revoke:
            if role not in held:
                return False
            held.remove(role)
        new = command.password or password
        if (command.name == "root" and "root" not in held) or (new == password and held == old):
            return False
        self.users[command.name] = new, held
        return True

    def _change_role(self, command: c.RoleChange) -> bool:
        old = self.roles.get(command.name)
        if old is None or command.name == "root":
            return False
        held = set(old)
        for each in command.grant:
            if rights([each]) & held:
                return False
            held |= rights([each])
        held -= rights(command.revoke)
        if held == old:
            return False
        self.roles[command.name] = held
        return True


def rights(permissions: Any) -> set[tuple[str, bytes, bytes | None]]:
    """One element for each right on each range."""
    found = set()
    for each in permissions:
        if each.right & Right.READ:
            found.add(("r", each.key, each.end))
        if each.right & Right.WRITE:
            found.add(("w", each.key, each.end))
    return found


def drawn(random: Random) -> c.Admissible:
    user = random.choice(["root", "alice", "bob"])
    role = random.choice(["root", "guest", "r", "s"])
    some_roles = tuple(random.choice(["root", "guest", "r"]) for _ in range(random.choice([0, 0, 1, 2])))
    other_roles = tuple(random.choice(["root", "guest", "r"]) for _ in range(random.choice([0, 0, 1, 2])))

    def some() -> tuple[Permission, ...]:
        ends = [None, b"0", b"\0"]
        return tuple(
            Permission(random.choice(list(Right)), random.choice([b"/", b"/a"]), random.choice(ends))
            for _ in range(random.choice([0, 1, 1, 2]))
        )

    choices: list[c.Admissible] = [
        c.AuthSwitch(random.random() < 0.5),
        c.UserCreate(user, random.choice(["h1", "h2", None]), some_roles),
        c.UserChange(user, random.choice(["h1", "h2", None]), some_roles, other_roles),
        c.UserDelete(user),
        c.RoleCreate(role, some()),
        c.RoleChange(role, some(), some()),
        c.RoleDelete(role),
    ]
    return random.choice(choices)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_walk_beside_the_twin(seed: int) -> None:
    random = Random(seed)
    cluster, twin = Cluster(), Twin()
    taken = 0
    for _ in range(1500):
        command = drawn(random)
        before = dump(cluster.store)
        done = cluster.admitted(command)
        expected = twin.apply(command)
        assert isinstance(done, AccessDone if expected else AccessError), (command, done)
        taken += expected
        if not expected:
            after = dump(cluster.store)
            assert {name for name in after if after[name] != before[name]} <= {Table.META, Table.TIME}
        if random.random() < 0.05:
            cluster.keyspace = Keyspace(cluster.store)
        access = cluster.keyspace.access
        assert access.switch.enabled == twin.enabled
        assert {user.name: (user.password, set(user.roles)) for user in access.users()} == twin.users
        assert {role.name: rights(role.permissions) for role in access.roles()} == twin.roles
    assert 300 < taken < 1200
    again = MemoryStore()
    follower = Keyspace(again)
    for index, entry in enumerate(cluster.log, 1):
        follower.apply(index, 1, c.decode(entry))
    assert dump(again) == dump(cluster.store)


def test_a_certificate_can_be_revoked_while_access_is_restricted() -> None:
    cluster = restricted()
    assert cluster.do(c.Revoke(b"\x07")) == Revoked(cluster.keyspace.revision, new=True)
    assert cluster.keyspace.is_revoked(7)
