"""`/corenode/root` and `/corenode/join`: how a host that has nothing but a token becomes part of the cluster.

Both are for callers without certificate or password: the first tells what everybody may know, the second asks for the
token. The host has compared the root with the token's fingerprint by then, and sends the token to nobody else.

The order is: the token, a use of it, the member as a learner (it counts in no quorum, so a host that never starts harms
nobody), the certificates. Each step may have been done before: a host is known by its key, its member id follows from
the key, and whoever was interrupted asks again. A learner that came so asks for its vote itself, once it has caught up.
"""

import hmac
import math
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from core import join_token
from core.addresses import Url, parse
from core.api import members
from core.api.access import audit
from core.api.access.gate import Gate
from core.api.access.hashing import Hashing
from core.api.http.message import Reply, Request, Response
from core.api.ops import hosts
from core.api.ops.guesses import Guesses
from core.api.ops.tokens import NO_ROOT, PATH, Tokens, TokensHandler
from core.api.plain import json_answer, message, method_not_allowed
from core.api.router import Route
from core.api.store import (
    ChangeRefusedError,
    NoLeaderError,
    NoSpaceError,
    Obstacle,
    Outcome,
    OverloadedError,
    ProposalError,
    Store,
)
from core.join_token import JoinToken
from core.kv.commands import ChangeMember, Command, HostBind, TokenUse
from core.kv.errors import HostTakenError, TokenError, TokenFault
from core.kv.hosts import MOST_ADDRESSES, Holder
from core.kv.membership import Change, Member
from core.kv.outcomes import HostDone
from core.kv.tokens import MEMBER, ROLES, TokenDone, member_id
from core.raft.members import Standing
from core.tls.authority import Authority, AuthorityError
from core.tls.contexts import TlsFilesError
from core.tls.enrolment import EnrolmentError, key_digest, requested_key
from core.tls.identity import Role

ROOT, JOIN = b"/corenode/root", b"/corenode/join"
OPEN = frozenset((ROOT, JOIN))
"""What is served without a client certificate where every client must show one."""

_MACHINE = re.compile(r"[0-9a-f]{32}")
MOST_BYTES = 32_768
"""Of a request; two certificate requests have less than one thousand."""
MOST_SIGNED, SIGNED_SECONDS = 16, 3600.0
"""How often one host gets certificates in so many seconds."""
MOST_HOLDERS = 1024
_LOOPBACK = ("127.0.0.1", "localhost")
_PEM = b"Content-Type: application/x-pem-file\r\n"


class Place(Tokens, Protocol):
    """What the node knows of the cluster that is joined. The daemon fulfils it."""

    @property
    def cluster(self) -> str:
        """The cluster's id, hexadecimal."""
        ...

    @property
    def authority(self) -> Path | None:
        """The directory of the issuing authority, if it is on this node."""
        ...

    @property
    def client_cert_auth(self) -> bool:
        """Whether every client must show a certificate here."""
        ...

    @property
    def links_by_tls(self) -> bool:
        """Whether other hosts can be linked with this member: it has a peer port, with TLS."""
        ...

    def known(self) -> Sequence[Member]:
        """The members of the cluster."""
        ...

    def was_removed(self, member: int) -> bool: ...

    def runs(self, machine: str) -> bool:
        """Whether a host of that machine id is running."""
        ...

    def holder(self, machine: str) -> Holder | None:
        """Whose a machine id is."""
        ...


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a host asks for."""

    token: str
    role: str
    name: str
    identity: str
    """Certificate request for the key by which it is known to members, PEM."""
    server: str
    """Certificate request for the key it shows to clients, PEM."""
    client_urls: tuple[str, ...] = ()
    peer_urls: tuple[str, ...] = ()
    machine: str = ""
    """Of a worker: its machine id, which becomes the name in its certificate."""


class Neighbour(msgspec.Struct, frozen=True):
    """A member, as the host that joins gets to know it."""

    name: str
    peer_urls: tuple[str, ...]
    client_urls: tuple[str, ...]


class Granted(msgspec.Struct, frozen=True):
    """What a host gets: ids are hexadecimal, certificates PEM with their issuer behind them."""

    cluster: str
    member: str
    """Empty for a worker."""
    root: str
    identity: str
    server: str
    client_cert_auth: bool
    members: tuple[Neighbour, ...]


def routes(store: Store, gate: Gate, place: Place, signing: Hashing) -> list[Route]:
    """Everything by which hosts join."""
    return [
        Route(ROOT, RootHandler(place)),
        Route(JOIN, JoinHandler(store, place, signing, time.monotonic)),
        Route(PATH, TokensHandler(store, gate, place, secrets.token_bytes), below=True),
        Route(hosts.PATH, hosts.HostsHandler(store, gate), below=True),
    ]


class RootHandler:
    """GET: the root certificate, for anybody."""

    def __init__(self, place: Place) -> None:
        self._place = place

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method != b"GET":
            reply.send(method_not_allowed((b"GET",)))
            return
        try:
            root = self._place.root()
        except TlsFilesError as error:
            reply.send(message(500, str(error)))
            return
        reply.send(message(404, NO_ROOT) if root is None else Response(200, _PEM, root.encode()))


class JoinHandler:
    """POST `Asked`: `Granted`, or why not. `signing` runs the work of the issuing key; `now` gives seconds."""

    def __init__(self, store: Store, place: Place, signing: Hashing, now: Callable[[], float]) -> None:
        self.store = store
        self.place = place
        self.signing = signing
        self.guesses = Guesses()
        self._now = now
        self._signed: dict[bytes, list[float]] = {}
        """When a host, by its key, was given certificates lately."""

    def may_sign(self, holder: bytes) -> bool:
        """Whether a host may have certificates once more, which is noted: each is a file beside the authority."""
        now = self._now()
        lately = [when for when in self._signed.pop(holder, ()) if when > now - SIGNED_SECONDS]
        self._signed[holder] = lately
        if len(self._signed) > MOST_HOLDERS:
            del self._signed[next(iter(self._signed))]
        if len(lately) >= MOST_SIGNED:
            return False
        lately.append(now)
        return True

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method != b"POST":
            reply.send(method_not_allowed((b"POST",)))
            return
        if len(request.body) > MOST_BYTES:
            reply.send(message(413, f"a request to join has at most {MOST_BYTES} bytes"))
            return
        try:
            asked = msgspec.json.decode(request.body, type=Asked)
            token = join_token.parse(asked.token)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            audit.refused("a joining host", request, "not a request to join")
            reply.send(message(400, str(error)))
            return
        wait = self.guesses.begin(token.id, address_of(request), self._now())
        if wait:
            audit.refused(f"token {token.id}", request, "too many failed attempts before; not looked at")
            seconds = math.ceil(wait)
            told = f"too many failed attempts to join; try again in {seconds} s"
            reply.send(message(429, told, b"Retry-After: %d\r\n" % seconds))
            return
        self.store.confirm(_Joining(self, asked, token, request, reply).begin)


class _Joining:
    """One request on its way. Each step calls the next one, or answers."""

    def __init__(self, handler: JoinHandler, asked: Asked, token: JoinToken, request: Request, reply: Reply) -> None:
        self._store, self._place, self._handler = handler.store, handler.place, handler
        self._asked = asked
        self._token = token
        self._request = request
        self._reply = reply

    def begin(self, error: ProposalError | None) -> None:
        """With the records as they are now: is the token good, and is what is asked for possible?"""
        if error is not None:
            self._refuse(members.status_of(error), str(error))
            return
        record = self._place.token(self._token.id)
        known = hmac.compare_digest(self._token.digest, record.digest if record is not None else bytes(32))
        if record is None or not known:
            self._refuse(403, f"{TokenFault.UNKNOWN}; make a new one with `corenode token create`")
            return
        self._handler.guesses.succeeded(self._token.id, address_of(self._request))
        try:
            self._identity, self._server = requested_key(self._asked.identity), requested_key(self._asked.server)
            self._holder = key_digest(self._identity)
            fault = record.fault(self._token.digest, self._asked.role, self._holder, self._store.clock.now())
            if fault is not None:
                self._refuse_token(fault)
                return
            self._member = member_id(self._holder)
            self._names = self._check()
        except HostTakenError as error:
            self._refuse(409, str(error))
            return
        except (EnrolmentError, ValueError) as error:
            self._refuse(400, str(error))
            return
        if self._possible():
            use = TokenUse(self._token.id, self._token.digest, self._asked.role, self._holder)
            self._propose(use, self._used)

    def _check(self) -> tuple[str, ...]:
        """The addresses and names that the certificates are for. ValueError if what is asked for cannot be."""
        asked = self._asked
        urls = [parse(url) for url in (*asked.peer_urls, *asked.client_urls)]
        if asked.role not in ROLES or not _is_name(asked.name):
            raise ValueError(f"{asked.name!r} cannot be the name of a {asked.role}; choose another with --name")
        if asked.role != MEMBER and not _MACHINE.fullmatch(asked.machine):
            raise ValueError(f"{asked.machine!r} is no machine id, which has 32 hexadecimal digits; use --machine-id")
        if asked.role != MEMBER and self._place.runs(asked.machine):
            raise ValueError(
                f"a host of the machine id {asked.machine} is running; if this one is a copy of it, give it another id "
                "with --machine-id"
            )
        held = self._place.holder(asked.machine) if asked.role != MEMBER else None
        if held is not None and held.key != self._holder:
            raise HostTakenError(asked.machine)
        if asked.role == MEMBER and not asked.peer_urls:
            raise ValueError("a member needs URLs at which the others reach it; add --initial-advertise-peer-urls")
        if any(url.wildcard or url.port == 0 or "*" in url.host for url in urls):
            raise ValueError("nobody can connect to 0.0.0.0, port 0 or *; name the addresses of this host")
        if any(not parse(url).secure for url in asked.peer_urls):
            raise ValueError("members that join are linked by TLS; their peer URLs begin with https://")
        for member in self._place.known():
            if member.id == self._member and member.name != asked.name:
                raise ValueError(f"this host is a member under the name {member.name} already; join with that --name")
            if member.id != self._member and member.name == asked.name:
                raise ValueError(f"there is a member of the name {asked.name} already; choose another with --name")
        taken = {host for member in self._place.known() if member.id != self._member for host in _hosts(member)}
        names = dict.fromkeys(url.host for url in urls)
        stolen = sorted(taken.intersection(names) - _loopback(names))
        if stolen:
            raise ValueError(f"{stolen[0]} is the address of another member; name those of this host")
        return tuple(names)

    def _possible(self) -> bool:
        """Whether this node can let a host in; if not, say what to do."""
        if self._place.authority is None:
            others = [url for member in self._place.known() for url in member.client_urls if url.startswith("https:")]
            told = {"message": "this member does not have the issuing authority; ask one that has it", "ask": others}
            self._answer(json_answer(told, 421, end=b"\n"), "has no issuing authority")
        elif self._asked.role == MEMBER and not self._place.links_by_tls:
            self._refuse(409, _NO_LINKS)
        elif self._asked.role == MEMBER and self._place.was_removed(self._member):
            self._refuse(410, "this host was removed from the cluster; join again with an empty data directory")
        else:
            return True
        return False

    def _used(self, outcome: Outcome) -> None:
        """The token has counted this host."""
        if isinstance(outcome, TokenError):
            self._refuse_token(outcome.fault)
        elif not isinstance(outcome, TokenDone):
            self._refuse(members.status_of(outcome), str(outcome))
        elif self._asked.role != MEMBER:
            self._propose(HostBind(self._asked.machine, self._holder, self._names[:MOST_ADDRESSES]), self._bound)
        else:
            urls = members.checked(self._asked.peer_urls)
            known = next((member for member in self._place.known() if member.id == self._member), None)
            if known is None:
                self._propose(ChangeMember(self._member, Standing.LEARNER, self._asked.name, urls), self._added)
            elif known.peer_urls != urls:
                self._propose(ChangeMember(self._member, None, "", urls), self._added)
            else:
                self._issue()

    def _bound(self, outcome: Outcome) -> None:
        """The machine id is this host's."""
        if isinstance(outcome, HostDone):
            self._issue()
        else:
            self._refuse(409 if isinstance(outcome, HostTakenError) else members.status_of(outcome), str(outcome))

    def _added(self, outcome: Outcome) -> None:
        """The members know this host."""
        if isinstance(outcome, Change):
            self._issue()
        elif isinstance(outcome, ChangeRefusedError) and outcome.obstacle is Obstacle.NOT_NOW:
            self._refuse(503, str(outcome))
        else:
            self._refuse(members.status_of(outcome), str(outcome))

    def _issue(self) -> None:
        """Sign, in the thread."""
        if not self._handler.may_sign(self._holder):
            self._refuse(429, "this host has got certificates again and again; try again in an hour")
        elif not self._handler.signing.submit(self._sign, self._signed):
            self._refuse(503, "too many hosts join at once; try again")

    def _sign(self) -> tuple[str, bytes, bytes] | Exception:
        """Root and certificates. Runs in the thread."""
        directory, root = self._place.authority, self._place.root()
        try:
            if directory is None or root is None:
                raise AuthorityError("the issuing authority was taken away a moment ago; ask another member")
            authority = Authority.open(directory)
            if self._asked.role == MEMBER:
                identity = authority.sign(self._identity, Role.PEER, self._asked.name, self._names)
            else:
                identity = authority.sign(self._identity, Role.HOST, self._asked.machine, ())
            server = authority.sign(
                self._server, Role.SERVER, self._asked.name, tuple(dict.fromkeys((*self._names, *_LOOPBACK)))
            )
        except (AuthorityError, TlsFilesError, OSError, ValueError) as error:
            return error
        return root, identity, server

    def _signed(self, found: tuple[str, bytes, bytes] | Exception) -> None:
        if isinstance(found, Exception):
            self._refuse(500, f"the certificates could not be made: {found}")
            return
        root, identity, server = found
        self._answer(
            json_answer(
                Granted(
                    self._place.cluster,
                    f"{self._member:x}" if self._asked.role == MEMBER else "",
                    root,
                    identity.decode(),
                    server.decode(),
                    self._place.client_cert_auth,
                    tuple(Neighbour(each.name, each.peer_urls, each.client_urls) for each in self._place.known()),
                ),
                end=b"\n",
            ),
            "",
        )

    def _propose(self, command: Command, done: Callable[[Outcome], None]) -> None:
        try:
            self._store.propose(command, done)
        except (OverloadedError, NoSpaceError, NoLeaderError) as error:
            done(error)

    def _refuse_token(self, fault: TokenFault) -> None:
        self._refuse(403, f"{fault}; {_ADVICE.get(fault, 'make a new one with `corenode token create`')}")

    def _refuse(self, status: int, why: str) -> None:
        self._answer(message(status, why), why)

    def _answer(self, response: Response, why: str) -> None:
        who = f"token {self._token.id}, {self._asked.role} {self._asked.name[:100]}"
        if why:
            audit.refused(who, self._request, why)
            self._reply.send(response)
        else:
            audit.Audited(self._reply, who, self._request).send(response)


_ADVICE = {TokenFault.OTHER_ROLE: "name that role with --role, or make another token"}
_NO_LINKS = (
    "this node has no peer port with TLS, so no other member could be linked with it: start it with "
    "--listen-peer-urls https://..., --initial-advertise-peer-urls and a certificate of the role peer"
)


def address_of(request: Request) -> str:
    """The host that asks, without its port."""
    return request.caller.address.rpartition(":")[0] or request.caller.address


_LONGEST_NAME = 64
"""A certificate's common name has at most 64 characters."""


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_NAME and text.isprintable() and not any(mark in text for mark in "=,/ ")


def _hosts(member: Member) -> set[str]:
    found = set()
    for text in (*member.peer_urls, *member.client_urls):
        try:
            found.add(parse(text).host)
        except ValueError:
            continue  # of another version; nobody can ask for it either
    return found


def _loopback(hosts: Iterable[str]) -> set[str]:
    return {host for host in hosts if Url("https", host, 1).loopback}
