"""Metadata of The Update Framework: read, made, changed, signed, counted. Values in, values out; time is passed in."""

import copy
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from securesystemslib.signer import CryptoSigner, SSlibKey
from tuf.api.metadata import Metadata, MetaFile, Role, Root, Signed, Snapshot, TargetFile, Targets, Timestamp

from core.trust.errors import ClockError, ExpiredError, TrustError, refused

S = TypeVar("S", Root, Timestamp, Snapshot, Targets)

ROOT, TARGETS, SNAPSHOT, TIMESTAMP = "root", "targets", "snapshot", "timestamp"
ROLES = (ROOT, TARGETS, SNAPSHOT, TIMESTAMP)

LIMITS = {ROOT: 512 << 10, TARGETS: 8 << 20, SNAPSHOT: 64 << 10, TIMESTAMP: 16 << 10}
"""The largest file of each role that is read, in bytes."""

LIVES = {
    ROOT: timedelta(days=5 * 365),
    TARGETS: timedelta(days=5 * 365),
    SNAPSHOT: timedelta(days=30),
    TIMESTAMP: timedelta(days=7),
}
"""How long each role is good for unless somebody says otherwise. An attacker who holds updates back is noticed when the
timestamp, which the cluster renews by itself, has expired; the others need no short life."""

MADE = "x-corenode-made"
"""The field that says when metadata was made. TUF keeps fields it does not know, and they are signed with the rest."""

SKEW = timedelta(hours=1)
"""How far the clocks of those who sign and those who verify may be apart."""

_FORMAT = "%Y-%m-%dT%H:%M:%SZ"


class Signatures(NamedTuple):
    """How far the signatures of a file of metadata have come, by one root's count."""

    role: str
    by: int
    """The version of the root that names the keys."""
    valid: int
    needed: int

    @property
    def missing(self) -> int:
        return max(0, self.needed - self.valid)


def read(kind: type[S], data: bytes, what: str) -> Metadata[S]:
    """Metadata of a kind, its signatures unchecked. TrustError."""
    if len(data) > LIMITS[kind.type]:
        raise TrustError(f"{what} is larger than {LIMITS[kind.type]} bytes")
    with refused(what):
        found: Metadata[S] = Metadata[S].from_bytes(data)
        if not isinstance(found.signed, kind):
            raise TrustError(f"{what} is metadata of the role {found.signed.type}, not of {kind.type}")
        return found


def made(signed: Signed, what: str) -> datetime | None:
    """When metadata was made, None if it does not say so. TrustError."""
    value = signed.unrecognized_fields.get(MADE)
    if value is None:
        return None
    with refused(what):
        return datetime.strptime(value, _FORMAT).replace(tzinfo=UTC)


def check_time(signed: Signed, now: datetime, what: str) -> None:
    """ClockError if it comes from the future, ExpiredError if its time is over."""
    check_clock(signed, now, what)
    if signed.is_expired(now):
        raise ExpiredError(
            f"{what} expired {signed.expires:%Y-%m-%d %H:%M} UTC, and this host's clock says {now:%Y-%m-%d %H:%M}: "
            "set the clock if it is wrong; else the metadata is kept from being renewed, or nobody renews it"
        )


def check_clock(signed: Signed, now: datetime, what: str) -> None:
    """ClockError if it comes from the future."""
    since = made(signed, what)
    if since is not None and since > now + SKEW:
        raise ClockError(
            f"this host's clock says {now:%Y-%m-%d %H:%M} UTC, but {what} was made {since:%Y-%m-%d %H:%M}: "
            "set the clock"
        )


def check_root(root: Root, what: str) -> None:
    """Refuse a root by which fewer people decide than it seems, or nobody can. TrustError."""
    if not root.consistent_snapshot:
        raise TrustError(f"{what} lets files be replaced in place, and a reader could mix old ones with new")
    for name, role in root.roles.items():
        keys = [root.keys[keyid] for keyid in role.keyids if keyid in root.keys]
        if any(key.keytype != "ed25519" or key.scheme != "ed25519" for key in keys):
            raise TrustError(f"{what} names a key for {name} that is not Ed25519")
        if len({str(key.keyval.get("public")).lower() for key in keys}) != len(role.keyids):
            raise TrustError(f"{what} names one key for {name} twice, or one that it does not hold")
        if role.threshold > len(keys):
            raise TrustError(f"{what} wants {role.threshold} signatures for {name} and names {len(keys)} keys")


def first_root(
    keys: Mapping[str, Sequence[SSlibKey]],
    thresholds: Mapping[str, int],
    now: datetime,
    life: timedelta = LIVES[ROOT],
) -> Metadata[Root]:
    """A root of trust that names the keys of each role, unsigned. TrustError if nobody could fulfil it."""
    root = Root(
        version=1,
        expires=_end(now, life),
        keys={key.keyid: key for some in keys.values() for key in some},
        roles={role: Role([key.keyid for key in keys[role]], thresholds[role]) for role in ROLES},
        consistent_snapshot=True,
        unrecognized_fields=_made(now),
    )
    check_root(root, "the root")
    return Metadata(root)


def first_targets(now: datetime, life: timedelta = LIVES[TARGETS]) -> Metadata[Targets]:
    """No release yet, unsigned."""
    return Metadata(Targets(version=1, expires=_end(now, life), unrecognized_fields=_made(now)))


def next_root(
    old: Root,
    now: datetime,
    life: timedelta = LIVES[ROOT],
    *,
    add: Mapping[str, Iterable[SSlibKey]] | None = None,
    retire: Mapping[str, Iterable[str]] | None = None,
    thresholds: Mapping[str, int] | None = None,
) -> Metadata[Root]:
    """The root that follows, unsigned: keys added to roles, retired from them by key id, thresholds changed."""
    with refused("the change of the root"):
        root = copy.deepcopy(old)
        for role, keys in (add or {}).items():
            for key in keys:
                root.add_key(key, role)
        for role, keyids in (retire or {}).items():
            for keyid in keyids:
                root.revoke_key(keyid, role)
        for role, threshold in (thresholds or {}).items():
            root.roles[role].threshold = threshold
        _follow(root, now, life)
        check_root(root, "the new root")
        return Metadata(root)


def next_targets(
    old: Targets, now: datetime, life: timedelta = LIVES[TARGETS], *, add: TargetFile | None = None
) -> Metadata[Targets]:
    """The targets that follow, unsigned, with a release more if one is given. TrustError if it is there, different."""
    targets = copy.deepcopy(old)
    if add is not None:
        before = targets.targets.get(add.path)
        if before is not None and before != add:
            raise TrustError(f"{add.path} was released before with another content; give the image a new version")
        targets.targets[add.path] = add
    _follow(targets, now, life)
    return Metadata(targets)


class Online(NamedTuple):
    """What the cluster signs by itself."""

    snapshot: bytes
    snapshot_version: int
    timestamp: bytes
    timestamp_version: int


def sign_online(
    root: Root,
    targets: bytes,
    before: tuple[int, int],
    signers: Iterable[CryptoSigner],
    now: datetime,
    lives: Mapping[str, timedelta] = LIVES,
) -> Online:
    """The next snapshot and timestamp over signed targets, and over nothing else.

    `before` are the versions of snapshot and timestamp until now. TrustError if the signers are too few for this root,
    or the targets are not good under it: the cluster's keys vouch only for what the offline keys have signed.
    """
    check_time(root, now, "the root")
    document = read(Targets, targets, "the targets")
    with refused("the targets"):
        root.verify_delegate(TARGETS, document.signed_bytes, document.signatures)
    check_time(document.signed, now, "the targets")
    held = list(signers)
    snapshot = Snapshot(
        version=before[0] + 1,
        expires=_end(now, lives[SNAPSHOT]),
        meta={"targets.json": _meta(document.signed.version, targets)},
        unrecognized_fields=_made(now),
    )
    first = _signed(Metadata(snapshot), root, held)
    timestamp = Timestamp(
        version=before[1] + 1,
        expires=_end(now, lives[TIMESTAMP]),
        snapshot_meta=_meta(snapshot.version, first),
        unrecognized_fields=_made(now),
    )
    return Online(first, snapshot.version, _signed(Metadata(timestamp), root, held), timestamp.version)


def sign(metadata: Metadata[S], roots: Iterable[Root], signers: Iterable[CryptoSigner]) -> int:
    """Add the signatures of those signers that one of the roots lets sign this; how many did."""
    role = metadata.signed.type
    allowed = {keyid for root in roots for keyid in root.roles[role].keyids}
    count = 0
    for signer in signers:
        if signer.public_key.keyid in allowed:
            with refused(f"the signature of {signer.public_key.keyid}"):
                metadata.sign(signer, append=True)
            count += 1
    return count


def progress(metadata: Metadata[S], roots: Iterable[Root]) -> list[Signatures]:
    """The count of valid signatures by each of the roots."""
    role = metadata.signed.type
    found = []
    for root in roots:
        with refused(f"the {role}"):
            result = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
        found.append(Signatures(role, root.version, len(result.signed), result.threshold))
    return found


def enough(counts: Iterable[Signatures]) -> None:
    """TrustError if signatures are missing."""
    for count in counts:
        if count.missing:
            raise TrustError(
                f"{count.role} has {count.valid} of the {count.needed} signatures that version {count.by} of the root "
                f"asks for; {count.missing} missing"
            )


def _signed(metadata: Metadata[S], root: Root, signers: Sequence[CryptoSigner]) -> bytes:
    sign(metadata, [root], signers)
    (state,) = progress(metadata, [root])
    if state.missing:
        raise TrustError(
            f"the {state.role} needs {state.needed} signatures by version {state.by} of the root, "
            f"and the keys at hand give {state.valid}"
        )
    return metadata.to_bytes()


def _follow(signed: Root | Targets, now: datetime, life: timedelta) -> None:
    signed.version += 1
    signed.expires = _end(now, life)
    signed.unrecognized_fields.update(_made(now))


def _meta(version: int, data: bytes) -> MetaFile:
    return MetaFile.from_data(version, data, ["sha256"])


def _end(now: datetime, life: timedelta) -> datetime:
    return (now + life).replace(microsecond=0)


def _made(now: datetime) -> dict[str, str]:
    return {MADE: now.strftime(_FORMAT)}
