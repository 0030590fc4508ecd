"""The ids of a new cluster and what all its founders write into their logs first: the same on each, from the same
configuration, without a word between them."""

import hashlib
import secrets
from collections.abc import Iterable

import msgspec

from core.addresses import Url
from core.config import Config
from core.kv import membership
from core.kv.membership import Change, Member
from core.kv.transaction import Table
from core.raft.founding import found
from core.store_lmdb.creation import Beginning, Identity


def beginning(config: Config) -> Beginning:
    """What the data directory of a founder begins with.

    A member that founds a cluster alone chooses its ids by chance: two that never met must not take each other for the
    same. Several derive them from the token, the names and the peer URLs, which are alike on all of them.
    """
    if len(config.initial_cluster) < 2:
        urls = _texts(config.initial_advertise_peer_urls) or (NO_PORT,)
        founders = [Member(new_id(), config.name, urls)]
        cluster = new_id()
    else:
        token = config.initial_cluster_token
        founders = [Member(_id(token, name, *urls), name, _texts(urls)) for name, urls in config.initial_cluster]
        cluster = _id(token, *sorted(founder.id for founder in founders))
    own = next(founder.id for founder in founders if founder.name == config.name)
    context = membership.encode(Change(tuple(sorted(founders, key=lambda founder: founder.id))))
    entry, hard_state = found([founder.id for founder in founders], context)
    return Beginning(Identity(cluster, own), (entry,), hard_state, NOBODY)


def joining(cluster: int, member: int, known: Iterable[Member]) -> Beginning:
    """What the data directory of a member begins with that an existing cluster has added: nothing but whom to expect a
    word from."""
    return Beginning(Identity(cluster, member), rows=(*NOBODY, *map(membership.row, known)))


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
