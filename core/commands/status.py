"""`corenode status`."""

from typing import TYPE_CHECKING, Any

import click

from core.commands import output
from core.commands.connection import Connection, cluster_option, connection_options

if TYPE_CHECKING:
    from core.client.transport import Transport


@click.command()
@output.format_option(output.TABLE, output.JSON)
@cluster_option
@connection_options
def command(output_: str, cluster: bool, connection: Connection) -> None:
    """Show how each endpoint's node is; without --endpoints, the node of this host. Exit 1 if one does not answer.

    Needs the node's unix socket (taken by itself on the node's host) or a client certificate of the role
    reader, operator or admin.

    \b
    Examples:
      corenode status
      corenode status --cluster
      corenode status -o json --endpoints unix:///var/lib/corenode/corenode.sock
    """
    from core.client.errors import ClientError
    from core.client.operations import Operations
    from core.commands.survey import reason, survey, survey_members

    async def ask(transport: "Transport") -> dict[str, Any]:
        return await Operations(transport, connection.timeout).status()

    answers = (survey_members if cluster else survey)(connection, ask)
    good = [(endpoint, found) for endpoint, found in answers if not isinstance(found, ClientError)]
    bad = [(endpoint, reason(error)) for endpoint, error in answers if isinstance(error, ClientError)]
    if output_ == output.JSON:
        output.json(
            [{"endpoint": endpoint, "status": found} for endpoint, found in good]
            + [{"endpoint": endpoint, "error": why} for endpoint, why in bad]
        )
    elif good:
        output.table(_HEADINGS, [_row(endpoint, found) for endpoint, found in good])
    for endpoint, why in bad:
        output.note(f"corenode: {endpoint}: {why}.")
    if bad:
        click.get_current_context().exit(1)


_HEADINGS = ("ENDPOINT", "NAME", "ROLE", "VERSION", "REVISION", "RAFT", "DATA", "COMMIT P99", "UP", "PID", "ALARMS")


def _row(endpoint: str, found: dict[str, Any]) -> tuple[object, ...]:
    def get(name: str) -> Any:
        return found.get(name, "-")

    commits = found.get("commits")
    return (
        endpoint,
        get("name"),
        get("role") if found.get("leader_id") or get("role") == "worker" else f"{get('role')}, no leader",
        get("version"),
        get("revision"),
        f"{get('raft_term')}/{get('raft_index')}",
        size(found["state_bytes"] + found.get("log_bytes", 0)) if "state_bytes" in found else "-",
        f"{commits.get('p99_ms', 0):.1f} ms" if commits else "-",
        _age(found.get("uptime_seconds", 0)),
        get("pid"),
        " ".join(found.get("alarms", ())) or "none",
    )


def size(count: float) -> str:
    """Bytes for people: `12.3 MiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _age(seconds: float) -> str:
    days, rest = divmod(int(seconds), 86400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days}d{hours}h"
    if hours:
        return f"{hours}h{minutes}m"
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
