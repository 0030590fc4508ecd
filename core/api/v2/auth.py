"""`/v2/auth/enable`, `/v2/auth/users` and `/v2/auth/roles`: users, roles and the switch, in etcd's words."""

from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import unquote

import msgspec

from core.api.access.gate import Gate
from core.api.http.message import Reply, Request, Response
from core.api.plain import JSON, json_answer, message, method_not_allowed
from core.api.store import (
    NoLeaderError,
    NoSpaceError,
    Outcome,
    OutcomeUnknownError,
    OverloadedError,
    ProposalError,
    Store,
)
from core.api.v2.auth_form import RoleForm, UserForm, permissions, role_body, user_body
from core.kv import paths
from core.kv.access import Office, Role, User
from core.kv.commands import (
    Admissible,
    Admitted,
    AuthSwitch,
    RoleChange,
    RoleCreate,
    RoleDelete,
    UserChange,
    UserCreate,
    UserDelete,
)
from core.kv.errors import AccessError, LimitError, StaleAccessError, Why
from core.kv.outcomes import AccessDone

PREFIX = b"/v2/auth"
_METHODS = (b"GET", b"PUT", b"DELETE")
_NOT_JSON = "Invalid JSON in request body."
_BUSY = "too many passwords wait to be checked; nothing was changed, try again later"
_REFUSALS = {
    Why.ALREADY_ENABLED: (409, "already enabled"),
    Why.ALREADY_DISABLED: (409, "already disabled"),
    Why.NO_ROOT: (409, "No root user available, please create one"),
    Why.USER_EXISTS: (409, "User {} already exists."),
    Why.NO_USER: (404, "User {} does not exist."),
    Why.ROOT_USER: (403, "Cannot delete root user while auth is enabled."),
    Why.ROOT_KEEPS_ROOT: (403, "Cannot revoke role root from user root."),
    Why.USER_UNCHANGED: (400, "User not updated. Use grant/revoke/password to update the user."),
    Why.ROLE_GRANTED: (409, "Granting duplicate role {} for user {}"),
    Why.ROLE_NOT_GRANTED: (409, "Revoking ungranted role {} for user {}"),
    Why.ROLE_EXISTS: (409, "Role {} already exists."),
    Why.NO_ROLE: (404, "Role {} does not exist."),
    Why.ROOT_ROLE: (403, "Cannot modify role {}: is root role."),
    Why.ROLE_UNCHANGED: (400, "Role not updated. Use grant/revoke to update the role."),
    Why.PERMISSION_GRANTED: (409, "Granting duplicate {} permission {}"),
    Why.NO_NAME: (400, "A name must not be empty"),
}
_GONE = {Why.NO_USER: "User {} does not exist", Why.NO_ROLE: "Role {} doesn't exist."}
"""Where a DELETE has words of its own."""

Answer = Callable[[AccessDone], Response]
T = TypeVar("T", User, Role)


class Auth:
    """The handler of `/v2/auth/...`. All of it but GET enable is for admins, whether access is restricted or not."""

    def __init__(self, store: Store, gate: Gate, cluster_id: str) -> None:
        self._store = store
        self._gate = gate
        self._id = b"X-Etcd-Cluster-Id: %b\r\n" % cluster_id.encode()

    def enable(self, request: Request, reply: Reply) -> None:
        """`/v2/auth/enable`."""
        if request.method not in _METHODS:
            reply.send(method_not_allowed(_METHODS))
        elif request.method == b"GET":
            reply.send(self._json({"enabled": self._gate.switch.enabled}))
        else:
            change = AuthSwitch(request.method == b"PUT")
            self._require(request, reply, partial(self._propose, request, self.enable, change, self._empty))

    def users(self, request: Request, reply: Reply) -> None:
        """`/v2/auth/users` and below."""
        self._route(request, reply, b"users", self._all_users, self._user)

    def roles(self, request: Request, reply: Reply) -> None:
        """`/v2/auth/roles` and below."""
        self._route(request, reply, b"roles", self._all_roles, self._role)

    def _route(
        self,
        request: Request,
        reply: Reply,
        base: bytes,
        everything: Callable[[Reply], None],
        one: Callable[[Request, str, Reply], None],
    ) -> None:
        below = unquote(request.path[len(PREFIX) + 1 + len(base) :].decode("latin-1"), errors="replace")
        name = paths.clean(below).decode(errors="replace").removeprefix("/")
        allowed = _METHODS if name else (b"GET",)
        if "/" in name:
            reply.send(message(400, "Invalid path"))
        elif request.method not in allowed:
            reply.send(method_not_allowed(allowed))
        elif name:
            self._require(request, reply, partial(one, request, name))
        else:
            self._require(request, reply, everything)

    def _require(self, request: Request, reply: Reply, serve: Callable[[Reply], None]) -> None:
        self._gate.require(Office.ADMIN, request, reply, serve)

    # Users

    def _all_users(self, reply: Reply) -> None:
        users = [user_body(user, self._held(user)) for user in self._gate.accounts.users()]
        reply.send(self._json({"users": users or None}))

    def _held(self, user: User) -> list[Role]:
        """The roles of a user that are there."""
        found = map(self._gate.accounts.role, user.roles)
        return [role for role in found if role is not None]

    def _user(self, request: Request, name: str, reply: Reply) -> None:
        if request.method == b"PUT":
            self._put_user(request, name, reply)
        elif request.method == b"DELETE":
            self._propose(request, self.users, UserDelete(name), self._empty, reply)
        else:
            self._get_user(name, reply)

    def _get_user(self, name: str, reply: Reply) -> None:
        accounts = self._gate.accounts
        user = accounts.user(name)
        if user is None:
            reply.send(self._refusal(404, f"User {name} does not exist."))
            return
        missing = next((role for role in user.roles if accounts.role(role) is None), None)
        if missing is not None:
            reply.send(self._refusal(404, f"Role {missing} does not exist."))
        else:
            reply.send(self._json(user_body(user, self._held(user))))

    def _put_user(self, request: Request, name: str, reply: Reply) -> None:
        try:
            form = msgspec.json.decode(request.body, type=UserForm)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            reply.send(message(400, _NOT_JSON, self._id))
            return
        exists = self._gate.accounts.user(name) is not None
        changes = bool(form.grant or form.revoke)
        if form.user != name:
            reply.send(message(400, "User JSON name does not match the name in the URL", self._id))
        elif changes and form.roles:
            reply.send(message(400, "User JSON contains both roles and grant/revoke", self._id))
        elif changes or (exists and not form.roles):
            change = partial(UserChange, name, grant=tuple(form.grant or ()), revoke=tuple(form.revoke or ()))
            self._with_password(form, change, partial(self._user_put, request, self._changed_user), reply)
        elif not form.password:
            reply.send(self._refusal(400, f"Cannot create user {name} with an empty password"))
        else:
            create = partial(UserCreate, name, roles=tuple(form.roles or ()))
            # etcd's quirk: created with roles is a 200.
            answer = partial(self._created_user, 200 if form.roles else 201)
            self._with_password(form, create, partial(self._user_put, request, answer), reply)

    def _with_password(
        self,
        form: UserForm,
        command: Callable[..., UserCreate | UserChange],
        propose: Callable[[Admissible, Reply], None],
        reply: Reply,
    ) -> None:
        """Propose the command with the hash of the form's password, if there is one."""
        if not form.password:
            propose(command(password=None), reply)
        elif not self._gate.hash(form.password, lambda found: propose(command(password=found), reply)):
            reply.send(message(503, _BUSY, self._id))

    def _user_put(self, request: Request, answer: Answer, command: Admissible, reply: Reply) -> None:
        self._propose(request, self.users, command, answer, reply)

    def _created_user(self, status: int, done: AccessDone) -> Response:
        user = _now(done, User)
        return self._json({"user": user.name, "roles": list(user.roles) or None}, status)

    def _changed_user(self, done: AccessDone) -> Response:
        user = _now(done, User)
        return self._json({"user": user.name, "roles": list(user.roles)})

    # Roles

    def _all_roles(self, reply: Reply) -> None:
        accounts = self._gate.accounts
        root = accounts.role("root")
        roles = sorted([*accounts.roles(), *([root] if root else [])], key=lambda role: role.name)
        reply.send(self._json({"roles": [role_body(role) for role in roles]}))

    def _role(self, request: Request, name: str, reply: Reply) -> None:
        if request.method == b"PUT":
            self._put_role(request, name, reply)
        elif request.method == b"DELETE":
            self._propose(request, self.roles, RoleDelete(name), self._empty, reply)
        else:
            role = self._gate.accounts.role(name)
            missing = self._refusal(404, f"Role {name} does not exist.")
            reply.send(missing if role is None else self._json(role_body(role)))

    def _put_role(self, request: Request, name: str, reply: Reply) -> None:
        try:
            form = msgspec.json.decode(request.body, type=RoleForm)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            reply.send(message(400, _NOT_JSON, self._id))
            return
        try:
            held, grant, revoke = (permissions(part) for part in (form.permissions, form.grant, form.revoke))
        except ValueError as error:
            reply.send(self._refusal(400, str(error)))
            return
        if form.role != name:
            reply.send(message(400, "Role JSON name does not match the name in the URL", self._id))
        elif not grant and not revoke:
            self._propose(request, self.roles, RoleCreate(name, held), self._created_role, reply)
        elif held:
            reply.send(message(400, "Role JSON contains both permissions and grant/revoke", self._id))
        else:
            change = RoleChange(name, grant, revoke)
            self._propose(request, self.roles, change, lambda done: self._json(role_body(_now(done, Role))), reply)

    def _created_role(self, done: AccessDone) -> Response:
        return self._json(role_body(_now(done, Role)), 201)

    # Proposals and answers

    def _propose(
        self,
        request: Request,
        again: Callable[[Request, Reply], None],
        command: Admissible,
        answer: Answer,
        reply: Reply,
    ) -> None:
        """Propose what an admin asked for; `again` judges the request anew if the records changed meanwhile."""

        def decided(outcome: Outcome) -> None:
            if isinstance(outcome, StaleAccessError):
                again(request, reply)
            elif isinstance(outcome, AccessDone):
                reply.send(answer(outcome))
            else:
                reply.send(self._failure(request, outcome))

        try:
            self._store.propose(Admitted(self._gate.switch.revision, command), decided)
        except ProposalError as error:
            decided(error)

    def _failure(self, request: Request, error: Outcome) -> Response:
        match error:
            case AccessError():
                status, words = _REFUSALS[error.why]
                if request.method == b"DELETE":
                    words = _GONE.get(error.why, words)
                return self._refusal(status, words.format(*error.names))
            case LimitError():
                return self._refusal(400, str(error))
            case OutcomeUnknownError():
                return message(504, f"the outcome is unknown: {error}", self._id)
            case NoSpaceError():
                return message(507, str(error), self._id)
            case OverloadedError() | NoLeaderError():
                return message(503, str(error), self._id)
            case _:
                return message(500, str(error) or type(error).__name__, self._id)

    def _json(self, value: object, status: int = 200) -> Response:
        return json_answer(value, status, self._id, end=b"\n")

    def _empty(self, done: AccessDone) -> Response:
        return Response(200, JSON + self._id, b"")

    def _refusal(self, status: int, words: str) -> Response:
        return message(status, f"auth: {words}", self._id)


def _now(done: AccessDone, kind: type[T]) -> T:
    if not isinstance(done.now, kind):
        raise TypeError(f"the outcome of a change is no {kind.__name__}")
    return done.now
