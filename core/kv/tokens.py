"""Tokens by which hosts join: system records.

What is kept of a secret is its SHA-256. A slow hash or a salt would protect a secret that people choose; this one is
160 random bits, so nobody finds it by trying, whatever one attempt costs. Its time of expiry is cluster time, and its
uses are counted here, where commands come one after the other: two hosts cannot both have the last one.

A use belongs to the key of the host that asks, by the SHA-256 of its public half. The same key asking again is the same
host going on where it was interrupted: it costs no further use, and is not turned away when the uses are gone.
"""

import hashlib
import hmac
from collections.abc import Iterator

import msgspec

from core.kv.access import prefix_end
from core.kv.commands import TokenCreate, TokenRevoke, TokenUse
from core.kv.errors import LimitError, TokenError, TokenFault
from core.kv.ledger import SYSTEM_PREFIX, Ledger
from core.kv.records import Action, Record
from core.kv.transaction import Table

PREFIX = SYSTEM_PREFIX + b"token/"
MEMBER, WORKER = "member", "worker"
ROLES = (MEMBER, WORKER)
MOST_TOKENS = 256
MOST_USES = 100
LONGEST_TTL = 366 * 86_400
"""Seconds."""
KEPT_NS = 86_400 * 1_000_000_000
"""How long a token is known beyond its end, so that whoever shows it is told why it is of no use."""
DIGEST_BYTES = 32
_LONGEST_TEXT = 300


class Token(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A token as it rests."""

    id: str
    digest: bytes
    """SHA-256 of the secret."""
    role: str
    """`member` or `worker`: what its holder may become."""
    uses: int
    """How many hosts may use it."""
    created: int
    """Cluster time in ns, like the next one."""
    deadline: int
    creator: str
    revoked: bool = False
    holders: tuple[bytes, ...] = ()
    """SHA-256 of the public key of each host that used it."""

    def fault(self, digest: bytes, role: str, holder: bytes, now: int) -> TokenFault | None:
        """Why a host that shows this digest cannot use it at cluster time `now`. Whoever does not know the secret
        learns nothing but that."""
        if not hmac.compare_digest(digest, self.digest):
            return TokenFault.UNKNOWN
        if self.revoked:
            return TokenFault.REVOKED
        if now >= self.deadline:
            return TokenFault.EXPIRED
        if role != self.role:
            return TokenFault.OTHER_ROLE
        if holder not in self.holders and len(self.holders) >= self.uses:
            return TokenFault.USED_UP
        return None


class TokenDone(msgspec.Struct, frozen=True, gc=False):
    """A token was made, used or revoked: how it is from then on."""

    revision: int
    token: Token


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Token).decode


def create(ledger: Ledger, command: TokenCreate) -> TokenDone:
    """Make a token; those that ended long ago go with the same change."""
    key = _key(command.id)
    _check(command)
    if ledger.is_live(Table.KEY, key):
        raise TokenError(TokenFault.EXISTS)
    ended = [record for record in _records(ledger) if _decode(record.value).deadline + KEPT_NS <= ledger.time]
    if sum(1 for _ in _records(ledger)) - len(ended) >= MOST_TOKENS:
        raise LimitError(f"at most {MOST_TOKENS} tokens are kept, each until a day after its end")
    token = Token(
        command.id,
        command.digest,
        command.role,
        command.uses,
        ledger.time,
        ledger.time + command.ttl * 1_000_000_000,
        command.creator,
    )
    done = _put(ledger, token, None)
    for part, record in enumerate(ended, 1):
        ledger.remove(Table.KEY, record, ledger.revision, part, Action.DELETE)
    return done


def use(ledger: Ledger, command: TokenUse) -> TokenDone:
    """Count a use by a key that has none yet."""
    record = ledger.live(Table.KEY, _key(command.id))
    if record is None:
        raise TokenError(TokenFault.UNKNOWN)
    token = _decode(record.value)
    fault = token.fault(command.digest, command.role, command.holder, ledger.time)
    if fault is not None:
        raise TokenError(fault)
    if len(command.holder) != DIGEST_BYTES:
        raise LimitError(f"a holder is named by {DIGEST_BYTES} bytes")
    if command.holder in token.holders:
        return TokenDone(ledger.revision, token)
    return _put(ledger, msgspec.structs.replace(token, holders=(*token.holders, command.holder)), record)


def revoke(ledger: Ledger, command: TokenRevoke) -> TokenDone:
    """Make a token useless, also to those who used it. Doing it again changes nothing."""
    record = ledger.live(Table.KEY, _key(command.id))
    if record is None:
        raise TokenError(TokenFault.UNKNOWN)
    token = _decode(record.value)
    if token.revoked:
        return TokenDone(ledger.revision, token)
    return _put(ledger, msgspec.structs.replace(token, revoked=True), record)


def find(ledger: Ledger, name: str) -> Token | None:
    """The token of that id."""
    record = ledger.live(Table.KEY, _key(name))
    return None if record is None else _decode(record.value)


def tokens(ledger: Ledger) -> list[Token]:
    """Every token that is known, also those that ended less than a day before the last one was made."""
    return [_decode(record.value) for record in _records(ledger)]


def member_id(holder: bytes) -> int:
    """The id of the member that joins by a key, of which `holder` is the SHA-256: the same each time it asks."""
    return int.from_bytes(hashlib.sha256(b"member" + holder).digest()[:8], "big") >> 1 | 1


def came_by_token(ledger: Ledger, member: int) -> bool:
    """Whether a token that is still known let this member in."""
    return any(
        member_id(holder) == member for token in tokens(ledger) if token.role == MEMBER for holder in token.holders
    )


def _put(ledger: Ledger, token: Token, previous: Record | None) -> TokenDone:
    key, index = _key(token.id), ledger.revision + 1
    record = ledger.write(Table.KEY, key, index, 0, Action.SET, _encode(token), previous=previous)
    ledger.tell(record, previous)
    return TokenDone(ledger.revision, token)


def _records(ledger: Ledger) -> Iterator[Record]:
    for key, _ in list(ledger.rows.scan(Table.KEY, PREFIX, prefix_end(PREFIX))):
        record = ledger.live(Table.KEY, key)
        if record is not None:
            yield record


def _key(name: str) -> bytes:
    return PREFIX + name.encode()[:_LONGEST_TEXT]


def _check(command: TokenCreate) -> None:
    if not 0 < len(command.id) <= _LONGEST_TEXT or len(command.creator) > _LONGEST_TEXT:
        raise LimitError(f"the id of a token and the name of its creator have at most {_LONGEST_TEXT} characters")
    if len(command.digest) != DIGEST_BYTES:
        raise LimitError(f"the digest of a token has {DIGEST_BYTES} bytes")
    if command.role not in ROLES:
        raise LimitError(f"a token is for one of {', '.join(ROLES)}")
    if not 1 <= command.uses <= MOST_USES:
        raise LimitError(f"a token can be used 1 to {MOST_USES} times")
    if not 1 <= command.ttl <= LONGEST_TTL:
        raise LimitError(f"a token is good for 1 second to {LONGEST_TTL // 86_400} days")
