"""The requests of the service Auth, as in etcd's rpc.proto."""

from core.api.v3.encoding import Enumeration, Message, Name

PERMISSIONS = Enumeration("Permission_Type", "READ", "WRITE", "READWRITE")


class Empty(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Nothing is asked but the call itself."""


class AuthenticateRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Ask for a token."""

    name: str = ""
    password: str = ""


class UserAddOptions(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """How a user is to be."""

    no_password: bool = False


class UserAddRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Make a user."""

    name: str = ""
    password: str = ""
    options: UserAddOptions | None = None
    hashedPassword: str = ""  # noqa: N815 - etcd's name


class UserRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Get or delete a user."""

    name: str = ""


class ChangePasswordRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Give a user another password."""

    name: str = ""
    password: str = ""


class UserGrantRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Give a role to a user."""

    user: str = ""
    role: str = ""


class UserRevokeRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Take a role from a user."""

    name: str = ""
    role: str = ""


class RoleAddRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Make a role."""

    name: str = ""


class RoleRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Get or delete a role."""

    role: str = ""


class PermissionForm(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """A right on a range of keys."""

    permType: Name = 0  # noqa: N815 - etcd's name
    key: bytes = b""
    range_end: bytes = b""


class RoleGrantRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Give a right to a role."""

    name: str = ""
    perm: PermissionForm | None = None


class RoleRevokeRequest(Message, forbid_unknown_fields=True, frozen=True, gc=False):
    """Take the rights on a range from a role."""

    role: str = ""
    key: bytes = b""
    range_end: bytes = b""
