"""Users, roles and the switch as system records: how commands change them, and how they are read.

Each is a key of the system prefix, so it has revisions, history and snapshots like any other. A change consumes one
index; with it goes a new version of the switch, whose revision is thereby that of the last change of any of them:
`Admitted` commands name it.
"""

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from core.kv import hosts
from core.kv.access import GUEST, ROOT, Permission, Right, Role, User, pattern_of, pattern_range, prefix_end
from core.kv.commands import AuthSwitch, RoleChange, RoleCreate, RoleDelete, UserChange, UserCreate, UserDelete
from core.kv.errors import AccessError, Why
from core.kv.ledger import SYSTEM_PREFIX, Ledger
from core.kv.outcomes import AccessDone
from core.kv.records import Action
from core.kv.transaction import Table

_PREFIX = SYSTEM_PREFIX + b"auth/"
_SWITCH = _PREFIX + b"switch"
_USERS = _PREFIX + b"user/"
_ROLES = _PREFIX + b"role/"
_EVERYTHING = Permission(Right.READWRITE, *pattern_range(b"/*"))
ROOT_ROLE = Role(ROOT, (_EVERYTHING,))
"""What the role root shows as; it may do more (`access.may`). It is no record."""

_encode = msgspec.msgpack.Encoder().encode
_decode_switch = msgspec.msgpack.Decoder(bool).decode
_decode_user = msgspec.msgpack.Decoder(User).decode
_decode_role = msgspec.msgpack.Decoder(Role).decode
T = TypeVar("T", User, Role)


class Accounts:
    """The access records for reading. `switch` is a live view: its attributes follow each change."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.switch = ledger.access
        self.refresh()

    def refresh(self) -> None:
        """Read the switch from the rows."""
        record = self._ledger.live(Table.KEY, _SWITCH)
        self.switch.enabled = record is not None and _decode_switch(record.value)
        self.switch.revision = 0 if record is None else record.revision

    def user(self, name: str) -> User | None:
        """The user of that name."""
        return _user(self._ledger, name)

    def role(self, name: str) -> Role | None:
        """The role of that name; root is always there."""
        return _role(self._ledger, name)

    def holder(self, machine: str) -> hosts.Holder | None:
        """Whose a machine id is."""
        return hosts.find(self._ledger, machine)

    def users(self) -> list[User]:
        """All users, by name."""
        return [_decode_user(value) for value in _values(self._ledger, _USERS)]

    def roles(self) -> list[Role]:
        """All roles but root, by name."""
        return [_decode_role(value) for value in _values(self._ledger, _ROLES)]


def switch(ledger: Ledger, command: AuthSwitch) -> AccessDone:
    """Begin or end to restrict access."""
    if command.enabled == ledger.access.enabled:
        raise AccessError(Why.ALREADY_ENABLED if command.enabled else Why.ALREADY_DISABLED)
    if not command.enabled:
        return _done(ledger, 0, enabled=False)
    if _user(ledger, ROOT) is None:
        raise AccessError(Why.NO_ROOT)
    part = 0
    if command.guest and _role(ledger, GUEST) is None:
        part = _put(ledger, _ROLES, Role(GUEST, (_EVERYTHING,)), part)
    return _done(ledger, part, enabled=True)


def create_user(ledger: Ledger, command: UserCreate) -> AccessDone:
    """Make a user; root gets the role root."""
    _check_name(ledger, _USERS, command.name)
    if _user(ledger, command.name) is not None:
        raise AccessError(Why.USER_EXISTS, command.name)
    roles = {*command.roles, ROOT} if command.name == ROOT else {*command.roles}
    user = User(command.name, command.password, tuple(sorted(roles)))
    return _done(ledger, _put(ledger, _USERS, user, 0), user)


def change_user(ledger: Ledger, command: UserChange) -> AccessDone:
    """Change password and roles, all or nothing."""
    old = _user(ledger, command.name)
    if old is None:
        raise AccessError(Why.NO_USER, command.name)
    roles = set(old.roles)
    for role in command.grant:
        if role in roles:
            raise AccessError(Why.ROLE_GRANTED, role, command.name)
        roles.add(role)
    for role in command.revoke:
        if role not in roles:
            raise AccessError(Why.ROLE_NOT_GRANTED, role, command.name)
        roles.remove(role)
    if command.name == ROOT and ROOT not in roles:
        raise AccessError(Why.ROOT_KEEPS_ROOT)
    password = old.password if command.password is None else command.password
    user = User(command.name, password, tuple(sorted(roles)))
    if user == old:
        raise AccessError(Why.USER_UNCHANGED, command.name)
    return _done(ledger, _put(ledger, _USERS, user, 0), user)


def delete_user(ledger: Ledger, command: UserDelete) -> AccessDone:
    """Remove a user; root only while access is not restricted."""
    if command.name == ROOT and ledger.access.enabled:
        raise AccessError(Why.ROOT_USER)
    if _user(ledger, command.name) is None:
        raise AccessError(Why.NO_USER, command.name)
    return _done(ledger, _remove(ledger, _USERS, command.name))


def create_role(ledger: Ledger, command: RoleCreate) -> AccessDone:
    """Make a role."""
    _check_role(command.name)
    _check_name(ledger, _ROLES, command.name)
    if _role(ledger, command.name) is not None:
        raise AccessError(Why.ROLE_EXISTS, command.name)
    rights: dict[tuple[bytes, bytes | None], int] = {}
    for each in command.permissions:
        rights[each.key, each.end] = rights.get((each.key, each.end), 0) | each.right
    role = Role(command.name, _ordered(rights))
    return _done(ledger, _put(ledger, _ROLES, role, 0), role)


def change_role(ledger: Ledger, command: RoleChange) -> AccessDone:
    """Grant, then revoke, then put, all or nothing."""
    _check_role(command.name)
    old = _role(ledger, command.name)
    if old is None:
        raise AccessError(Why.NO_ROLE, command.name)
    rights: dict[tuple[bytes, bytes | None], int] = {(each.key, each.end): each.right for each in old.permissions}
    for each in command.grant:
        given = rights.get((each.key, each.end), 0)
        for right in (Right.READ, Right.WRITE):
            if given & each.right & right:
                pattern = pattern_of(each.key, each.end) or each.key
                raise AccessError(Why.PERMISSION_GRANTED, right.name.lower(), pattern.decode(errors="replace"))
        rights[each.key, each.end] = given | each.right
    for each in command.revoke:
        if (each.key, each.end) in rights:
            rights[each.key, each.end] &= ~each.right
    for each in command.put:
        rights[each.key, each.end] = each.right
    role = Role(command.name, _ordered(rights))
    if role == old:
        raise AccessError(Why.ROLE_UNCHANGED, command.name)
    return _done(ledger, _put(ledger, _ROLES, role, 0), role)


def delete_role(ledger: Ledger, command: RoleDelete) -> AccessDone:
    """Remove a role, and from all users: one of the same name made later must not be theirs unasked."""
    _check_role(command.name)
    if _role(ledger, command.name) is None:
        raise AccessError(Why.NO_ROLE, command.name)
    holders = [_decode_user(value) for value in _values(ledger, _USERS)]
    part = _remove(ledger, _ROLES, command.name)
    for user in holders:
        if command.name in user.roles:
            kept = tuple(role for role in user.roles if role != command.name)
            part = _put(ledger, _USERS, User(user.name, user.password, kept), part)
    return _done(ledger, part)


def _user(ledger: Ledger, name: str) -> User | None:
    record = ledger.live(Table.KEY, _USERS + name.encode())
    return None if record is None else _decode_user(record.value)


def _role(ledger: Ledger, name: str) -> Role | None:
    if name == ROOT:
        return ROOT_ROLE
    record = ledger.live(Table.KEY, _ROLES + name.encode())
    return None if record is None else _decode_role(record.value)


def _values(ledger: Ledger, prefix: bytes) -> Iterator[bytes]:
    for key, _ in list(ledger.rows.scan(Table.KEY, prefix, prefix_end(prefix))):
        record = ledger.live(Table.KEY, key)
        if record is not None:
            yield record.value


def _check_name(ledger: Ledger, prefix: bytes, name: str) -> None:
    if not name:
        raise AccessError(Why.NO_NAME)
    ledger.check_length(prefix + name.encode())


def _check_role(name: str) -> None:
    if name == ROOT:
        raise AccessError(Why.ROOT_ROLE, name)


def _ordered(rights: dict[tuple[bytes, bytes | None], int]) -> tuple[Permission, ...]:
    ranges = sorted(rights, key=lambda each: (each[0], each[1] or b""))
    return tuple(Permission(Right(rights[each]), *each) for each in ranges if rights[each])


def _put(ledger: Ledger, prefix: bytes, value: User | Role, part: int) -> int:
    """Write a record as a part of the next change; the next free sub-number."""
    key = prefix + value.name.encode()
    return _write(ledger, key, _encode(value), part)


def _write(ledger: Ledger, key: bytes, value: bytes, part: int) -> int:
    previous = ledger.live(Table.KEY, key)
    record = ledger.write(Table.KEY, key, _next(ledger, part), part, Action.SET, value, previous=previous)
    if part == 0:
        ledger.tell(record, previous)
    return part + 1


def _remove(ledger: Ledger, prefix: bytes, name: str) -> int:
    previous = ledger.live(Table.KEY, prefix + name.encode())
    if previous is None:
        raise ValueError(f"{name} was there a moment ago")
    ledger.tell(ledger.remove(Table.KEY, previous, _next(ledger, 0), 0, Action.DELETE), previous)
    return 1


def _next(ledger: Ledger, part: int) -> int:
    """The index of this change: the first part consumes it."""
    return ledger.revision + 1 if part == 0 else ledger.revision


def _done(ledger: Ledger, part: int, now: User | Role | None = None, *, enabled: bool | None = None) -> AccessDone:
    """End a change with a new version of the switch."""
    if enabled is not None:
        ledger.access.enabled = enabled
    _write(ledger, _SWITCH, _encode(ledger.access.enabled), part)
    ledger.access.revision = ledger.revision
    return AccessDone(ledger.revision, now)
