"""`/v3/auth/...`: the switch, tokens, users and roles: the same records, and the same gate, as `/v2/auth`."""

from collections.abc import Callable
from functools import partial

from core.api.access.gate import Denied, Gate
from core.api.http.message import Handler
from core.api.v3.auth_messages import (
    PERMISSIONS,
    AuthenticateRequest,
    ChangePasswordRequest,
    Empty,
    RoleAddRequest,
    RoleGrantRequest,
    RoleRequest,
    RoleRevokeRequest,
    UserAddRequest,
    UserGrantRequest,
    UserRequest,
    UserRevokeRequest,
)
from core.api.v3.calls import Call, Context, Unary
from core.api.v3.encoding import base64_of
from core.api.v3.errors import Code, RpcError, etcd, invalid
from core.api.v3.header import reply_body
from core.kv.access import ROOT, Identity, Office, Permission, Right
from core.kv.commands import (
    Admissible,
    AuthSwitch,
    RoleChange,
    RoleCreate,
    RoleDelete,
    UserChange,
    UserCreate,
    UserDelete,
)
from core.kv.errors import AccessError, Why
from core.kv.outcomes import AccessDone

_RIGHTS = (Right.READ, Right.WRITE, Right.READWRITE)
_BUSY = "too many passwords wait to be checked; try again later"
_NOTHING_TO_DO = frozenset(
    (Why.ALREADY_ENABLED, Why.ALREADY_DISABLED, Why.ROLE_GRANTED, Why.USER_UNCHANGED, Why.ROLE_UNCHANGED)
)
"""etcd answers these with success."""
_REFUSALS = {
    Why.NO_ROOT: (Code.FAILED_PRECONDITION, "root user does not exist"),
    Why.USER_EXISTS: (Code.FAILED_PRECONDITION, "user name already exists"),
    Why.NO_USER: (Code.FAILED_PRECONDITION, "user name not found"),
    Why.ROOT_USER: (Code.INVALID_ARGUMENT, "invalid auth management"),
    Why.ROOT_KEEPS_ROOT: (Code.INVALID_ARGUMENT, "invalid auth management"),
    Why.ROLE_NOT_GRANTED: (Code.FAILED_PRECONDITION, "role is not granted to the user"),
    Why.ROLE_EXISTS: (Code.FAILED_PRECONDITION, "role name already exists"),
    Why.NO_ROLE: (Code.FAILED_PRECONDITION, "role name not found"),
    Why.ROOT_ROLE: (Code.INVALID_ARGUMENT, "invalid auth management"),
    Why.NO_NAME: (Code.INVALID_ARGUMENT, "user name is empty"),
}


def auth_handlers(context: Context) -> dict[str, Handler]:
    """The handlers by path."""
    auth = _Auth(context)
    return {
        "auth/enable": Unary(context, Empty, partial(auth.switch, True)),
        "auth/disable": Unary(context, Empty, partial(auth.switch, False)),
        "auth/status": Unary(context, Empty, auth.status),
        "auth/authenticate": Unary(context, AuthenticateRequest, auth.authenticate),
        "auth/user/add": Unary(context, UserAddRequest, auth.user_add),
        "auth/user/get": Unary(context, UserRequest, auth.user_get),
        "auth/user/list": Unary(context, Empty, auth.user_list),
        "auth/user/delete": Unary(context, UserRequest, auth.user_delete),
        "auth/user/changepw": Unary(context, ChangePasswordRequest, auth.user_change_password),
        "auth/user/grant": Unary(context, UserGrantRequest, auth.user_grant),
        "auth/user/revoke": Unary(context, UserRevokeRequest, auth.user_revoke),
        "auth/role/add": Unary(context, RoleAddRequest, auth.role_add),
        "auth/role/get": Unary(context, RoleRequest, auth.role_get),
        "auth/role/list": Unary(context, Empty, auth.role_list),
        "auth/role/delete": Unary(context, RoleRequest, auth.role_delete),
        "auth/role/grant": Unary(context, RoleGrantRequest, auth.role_grant),
        "auth/role/revoke": Unary(context, RoleRevokeRequest, auth.role_revoke),
    }


class _Auth:
    """The handlers. All but status, authenticate and what concerns oneself is for admins, restricted or not."""

    def __init__(self, context: Context) -> None:
        self._gate: Gate = context.gate
        self._accounts = context.gate.accounts
        self._header = context.header

    # The switch

    def switch(self, enabled: bool, request: Empty, call: Call) -> None:
        """Begin or end to restrict access. Whoever shows no credentials may do nothing, unless the role guest is
        there."""
        call.require(Office.ADMIN)
        self._change(AuthSwitch(enabled, guest=False), call)

    def status(self, request: Empty, call: Call) -> None:
        """Say whether access is restricted."""
        switch = self._gate.switch
        call.send(reply_body(self._header.now(), {"enabled": switch.enabled, "authRevision": str(switch.revision)}))

    def authenticate(self, request: AuthenticateRequest, call: Call) -> None:
        """Give a token for name and password."""
        if not self._gate.switch.enabled:
            raise etcd(Code.FAILED_PRECONDITION, "authentication is not enabled")

        def proven(found: Identity | Denied) -> None:
            if isinstance(found, Identity) and found.user is not None:
                token = self._gate.tokens.issue(found.user)
                call.send(reply_body(self._header.now(), {"token": token}))
            elif isinstance(found, Denied) and found.status != 401:
                code = Code.RESOURCE_EXHAUSTED if found.status == 429 else Code.UNAVAILABLE
                call.fail(RpcError(code, found.why))
            else:
                call.fail(invalid("authentication failed, invalid user ID or password"))

        self._gate.authenticate(call.request, request.name, request.password, proven)

    # Users

    def user_add(self, request: UserAddRequest, call: Call) -> None:
        """Make a user. Without a password it cannot log in by one."""
        call.require(Office.ADMIN)
        if not request.name:
            raise invalid("user name is empty")
        if request.hashedPassword:
            raise invalid("a hashed password is not taken; give the password itself")
        bare = request.options is not None and request.options.no_password
        if bare or not request.password:
            self._change(UserCreate(request.name), call)
        else:
            self._hashed(request.password, call, lambda found: self._change(UserCreate(request.name, found), call))

    def user_change_password(self, request: ChangePasswordRequest, call: Call) -> None:
        """Give a user another password."""
        call.require(Office.ADMIN)
        if not request.password:
            raise invalid("a password must not be empty")
        self._hashed(request.password, call, lambda found: self._change(UserChange(request.name, found), call))

    def _hashed(self, password: str, call: Call, done: Callable[[str], None]) -> None:
        if not self._gate.hash(password, done):
            call.fail(RpcError(Code.UNAVAILABLE, f"etcdserver: {_BUSY}"))

    def user_get(self, request: UserRequest, call: Call) -> None:
        """The roles of a user, for admins and for that user."""
        if call.identity is None or call.identity.user != request.name:
            call.require(Office.ADMIN)
        user = self._accounts.user(request.name)
        if user is None:
            raise _refusal(Why.NO_USER)
        call.send(reply_body(self._header.now(), {"roles": user.roles}))

    def user_list(self, request: Empty, call: Call) -> None:
        """The names of all users."""
        call.require(Office.ADMIN)
        call.send(reply_body(self._header.now(), {"users": [user.name for user in self._accounts.users()]}))

    def user_delete(self, request: UserRequest, call: Call) -> None:
        """Remove a user."""
        call.require(Office.ADMIN)
        self._change(UserDelete(request.name), call)

    def user_grant(self, request: UserGrantRequest, call: Call) -> None:
        """Give a role to a user."""
        call.require(Office.ADMIN)
        if self._accounts.user(request.user) is not None and self._accounts.role(request.role) is None:
            raise _refusal(Why.NO_ROLE)
        self._change(UserChange(request.user, grant=(request.role,)), call)

    def user_revoke(self, request: UserRevokeRequest, call: Call) -> None:
        """Take a role from a user."""
        call.require(Office.ADMIN)
        self._change(UserChange(request.name, revoke=(request.role,)), call)

    # Roles

    def role_add(self, request: RoleAddRequest, call: Call) -> None:
        """Make a role; root is there always."""
        call.require(Office.ADMIN)
        if not request.name:
            raise invalid("role name is empty")
        if request.name == ROOT:
            raise _refusal(Why.ROLE_EXISTS)
        self._change(RoleCreate(request.name), call)

    def role_get(self, request: RoleRequest, call: Call) -> None:
        """The rights of a role, for admins and for users who have it. Those of root are not counted up."""
        mine = None if call.identity is None or call.identity.user is None else self._accounts.user(call.identity.user)
        if mine is None or request.role not in mine.roles:
            call.require(Office.ADMIN)
        role = self._accounts.role(request.role)
        if role is None:
            raise _refusal(Why.NO_ROLE)
        shown = () if role.name == ROOT else role.permissions
        call.send(reply_body(self._header.now(), {"perm": [_form(each) for each in shown]}))

    def role_list(self, request: Empty, call: Call) -> None:
        """The names of all roles."""
        call.require(Office.ADMIN)
        names = sorted([ROOT, *(role.name for role in self._accounts.roles())])
        call.send(reply_body(self._header.now(), {"roles": names}))

    def role_delete(self, request: RoleRequest, call: Call) -> None:
        """Remove a role, and from all users."""
        call.require(Office.ADMIN)
        self._change(RoleDelete(request.role), call)

    def role_grant(self, request: RoleGrantRequest, call: Call) -> None:
        """Give a right on a range to a role, in place of the one it has there."""
        call.require(Office.ADMIN)
        if request.perm is None or not request.perm.key:
            raise invalid("permission not given")
        kind = PERMISSIONS.number(request.perm.permType)
        if not 0 <= kind < len(_RIGHTS):
            raise invalid("permission not given")
        permission = Permission(_RIGHTS[kind], request.perm.key, request.perm.range_end or None)
        self._change(RoleChange(request.name, put=(permission,)), call)

    def role_revoke(self, request: RoleRevokeRequest, call: Call) -> None:
        """Take the rights on a range from a role."""
        call.require(Office.ADMIN)
        role = self._accounts.role(request.role)
        end = request.range_end or None
        if role is not None and all((each.key, each.end) != (request.key, end) for each in role.permissions):
            raise etcd(Code.FAILED_PRECONDITION, "permission is not granted to the role")
        self._change(RoleChange(request.role, revoke=(Permission(Right.READWRITE, request.key, end),)), call)

    def _change(self, command: Admissible, call: Call) -> None:
        def done(outcome: AccessDone) -> None:
            call.send(reply_body(self._header.at(outcome.revision)))

        def refused(error: Exception) -> None:
            if not isinstance(error, AccessError):
                call.fail(error)
            elif error.why in _NOTHING_TO_DO:
                call.send(reply_body(self._header.now()))
            else:
                call.fail(_refusal(error.why))

        call.propose_or(command, done, refused)


def _refusal(why: Why) -> RpcError:
    """A refusal of the access records in etcd's words."""
    return etcd(*_REFUSALS.get(why, (Code.INVALID_ARGUMENT, "invalid auth management")))


def _form(permission: Permission) -> dict[str, str]:
    kind = _RIGHTS.index(permission.right)
    form = {"permType": PERMISSIONS.names[kind]} if kind else {}
    form["key"] = base64_of(permission.key).decode()
    if permission.end is not None:
        form["range_end"] = base64_of(permission.end).decode()
    return form
