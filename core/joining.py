"""What a member begins with that has no data yet: a cluster of its own, its part of a new one, or a place in one that
is there and has added it."""

import msgspec

from core import founding
from core.client.credentials import ClientCredentials
from core.client.endpoints import Endpoint
from core.client.errors import ClientError
from core.client.transport import Transport
from core.config import Config
from core.kv.membership import Member
from core.peering import Shown
from core.store_lmdb.creation import Beginning, is_made
from core.tls.contexts import TlsFilesError

ASK_SECONDS = 5.0


class JoinError(Exception):
    """The cluster that is to be joined cannot be found, or does not know this member. The text is for people."""


async def beginning(config: Config) -> Beginning | None:
    """What a new data directory begins with; None if there is one already. JoinError."""
    if is_made(config.data_dir):
        return None
    if config.initial_cluster_state == "new":
        return founding.beginning(config)
    return await _join(config)


async def _join(config: Config) -> Beginning:
    """Ask the members of the configuration who this one is."""
    credentials = _credentials(config)
    reasons = []
    for name, urls in config.initial_cluster:
        for url in urls if name != config.name else ():
            try:
                async with Transport([Endpoint(str(url), str(url))], credentials) as peer:
                    answer = await peer.call("GET", "/members", seconds=ASK_SECONDS)
                cluster = int(answer.headers.get("x-etcd-cluster-id", ""), 16)
                shown = msgspec.json.decode(answer.body, type=list[Shown])
            except (ClientError, ValueError, msgspec.DecodeError) as error:
                reasons.append(f"{name} at {url}: {error}")
                continue
            return _as_known(config, cluster, shown)
    raise JoinError(
        "no member of the cluster answers, so it cannot be joined; check --initial-cluster and that they run. "
        + "; ".join(reasons)
    )


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
