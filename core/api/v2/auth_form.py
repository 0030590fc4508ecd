"""Users and roles as JSON, as `/v2/auth` reads and writes them."""

import msgspec

from core.kv.access import Permission, Right, Role, User, pattern_of, pattern_range


class UserForm(msgspec.Struct):
    """The body of a PUT on a user."""

    user: str = ""
    password: str = ""
    roles: list[str] | None = None
    grant: list[str] | None = None
    revoke: list[str] | None = None


class Lists(msgspec.Struct):
    """Patterns by right."""

    read: list[str] | None = None
    write: list[str] | None = None


class Kinds(msgspec.Struct):
    """Permissions, of which v2 knows those on keys."""

    kv: Lists | None = None


class RoleForm(msgspec.Struct):
    """The body of a PUT on a role."""

    role: str = ""
    permissions: Kinds | None = None
    grant: Kinds | None = None
    revoke: Kinds | None = None


def permissions(form: Kinds | None) -> tuple[Permission, ...]:
    """The patterns of a form as permissions, reading before writing; ValueError if one is empty (etcd 3.4 takes it and
    crashes at the next decision)."""
    lists = form.kv if form is not None and form.kv is not None else Lists()
    found = []
    for right, patterns in ((Right.READ, lists.read), (Right.WRITE, lists.write)):
        for pattern in patterns or ():
            if not pattern:
                raise ValueError("A pattern must not be empty")
            found.append(Permission(right, *pattern_range(pattern.encode())))
    return tuple(found)


def role_body(role: Role) -> dict[str, object]:
    """A role as JSON. Ranges that are no pattern of v2 are left out."""
    return {
        "role": role.name,
        "permissions": {"kv": {"read": _patterns(role, Right.READ), "write": _patterns(role, Right.WRITE)}},
    }


def user_body(user: User, roles: list[Role]) -> dict[str, object]:
    """A user with whole roles."""
    body: dict[str, object] = {"user": user.name}
    if roles:
        body["roles"] = [role_body(role) for role in roles]
    return body


def _patterns(role: Role, right: Right) -> list[str]:
    found = [pattern_of(each.key, each.end) for each in role.permissions if each.right & right]
    return sorted(pattern.decode(errors="replace") for pattern in found if pattern is not None)
