"""`corenode health`."""

import time
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, cluster_option, connection_options

if TYPE_CHECKING:
    from core.client.operations import Health
    from core.client.transport import Transport


@click.command()
@output.format_option(output.TABLE, output.JSON)
@cluster_option
@connection_options
def command(output_: str, cluster: bool, connection: Connection) -> None:
    """Ask each endpoint whether it serves reads and writes. Exit 1 if one does not, or does not answer.

    \b
    Examples:
      corenode health --cluster
      corenode health -o json --endpoints http://10.0.0.5:2379,http://10.0.0.6:2379
    """
    from core.client.errors import ClientError
    from core.client.operations import Operations
    from core.commands.survey import reason, survey, survey_members

    async def ask(transport: "Transport") -> "tuple[Health, float]":
        start = time.monotonic()
        found = await Operations(transport, connection.timeout).health()
        return found, (time.monotonic() - start) * 1e3

    rows: list[tuple[str, bool, str, float | None]] = []
    for endpoint, answer in (survey_members if cluster else survey)(connection, ask):
        if isinstance(answer, ClientError):
            rows.append((endpoint, False, reason(answer), None))
        else:
            found, took = answer
            rows.append((endpoint, found.healthy, found.reason, took))
    if output_ == output.JSON:
        output.json([dict(zip(("endpoint", "healthy", "reason", "took_ms"), row, strict=True)) for row in rows])
    else:
        output.table(("ENDPOINT", "HEALTHY", "TOOK", "REASON"), [_row(*row) for row in rows])
    if not all(healthy for _, healthy, _, _ in rows):
        click.get_current_context().exit(1)


def _row(endpoint: str, healthy: bool, reason: str, took: float | None) -> tuple[str, ...]:
    return endpoint, "yes" if healthy else "no", "" if took is None else f"{took:.1f} ms", reason
