"""`/corenode/tokens`: the tokens by which hosts join."""

from collections.abc import Callable
from functools import partial
from typing import Protocol

import msgspec

from core import join_token
from core.api import members
from core.api.access.gate import Denied, Gate
from core.api.http.message import Reply, Request, Response
from core.api.plain import json_answer, message, method_not_allowed
from core.api.store import NoLeaderError, NoSpaceError, Outcome, OverloadedError, Store
from core.kv.access import Identity, Office
from core.kv.commands import Command, TokenCreate, TokenRevoke
from core.kv.errors import LimitError, TokenError, TokenFault
from core.kv.tokens import Token, TokenDone
from core.tls.certificates import fingerprint
from core.tls.contexts import TlsFilesError
from core.tls.enrolment import EnrolmentError, roots

PATH = b"/corenode/tokens"
_METHODS = (b"GET", b"POST", b"DELETE")
_LONGEST_NAME = 100


class Tokens(Protocol):
    """What the node knows of tokens and of its authority. The daemon fulfils it."""

    def token(self, name: str) -> Token | None: ...

    def tokens(self) -> list[Token]: ...

    def root(self) -> str | None:
        """The root certificate of the cluster, PEM; while a new one takes over, both, the new one first. None if this
        node has no authority. TlsFilesError."""
        ...


class Shown(msgspec.Struct, frozen=True):
    """A token as it is listed: never its secret."""

    id: str
    role: str
    uses: int
    used: int
    created: float
    """Unix time, like the next one."""
    expires: float
    creator: str
    state: str
    """usable, used up, expired or revoked."""


class _New(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ttl: int
    uses: int = 1
    role: str = "member"


class TokensHandler:
    """GET lists; POST {"ttl", "uses", "role"} makes one and answers with its text, which is told this once only;
    DELETE /ID revokes it. `chance` gives random bytes."""

    def __init__(self, store: Store, gate: Gate, tokens: Tokens, chance: Callable[[int], bytes]) -> None:
        self._store = store
        self._gate = gate
        self._tokens = tokens
        self._chance = chance

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method not in _METHODS:
            reply.send(method_not_allowed(_METHODS))
            return
        serve = {b"GET": self._list, b"POST": self._create, b"DELETE": self._revoke}[request.method]
        self._gate.require(Office.ADMIN, request, reply, partial(serve, request))

    def _list(self, request: Request, reply: Reply) -> None:
        reply.send(json_answer({"tokens": [self._shown(token) for token in self._tokens.tokens()]}, end=b"\n"))

    def _create(self, request: Request, reply: Reply) -> None:
        try:
            asked = msgspec.json.decode(request.body, type=_New)
            root = self._tokens.root()
        except (msgspec.DecodeError, TlsFilesError) as error:
            reply.send(message(400, str(error)))
            return
        if root is None:
            reply.send(message(409, NO_ROOT))
            return
        try:
            mark = fingerprint(roots(root)[0])
        except EnrolmentError as error:
            reply.send(message(500, str(error)))
            return
        token = join_token.make(self._chance(join_token.ID_BYTES + join_token.SECRET_BYTES), mark)

        def known(who: Identity | Denied) -> None:
            creator = who.name if isinstance(who, Identity) else "unknown"
            command = TokenCreate(token.id, token.digest, asked.role, asked.ttl, asked.uses, creator[:_LONGEST_NAME])
            self._propose(command, lambda outcome: reply.send(self._answer(outcome, str(token))))

        self._gate.identify(request, known)

    def _revoke(self, request: Request, reply: Reply) -> None:
        name = request.path[len(PATH) :].lstrip(b"/").decode(errors="replace")
        if not name:
            reply.send(message(400, "say which token: DELETE /corenode/tokens/ID"))
        else:
            self._propose(TokenRevoke(name), lambda outcome: reply.send(self._answer(outcome)))

    def _propose(self, command: Command, done: Callable[[Outcome], None]) -> None:
        try:
            self._store.propose(command, done)
        except (OverloadedError, NoSpaceError, NoLeaderError) as error:
            done(error)

    def _answer(self, outcome: Outcome, text: str | None = None) -> Response:
        match outcome:
            case TokenDone():
                shown = msgspec.to_builtins(self._shown(outcome.token))
                return json_answer(shown if text is None else {**shown, "token": text}, end=b"\n")
            case TokenError(fault=TokenFault.UNKNOWN):
                return message(404, "there is no token of that id; `corenode token list` shows them")
            case TokenError() | LimitError():
                return message(400, str(outcome))
        return message(members.status_of(outcome), str(outcome) or type(outcome).__name__)

    def _shown(self, token: Token) -> Shown:
        clock = self._store.clock
        state = "usable"
        if token.revoked:
            state = "revoked"
        elif clock.now() >= token.deadline:
            state = "expired"
        elif len(token.holders) >= token.uses:
            state = "used up"
        created, expires = clock.wall(token.created), clock.wall(token.deadline)
        return Shown(token.id, token.role, token.uses, len(token.holders), created, expires, token.creator, state)


NO_ROOT = (
    "this node has no certificate authority by which a host could join: start it with --peer-trusted-ca-file and the "
    "other certificates, and put the issuing authority (`corenode ca init`) into the directory authority of its data"
)
