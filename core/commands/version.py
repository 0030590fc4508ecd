"""`corenode version`."""

import platform
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.connection import Connection, connection_options
from core.version import VERSION

if TYPE_CHECKING:
    from core.client.transport import Transport


@click.command()
@output.format_option(output.TABLE, output.JSON)
@connection_options
def command(output_: str, connection: Connection) -> None:
    """Show the versions of this program and, where one answers, of the node.

    \b
    Example:
      corenode version -o json
    """
    from core.client.errors import ClientError
    from core.client.operations import Operations
    from core.commands.survey import survey

    async def ask(transport: "Transport") -> str:
        return await Operations(transport, connection.timeout).version()

    answers = survey(connection, ask)
    nodes = {endpoint: found for endpoint, found in answers if not isinstance(found, ClientError)}
    python = platform.python_version()
    if output_ == output.JSON:
        output.json({"corenode": VERSION, "python": python, "nodes": nodes})
    else:
        rows = [("corenode", VERSION), ("python", python), *(("node " + each, found) for each, found in nodes.items())]
        output.table(("WHAT", "VERSION"), rows)
