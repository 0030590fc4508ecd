"""What a member begins with that has no data yet: a cluster of its own, its part of a new one, or a place in one that
is there and has added it."""

import msgspec

from core import founding
from core.addresses import Url
from core.api.v2.cluster import Member as Shown
from core.client.credentials import ClientCredentials
from core.client.discovery import DiscoveryError, discover
from core.client.endpoints import Endpoint
from core.client.errors import ClientError
from core.client.transport import Transport
from core.config import Config
from core.kv.membership import Member
from core.setting_texts import initial_cluster
from core.store_lmdb.creation import Beginning, Identity, is_made
from core.tls.contexts import TlsFilesError

ASK_SECONDS = 5.0
FOUNDING_SECONDS = 1.0


class JoinError(Exception):
    """The cluster that is to be joined cannot be found, or does not know this member. The text is for people."""


async def beginning(config: Config) -> Beginning | None:
    """What a new data directory begins with; None if there is one already. JoinError."""
    if is_made(config.data_dir):
        return None
    if config.initial_cluster_state == "existing":
        return await _join(config)
    if config.discovery:
        config = await _discovered(config)
    new = founding.beginning(config)
    if len(config.initial_cluster) > 1:
        await _check_unknown(config, new.identity)
    return new


async def _discovered(config: Config) -> Config:
    """The configuration with the founders that found each other. JoinError."""
    own = config.initial_advertise_peer_urls
    member = founding.founder_id(config.discovery, config.name, own)
    try:
        values = await discover(config.discovery, f"{member:x}", ",".join(f"{config.name}={url}" for url in own))
        founders = initial_cluster(",".join(values).replace("&", ","))
    except (DiscoveryError, ClientError, TlsFilesError, ValueError) as error:
        raise JoinError(f"--discovery: {error}") from None
    names = [value.partition("=")[0] for value in values]
    if len(set(names)) < len(names) or config.name not in names:
        raise JoinError(f"--discovery: two hosts of one name have registered: {', '.join(names)}; begin with a new URL")
    return msgspec.structs.replace(config, initial_cluster=founders, initial_cluster_token=config.discovery)


async def _check_unknown(config: Config, identity: Identity) -> None:
    """A founder that comes back without its data has forgotten how it voted, and must not vote again. Those that do
    not answer cannot be asked: then the cluster is likely just being founded."""
    for _, url in _others(config):
        try:
            cluster, shown = await ask_members(config, url, FOUNDING_SECONDS)
        except (ClientError, ValueError, msgspec.DecodeError):
            continue
        ran = [member for member in shown if int(member.id, 16) == identity.member and member.client_urls]
        if cluster == identity.cluster and ran:
            raise JoinError(_has_run(config))


async def _join(config: Config) -> Beginning:
    """Ask the members of the configuration who this one is."""
    reasons = []
    for name, url in _others(config):
        try:
            return _as_known(config, *await ask_members(config, url, ASK_SECONDS))
        except (ClientError, ValueError, msgspec.DecodeError) as error:
            reasons.append(f"{name} at {url}: {error}")
    raise JoinError(
        "no member of the cluster answers, so it cannot be joined; check --initial-cluster and that they run. "
        + "; ".join(reasons)
    )


def _has_run(config: Config) -> str:
    return (
        f"{config.name} has run in this cluster before, but {config.data_dir} is empty: without its log it could vote "
        "twice and lose writes. Bring the directory back, or replace the member: corenode member remove "
        f"{config.name}, then corenode member add, and start it with --initial-cluster-state existing"
    )


def _others(config: Config) -> list[tuple[str, Url]]:
    return [(name, url) for name, urls in config.initial_cluster if name != config.name for url in urls]


async def ask_members(config: Config, url: Url, seconds: float) -> tuple[int, list[Shown]]:
    """Cluster id and members as the member at a peer URL knows them. ClientError, ValueError, DecodeError."""
    async with Transport([Endpoint(str(url), str(url))], _credentials(config)) as peer:
        answer = await peer.call("GET", "/members", seconds=seconds)
    return int(answer.headers.get("x-etcd-cluster-id", ""), 16), msgspec.json.decode(answer.body, type=list[Shown])


def _credentials(config: Config) -> ClientCredentials | None:
    """What this member shows to the others before it is one of them."""
    if config.peer_cert_file is None:
        return None
    try:
        return ClientCredentials(config.peer_trusted_ca_file, config.peer_cert_file, config.peer_key_file)
    except TlsFilesError as error:
        raise JoinError(str(error)) from error


def _as_known(config: Config, cluster: int, shown: list[Shown]) -> Beginning:
    own = {str(url) for url in config.initial_advertise_peer_urls}
    for member in shown:
        if set(member.peer_urls) == own:
            if member.client_urls:
                raise JoinError(_has_run(config))
            if member.name not in ("", config.name):
                raise JoinError(
                    f"the cluster knows the member at {', '.join(sorted(own))} as {member.name}, not as {config.name}; "
                    "start it with --name " + member.name
                )
            known = [Member(int(each.id, 16), each.name, each.peer_urls, each.client_urls) for each in shown]
            return founding.joining(cluster, int(member.id, 16), known)
    there = "; ".join(", ".join(member.peer_urls) for member in shown)
    raise JoinError(
        f"the cluster has no member at {', '.join(sorted(own))} (it has {there}). Add it first, on one of them: "
        f"corenode member add {config.name} --peer-urls {','.join(sorted(own))}"
    )
