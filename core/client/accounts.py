"""Users, roles and the switch, as `/v2/auth` tells and changes them."""

from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from core.client.errors import StrangeAnswerError
from core.client.transport import CALL_SECONDS, Transport
from core.client.tree import refusal

_JSON = ((b"Content-Type", b"application/json"),)
T = TypeVar("T")


class Patterns(msgspec.Struct):
    """Keys (`/a`) and prefixes (`/a/*`) by right. Null and absent are as good as empty."""

    read: list[str] | None = None
    write: list[str] | None = None


class Permissions(msgspec.Struct):
    """Those on keys, the only kind there is."""

    kv: Patterns = msgspec.field(default_factory=Patterns)


class Role(msgspec.Struct):
    """A role as a node shows it."""

    role: str
    permissions: Permissions = msgspec.field(default_factory=Permissions)


class User(msgspec.Struct):
    """A user as a node shows it, with whole roles."""

    user: str
    roles: list[Role] | None = None


class _Users(msgspec.Struct):
    users: list[User] | None = None


class _Roles(msgspec.Struct):
    roles: list[Role] | None = None


class _Enabled(msgspec.Struct):
    enabled: bool


class Accounts:
    """Each call asks one node: the first endpoint that can be connected to. Raises the errors of
    `core.client.errors`; etcd answers the same calls."""

    def __init__(self, transport: Transport, seconds: float = CALL_SECONDS) -> None:
        self._transport = transport
        self._seconds = seconds

    async def enabled(self) -> bool:
        """Whether access is restricted by users and roles."""
        return (await self._get("enable", _Enabled)).enabled

    async def enable(self, on: bool) -> None:
        """Begin or end to restrict access."""
        await self._send("PUT" if on else "DELETE", "enable")

    async def users(self) -> list[User]:
        """All users."""
        return (await self._get("users", _Users)).users or []

    async def user(self, name: str) -> User:
        """One user."""
        return await self._get(f"users/{quote(name, safe='')}", User)

    async def put_user(
        self, name: str, password: str | None = None, grant: tuple[str, ...] = (), revoke: tuple[str, ...] = ()
    ) -> None:
        """Change a user, or with only a password make one that is not there."""
        body: dict[str, Any] = {"user": name, "grant": grant, "revoke": revoke}
        if password is not None:
            body["password"] = password
        await self._send("PUT", f"users/{quote(name, safe='')}", body)

    async def delete_user(self, name: str) -> None:
        """Remove a user."""
        await self._send("DELETE", f"users/{quote(name, safe='')}")

    async def roles(self) -> list[Role]:
        """All roles."""
        return (await self._get("roles", _Roles)).roles or []

    async def role(self, name: str) -> Role:
        """One role."""
        return await self._get(f"roles/{quote(name, safe='')}", Role)

    async def put_role(self, name: str, grant: Patterns | None = None, revoke: Patterns | None = None) -> None:
        """Change a role, or with nothing to change make it."""
        body: dict[str, Any] = {"role": name}
        body |= {"grant": {"kv": grant}} if grant else {}
        body |= {"revoke": {"kv": revoke}} if revoke else {}
        await self._send("PUT", f"roles/{quote(name, safe='')}", body)

    async def delete_role(self, name: str) -> None:
        """Remove a role."""
        await self._send("DELETE", f"roles/{quote(name, safe='')}")

    async def _get(self, path: str, kind: type[T]) -> T:
        answer = await self._transport.call("GET", f"/v2/auth/{path}", seconds=self._seconds)
        if answer.status != 200:
            raise refusal(answer)
        try:
            return msgspec.json.decode(answer.body, type=kind)
        except msgspec.DecodeError as error:
            raise StrangeAnswerError(f"the answer is not in the form of /v2/auth: {error}") from None

    async def _send(self, method: str, path: str, body: object = None) -> None:
        data = b"" if body is None else msgspec.json.encode(body)
        answer = await self._transport.call(method, f"/v2/auth/{path}", data, _JSON, seconds=self._seconds)
        if not 200 <= answer.status < 300:
            raise refusal(answer)
