"""The gate: from a request to an identity, and from an identity to yes or no."""

import base64
import binascii
import hashlib
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

import msgspec
import trio

from core.api.access import audit
from core.api.access.claims import Claim, Claims
from core.api.access.hashing import Hashing
from core.api.access.identity import ANONYMOUS, SOCKET, of_certificate
from core.api.access.passwords import hashed, matches
from core.api.access.reserve import RELAYED, of_host
from core.api.access.throttle import Throttle
from core.api.access.tokens import Tokens
from core.api.http.message import Caller, Outlet, Reply, Request, Response
from core.api.plain import DAMAGED, message
from core.api.store import Damage, DamagedError
from core.kv import access, reserved
from core.kv.access import GUEST, ROOT, Identity, Office, Permission, Right, Role, Span
from core.kv.accounts import Accounts

REMEMBERED_SECONDS = 60.0
REMEMBERED = 1024
_NAME = 256
"""Characters of a user's name by which failures are counted."""
INSUFFICIENT = "Insufficient credentials"
"""What etcd says to whoever may not."""
_BUSY = "too many passwords wait to be checked; try again later"
_NEEDS = {
    Office.READER: "reader, operator or admin",
    Office.OPERATOR: "operator or admin",
    Office.ADMIN: "admin",
}


class Denied(msgspec.Struct, frozen=True):
    """Credentials that are not believed: the HTTP status, why, after how many seconds to come again (0: not said)."""

    status: int
    why: str
    retry_after: int = 0

    def headers(self) -> bytes:
        """The header lines that go with it."""
        return b"Retry-After: %d\r\n" % self.retry_after if self.retry_after else b""


Identified = Callable[[Identity | Denied], None]


class Gate:
    """One for a node. Synchronous, on the loop; passwords are checked by the task of `hashing`."""

    def __init__(self, accounts: Accounts, hashing: Hashing, damage: Damage) -> None:
        self.switch = accounts.switch
        """Whether access to keys is restricted, and by records of which revision."""
        self.accounts = accounts
        self.claims = Claims(self.switch)
        self._hashing = hashing
        self._damage = damage
        self.tokens = Tokens(accounts, trio.current_time, time.time)
        """What users of v3 show instead of a password."""
        self._throttle = Throttle()
        self._secret = secrets.token_bytes(32)
        self._verified: dict[bytes, tuple[str, float]] = {}
        """Keyed hash of an Authorization header -> whom it proves, until when."""
        self._being_checked: dict[bytes, list[tuple[Request, Identified]]] = {}
        """Who showed the same credentials while they are checked: a client with many connections is one guess."""
        self._roles: dict[str | None, tuple[Role, ...]] = {}
        self._as_of = 0
        """Revision of the records these two are of."""
        self._nobody = ""

    # Who

    def identify(self, request: Request, done: Identified) -> None:
        """Call `done` with who is asking: at once, or when a password is checked."""
        header = request.header(b"authorization") if self.switch.enabled else None
        if header is None:
            done(self.by_connection(request.caller))
            return
        holder = self.tokens.user(header)
        if holder is not None:
            done(self._user(holder))
            return
        self._refresh()
        name = hashlib.blake2b(header, key=self._secret, digest_size=16).digest()
        known = self._verified.get(name)
        if known is not None and trio.current_time() < known[1]:
            done(self._user(known[0]))
            return
        self._verified.pop(name, None)
        self._log_in(request, header, name, done)

    def by_connection(self, caller: Caller) -> Identity:
        """Who is asking as far as the connection proves it."""
        if caller.local:
            return SOCKET
        if caller.certificate is None:
            return ANONYMOUS
        known = of_certificate(caller.certificate)
        # A host is no user, whatever its machine id is.
        user = self.accounts.user(known.user) if known.user and not known.host and self.switch.enabled else None
        office = Office.ADMIN if user is not None and ROOT in user.roles else known.office
        return Identity(known.name, office, None if user is None else user.name, known.host, known.member, known.key)

    def _log_in(self, request: Request, header: bytes, name: bytes, done: Identified) -> None:
        credentials = _credentials(header)
        if credentials is None:
            audit.refused(ANONYMOUS.name, request, "malformed credentials")
            done(Denied(401, INSUFFICIENT))
            return
        self._guess(request, name, *credentials, done)

    def authenticate(self, request: Request, user: str, password: str, done: Identified) -> None:
        """Call `done` with the user whose password this is, or why not."""
        name = hashlib.blake2b(f"{user}\0{password}".encode(), key=self._secret, digest_size=16).digest()
        self._guess(request, name, user, password.encode(), done)

    def _guess(self, request: Request, name: bytes, user: str, password: bytes, done: Identified) -> None:
        same = self._being_checked.get(name)
        if same is not None:
            same.append((request, done))
            return
        wait = self._throttle.begin(user[:_NAME], _host(request.caller), trio.current_time())
        if wait:
            audit.failed_login(user, request, "too many failed attempts before; not looked at")
            seconds = math.ceil(wait)
            done(Denied(429, f"too many failed attempts; try again in {seconds} s", seconds))
            return
        record = self.accounts.user(user)
        stored = None if record is None else record.password
        answer = partial(self._checked, name, user, stored)
        if self._hashing.submit(partial(self._check, password, stored), answer):
            self._being_checked[name] = [(request, done)]
        else:
            audit.failed_login(user, request, "too many passwords wait to be checked")
            done(Denied(503, _BUSY, 1))

    def _checked(self, name: bytes, user: str, stored: str | None, fits: bool) -> None:
        """Tell all who showed these credentials meanwhile."""
        waiting = self._being_checked.pop(name)
        try:
            now = self.accounts.user(user)
        except DamagedError as error:
            self._damage.met(error)
            now = None
        good = fits and now is not None and now.password == stored
        if good:
            self._throttle.succeeded(user[:_NAME], _host(waiting[0][0].caller))
            self._remember(name, user)
        for request, done in waiting:
            if not good:
                audit.failed_login(user, request, "wrong name or password")
            done(self._user(user) if good else Denied(401, INSUFFICIENT))

    def _check(self, password: bytes, stored: str | None) -> bool:
        """In the thread. A user that is not there costs as much as one that is."""
        if stored is None:
            self._nobody = self._nobody or hashed(secrets.token_bytes(16))
            matches(password, self._nobody)
            return False
        return matches(password, stored)

    def hash(self, password: str, done: Callable[[str], None]) -> bool:
        """Call `done` with the hash of a new password; False if too many wait."""
        return self._hashing.submit(partial(hashed, password.encode()), done)

    def _user(self, name: str) -> Identity:
        user = self.accounts.user(name)
        office = Office.ADMIN if user is not None and ROOT in user.roles else Office.NONE
        return Identity(f"user {name}", office, name)

    def _remember(self, name: bytes, user: str) -> None:
        self._refresh()
        if len(self._verified) >= REMEMBERED:
            del self._verified[next(iter(self._verified))]
        self._verified[name] = user, trio.current_time() + REMEMBERED_SECONDS

    def _refresh(self) -> None:
        """Forget what was true of other records."""
        if self._as_of != self.switch.revision:
            self._as_of = self.switch.revision
            self._verified.clear()
            self._roles.clear()

    # What

    def may(self, identity: Identity, right: Right, spans: Iterable[Span]) -> bool:
        """Whether the access records let somebody read or write these keys. Only to be asked while restricted."""
        return access.may(identity.office, self._roles_of(identity.user), right, spans)

    def reserve(self, identity: Identity, request: Request) -> tuple[Permission, ...]:
        """What somebody may do with the keys of `core.kv.reserved`, restricted or not. What a worker passes on comes
        with the worker's certificate, and not from the worker."""
        if identity.office >= Office.OPERATOR:
            return reserved.EVERYTHING
        if identity.host and request.header(RELAYED) is None:
            held = self.accounts.holder(identity.host)
            return of_host(identity.host) if held is None or held.key == identity.key else ()
        return ()

    def _roles_of(self, name: str | None) -> Sequence[Role]:
        """The roles of a user; those of nobody are guest."""
        self._refresh()
        found = self._roles.get(name)
        if found is None:
            user = None if name is None else self.accounts.user(name)
            names = (GUEST,) if name is None else () if user is None else user.roles
            found = tuple(role for role in map(self.accounts.role, names) if role is not None)
            if len(self._roles) >= REMEMBERED:
                self._roles.clear()
            self._roles[name] = found
        return found

    # For how long

    def claim(self, request: Request, identity: Identity | None, allowed: Callable[[Identity], bool]) -> Claim:
        """What `identity` (None: access is not restricted) may have now, and may keep for as long as whoever asked is
        still known by the same password or certificate and is `allowed` it."""
        user = None if identity is None or request.header(b"authorization") is None else identity.user
        known = None if user is None else self.accounts.user(user)
        if user is not None and known is None:  # removed in this very moment
            return Claim(self.switch, lambda: False)

        def judge() -> bool:
            if user is None or not self.switch.enabled:
                return allowed(self.by_connection(request.caller))
            now = self.accounts.user(user)
            same = now is not None and known is not None and now.password == known.password
            return same and allowed(self._user(user))

        return Claim(self.switch, judge)

    # Administration

    def require(
        self,
        office: Office,
        request: Request,
        reply: Reply,
        serve: Callable[[Reply], None],
        refuse: Callable[[int, str], Response] = message,
    ) -> None:
        """Serve an administrative request if whoever asks holds the office; otherwise answer with why not, in the form
        that `refuse` gives a status and a reason."""

        def damaged(error: DamagedError) -> None:
            self._damage.met(error)
            reply.send(refuse(500, DAMAGED))

        def identified(found: Identity | Denied) -> None:
            if isinstance(found, Denied):
                refused = refuse(found.status, found.why)
                reply.send(Response(refused.status, refused.headers + found.headers(), refused.body))
            elif found.office < office:
                audit.refused(found.name, request, f"needs {office.name.lower()}")
                v2 = self.switch.enabled and request.path.startswith(b"/v2/")
                reply.send(refuse(401, INSUFFICIENT) if v2 else refuse(403, untrusted(office)))
            else:
                answered = reply if office is Office.READER else audit.Audited(reply, found.name, request)
                claim = self.claim(request, found, lambda now: now.office >= office)
                try:
                    serve(_Claimed(answered, self.claims, claim))
                except DamagedError as error:  # maybe in the task that checks passwords
                    damaged(error)

        try:
            self.identify(request, identified)
        except DamagedError as error:
            damaged(error)


class _Claimed:
    """A reply whose stream ends with the claim to it."""

    def __init__(self, reply: Reply, claims: Claims, claim: Claim) -> None:
        self._claims = claims
        self._claim = claim
        self._reply = reply
        self.send = reply.send
        self.converse = reply.converse

    def stream(self, produce: Callable[[Outlet], Awaitable[None]]) -> None:
        self._claims.stream(self._reply, produce, self._claim)


def untrusted(office: Office) -> str:
    """What is told to whoever may not, and what to do next."""
    return (
        "this needs the node's unix socket, as root or the node's own user, or a client certificate of the role "
        f"{_NEEDS[office]}"
    )


def _credentials(header: bytes) -> tuple[str, bytes] | None:
    """User and password of a Basic Authorization header."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None


def _host(caller: Caller) -> str:
    return caller.address.rpartition(":")[0] or caller.address
