"""The commands of the replicated state machine, as they rest in the log.

Each is a msgspec Struct encoded as a tagged MessagePack array, so decoding checks every type. A field may only be
added at the end with a default, and a tag is never used twice: logs written by a released version must decode for ever.
Paths are clean (`core.kv.paths`); keys are any bytes.
"""

from typing import Literal

import msgspec

from core.kv.access import Permission


class _Command(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Common form of all commands."""


# The tree operations of the v2 dialect. `ttl` is in whole seconds; None means for ever, 0 due at once.


class Set(_Command, frozen=True, array_like=True, gc=False, tag=1):
    """Create or replace a file, or with `directory` make a directory (replacing a file)."""

    path: bytes
    value: bytes = b""
    directory: bool = False
    ttl: int | None = None
    refresh: bool = False
    """Keep the value, change only the TTL, wake no watcher."""


class Create(_Command, frozen=True, array_like=True, gc=False, tag=2):
    """Create a file or directory that must not exist.

    `in_order` names it below `path` by the index it gets, 20 digits.
    """

    path: bytes
    value: bytes = b""
    directory: bool = False
    ttl: int | None = None
    in_order: bool = False


class Update(_Command, frozen=True, array_like=True, gc=False, tag=3):
    """Give an existing file a new value and TTL, or an existing directory a new TTL."""

    path: bytes
    value: bytes = b""
    ttl: int | None = None
    refresh: bool = False


class CompareAndSwap(_Command, frozen=True, array_like=True, gc=False, tag=4):
    """Replace a file if its value and index are as given (None, 0: not asked)."""

    path: bytes
    value: bytes = b""
    ttl: int | None = None
    previous_value: bytes | None = None
    previous_index: int = 0
    refresh: bool = False


class Delete(_Command, frozen=True, array_like=True, gc=False, tag=5):
    """Delete a file, an empty directory (`directory`) or a whole tree (`recursive`)."""

    path: bytes
    directory: bool = False
    recursive: bool = False


class CompareAndDelete(_Command, frozen=True, array_like=True, gc=False, tag=6):
    """Delete a file if its value and index are as given (None, 0: not asked)."""

    path: bytes
    previous_value: bytes | None = None
    previous_index: int = 0


class Expire(_Command, frozen=True, array_like=True, gc=False, tag=7):
    """Remove what is due at the cluster time of this entry, at most `limit` files, directories and leases."""

    limit: int


# The operations of the v3 dialect.


class Put(_Command, frozen=True, array_like=True, gc=False, tag=16):
    """Store a value; `lease` 0 means none."""

    key: bytes
    value: bytes = b""
    lease: int = 0
    ignore_value: bool = False
    ignore_lease: bool = False


class DeleteRange(_Command, frozen=True, array_like=True, gc=False, tag=17):
    """Delete key, or start <= key < end; end `\\0` means all from `key` on. `previous` is whether the outcome is to
    show what was deleted."""

    key: bytes
    end: bytes | None = None
    previous: bool = True


class Range(_Command, frozen=True, array_like=True, gc=False, tag=18):
    """Read inside a transaction. `revision` 0 means now; `limit` 0 means all; `count_only` means no keys."""

    key: bytes
    end: bytes | None = None
    revision: int = 0
    limit: int = 0
    count_only: bool = False


Target = Literal["value", "version", "create", "mod", "lease"]
Relation = Literal["=", "!=", "<", ">"]


class Compare(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One condition: `target` of every key in the range stands in `relation` to `operand`."""

    key: bytes
    target: Target
    relation: Relation
    operand: int | bytes
    end: bytes | None = None


class Txn(_Command, frozen=True, array_like=True, gc=False, tag=19):
    """If every compare holds do `success`, else `failure`; all of it at one revision."""

    compare: tuple[Compare, ...] = ()
    success: tuple["Operation", ...] = ()
    failure: tuple["Operation", ...] = ()


class LeaseGrant(_Command, frozen=True, array_like=True, gc=False, tag=20):
    """Make a lease of `ttl` seconds under a positive id."""

    id: int
    ttl: int


class LeaseRevoke(_Command, frozen=True, array_like=True, gc=False, tag=21):
    """End a lease and delete its keys."""

    id: int
    reserved: bool = False
    """Also if keys of `core.kv.reserved` hang on it."""


class LeaseKeepAlive(_Command, frozen=True, array_like=True, gc=False, tag=22):
    """Start the lease's time anew."""

    id: int
    reserved: bool = False
    """Also if keys of `core.kv.reserved` hang on it."""


class Compact(_Command, frozen=True, array_like=True, gc=False, tag=23):
    """Forget what `revision` no longer shows; older revisions cannot be read from then on."""

    revision: int


# The users, roles and permissions of both dialects. A password is a hash, never the password itself.


class AuthSwitch(_Command, frozen=True, array_like=True, gc=False, tag=32):
    """Begin to restrict access by users and roles, or end it. Beginning makes the role guest if there is none, unless
    `guest` is False: then whoever shows no credentials may do nothing."""

    enabled: bool
    guest: bool = True


class UserCreate(_Command, frozen=True, array_like=True, gc=False, tag=33):
    """Make a user that must not exist."""

    name: str
    password: str | None = None
    roles: tuple[str, ...] = ()


class UserChange(_Command, frozen=True, array_like=True, gc=False, tag=34):
    """Give an existing user another password (None: keep it), more roles, fewer roles."""

    name: str
    password: str | None = None
    grant: tuple[str, ...] = ()
    revoke: tuple[str, ...] = ()


class UserDelete(_Command, frozen=True, array_like=True, gc=False, tag=35):
    """Remove a user."""

    name: str


class RoleCreate(_Command, frozen=True, array_like=True, gc=False, tag=36):
    """Make a role that must not exist."""

    name: str
    permissions: tuple[Permission, ...] = ()


class RoleChange(_Command, frozen=True, array_like=True, gc=False, tag=37):
    """Add rights to an existing role, then take away those of `revoke`; taking away what is not there is no error. At
    last give it exactly the rights of `put` on their ranges."""

    name: str
    grant: tuple[Permission, ...] = ()
    revoke: tuple[Permission, ...] = ()
    put: tuple[Permission, ...] = ()


class RoleDelete(_Command, frozen=True, array_like=True, gc=False, tag=38):
    """Remove a role, from every user too."""

    name: str


# The operations of the system records.


class Revoke(_Command, frozen=True, array_like=True, gc=False, tag=40):
    """Take a certificate's rights away, by its serial number: big-endian, without leading zeros."""

    serial: bytes


class Publish(_Command, frozen=True, array_like=True, gc=False, tag=41):
    """A member tells its name, its client URLs and its version."""

    id: int
    name: str
    client_urls: tuple[str, ...]
    version: str


class ChangeMember(_Command, frozen=True, array_like=True, gc=False, tag=42):
    """Let a member in, give it a vote, tell its URLs, or put it out. It travels to the leader as a command; in the log
    it is an entry of raft's own kind."""

    id: int
    standing: int | None
    """`core.raft.members.Standing`; 0 puts it out, None leaves it as it is."""
    name: str = ""
    peer_urls: tuple[str, ...] = ()
    """Of a member that belongs to the cluster: its new URLs."""


class Advance(_Command, frozen=True, array_like=True, gc=False, tag=43):
    """Consume a revision and change nothing that anybody sees."""


class CompareStates(_Command, frozen=True, array_like=True, gc=False, tag=52):
    """Every member is to hash its state as it is at this place of the log (`core.kv.hashing`)."""


class Accuse(_Command, frozen=True, array_like=True, gc=False, tag=53):
    """The state of some members differs from that of the others."""

    members: tuple[int, ...]
    index: int
    """The entry at which they were compared."""
    judged: bool
    """Whether most have another state, so that these are wrong; else nobody can say who is."""


class TokenCreate(_Command, frozen=True, array_like=True, gc=False, tag=48):
    """Make a token by which hosts can join. Of its secret only the SHA-256 is kept."""

    id: str
    digest: bytes
    role: str
    ttl: int
    """Seconds."""
    uses: int
    creator: str


class TokenUse(_Command, frozen=True, array_like=True, gc=False, tag=49):
    """A host that knows the secret of a token becomes one of its holders, by the SHA-256 of its public key."""

    id: str
    digest: bytes
    role: str
    holder: bytes


class TokenRevoke(_Command, frozen=True, array_like=True, gc=False, tag=50):
    """Make a token useless."""

    id: str


class HostBind(_Command, frozen=True, array_like=True, gc=False, tag=60):
    """A machine id belongs to a host from now on (`core.kv.hosts`)."""

    machine: str
    key: bytes
    """SHA-256 of its public key; empty for a member."""
    addresses: tuple[str, ...]
    member: int = 0
    """The member that says so of itself; 0: none."""


class HostForget(_Command, frozen=True, array_like=True, gc=False, tag=61):
    """A machine id belongs to nobody any more."""

    machine: str


DEEPEST = 130
"""Transactions within transactions, and an operation in the last: somewhat more than the dialect lets in."""
Operation = Put | DeleteRange | Range | Txn
Admissible = (
    Set
    | Create
    | Update
    | CompareAndSwap
    | Delete
    | CompareAndDelete
    | Put
    | DeleteRange
    | Txn
    | LeaseGrant
    | LeaseRevoke
    | LeaseKeepAlive
    | AuthSwitch
    | UserCreate
    | UserChange
    | UserDelete
    | RoleCreate
    | RoleChange
    | RoleDelete
)
"""Commands that somebody asked for, and that were allowed by the users and roles as they were."""


class Admitted(_Command, frozen=True, array_like=True, gc=False, tag=39):
    """A command that was allowed by the access records of revision `access`; refused if they changed since.

    Who asks is decided before a command enters the log, by records that commands ahead of it in the log may still
    change. Every member compares the same two numbers at the same place of the log, so all refuse or none.
    """

    access: int
    command: Admissible


Command = (
    Admissible
    | Admitted
    | Expire
    | Compact
    | Revoke
    | Publish
    | ChangeMember
    | Advance
    | TokenCreate
    | TokenUse
    | TokenRevoke
    | CompareStates
    | Accuse
    | HostBind
    | HostForget
)


class Origin(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run of commands in a batch that another member handed to the leader, and that it answers once they are
    applied there."""

    first: int
    """Place of the first of them in the batch."""
    count: int
    member: int
    token: int
    """By which that member knows the first; those behind it count on."""


class Batch(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One log entry: commands in order, and the cluster time at which they happen."""

    time: int
    """Cluster time in nanoseconds; never less than that of the entry before."""
    commands: tuple[Command, ...]
    origins: tuple[Origin, ...] = ()
    """Who asked for those that did not come to the leader itself."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Batch)


def encode(batch: Batch) -> bytes:
    """The bytes of a log entry."""
    return _encoder.encode(batch)


def decode(data: bytes) -> Batch:
    """The batch in a log entry; msgspec.ValidationError or DecodeError if it is none."""
    try:
        return _decoder.decode(data)
    except (RecursionError, UnicodeDecodeError) as error:
        raise msgspec.DecodeError(f"not a log entry: {error}") from error


def is_too_deep(command: Command) -> bool:
    """Whether transactions are nested deeper in it than may be carried out. Nobody may propose such a one: every member
    would end over it, and again after each start."""
    found: list[Command | Operation] = [command.command if isinstance(command, Admitted) else command]
    for _ in range(DEEPEST):
        found = [inner for each in found if isinstance(each, Txn) for inner in (*each.success, *each.failure)]
        if not found:
            return False
    return True
