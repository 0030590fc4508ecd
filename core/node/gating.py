"""Commands that not all members know yet are refused where they are queued: on a follower, and again on the leader."""

from core.kv import versions
from core.kv.commands import Command
from core.kv.keyspace import Keyspace
from core.node.errors import GatedError


def check_version(keyspace: Keyspace, command: Command) -> None:
    """GatedError if the version of the cluster does not know a command."""
    needed = versions.since(command)
    if needed == versions.FIRST or needed <= keyspace.cluster_version:
        return
    behind = [
        f"the member {member.name or f'{member.id:x}'} " + (f"runs {member.version}" if member.version else "told none")
        for member in keyspace.members()
        if (versions.parse(member.version) or versions.FIRST) < needed
    ]
    raise GatedError(
        f"this needs {needed[0]}.{needed[1]} on every member, and {', '.join(behind) or 'not all have told theirs'}; "
        "upgrade first"
    )


def outdated(keyspace: Keyspace, own: str) -> str:
    """Why a program of version `own` must not run as a member of this cluster; empty if it may."""
    version, cluster = versions.parse(own), keyspace.cluster_version
    if version is not None and version >= cluster:
        return ""
    return (
        f"this is version {own}, and the cluster has come to {cluster[0]}.{cluster[1]}, which an older member does not "
        "understand: upgrade this one. There is no way back but to restore a snapshot from before"
    )
