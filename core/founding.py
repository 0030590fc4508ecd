"""The ids of a new cluster and what all its founders write into their logs first: the same on each, from the same
configuration, without a word between them."""

import hashlib
import secrets
from collections.abc import Iterable, Sequence

import msgspec

from core.addresses import Url
from core.config import Config
from core.kv import membership
from core.kv.membership import Change, Member
from core.kv.transaction import Table
from core.raft.founding import found
from core.raft.members import Members
from core.store_lmdb.creation import Beginning, Identity


class Founders(msgspec.Struct, frozen=True):
    """The first members of a cluster, and which of them this is."""

    cluster: int
    own: int
    described: tuple[Member, ...]
    """By id."""

    @property
    def members(self) -> Members:
        """All of them vote."""
        return Members(tuple(member.id for member in self.described))


def founders(
    name: str, cluster: Sequence[tuple[str, tuple[Url, ...]]], peer_urls: Sequence[Url], token: str
) -> Founders:
    """Who founds a cluster.

    A member that founds one alone chooses its ids by chance: two that never met must not take each other for the same.
    Several derive them from the token, the names and the peer URLs, which are alike on all of them.
    """
    if len(cluster) < 2:
        alone = Member(new_id(), name, _texts(peer_urls) or (NO_PORT,))
        return Founders(new_id(), alone.id, (alone,))
    described = [Member(founder_id(token, member, urls), member, _texts(urls)) for member, urls in cluster]
    described.sort(key=lambda member: member.id)
    own = next(member.id for member in described if member.name == name)
    return Founders(_id(token, *(member.id for member in described)), own, tuple(described))


def beginning(config: Config) -> Beginning:
    """What the data directory of a founder begins with."""
    found_by = founders(
        config.name, config.initial_cluster, config.initial_advertise_peer_urls, config.initial_cluster_token
    )
    entry, hard_state = found(found_by.members.voters, membership.encode(Change(found_by.described)))
    return Beginning(Identity(found_by.cluster, found_by.own), (entry,), hard_state, NOBODY)


def joining(cluster: int, member: int, known: Iterable[Member]) -> Beginning:
    """What the data directory of a member begins with that an existing cluster has added: nothing but whom to expect a
    word from."""
    return Beginning(Identity(cluster, member), rows=(*NOBODY, *map(membership.row, known)))


def founder_id(token: str, name: str, urls: Iterable[Url]) -> int:
    """The id of a founder, one of several: the same wherever it is worked out."""
    return _id(token, name, *sorted(urls))


def new_id() -> int:
    """A cluster or member id that nobody else has."""
    return secrets.randbits(63) | 1


NO_PORT = "http://localhost:2380"
"""Shown for a member that opens no peer port: etcd's clients expect some URL."""

NOBODY = ((Table.META, membership.COUNTED, b""),)
"""Before the first entry is applied there are no members: the founding entry, or the leader, will name them."""


def _id(*parts: object) -> int:
    """63 bits, never 0."""
    digest = hashlib.sha256(msgspec.json.encode([str(part) for part in parts])).digest()
    return int.from_bytes(digest[:8], "big") >> 1 | 1


def _texts(urls: Iterable[Url]) -> tuple[str, ...]:
    return tuple(sorted(str(url) for url in urls))
