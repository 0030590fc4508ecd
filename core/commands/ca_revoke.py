"""`corenode ca revoke`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from core.commands import output
from core.commands.ca import explained
from core.commands.connection import Connection, connection_options
from core.commands.failure import Failure

if TYPE_CHECKING:
    from core.client.transport import Transport

_SERIAL = re.compile(r"[0-9A-Fa-f]{1,40}")


@click.command()
@click.argument("certificates", nargs=-1, required=True, metavar="SERIAL|FILE...")
@connection_options
def command(certificates: tuple[str, ...], connection: Connection) -> None:
    """Take the rights of certificates away: nodes refuse them and close their connections within seconds.

    Each is a certificate file, or a serial number as `corenode ca show` prints it. There is no way back. Needs the
    node's unix socket or an admin certificate.

    \b
    Examples:
      corenode ca revoke certs/alice.crt
      corenode ca revoke 4298654d320f95fca535061a9cc41b2dacecfb39
    """
    from core.client.operations import Operations

    serials = [(text, _serial(text)) for text in certificates]

    async def revoke(transport: "Transport") -> None:
        operations = Operations(transport, connection.timeout)
        for text, serial in serials:
            new = await operations.revoke(serial)
            output.note(f"{text}: {'revoked' if new else 'was revoked before'}, serial {serial:x}")

    connection.run(revoke)


def _serial(text: str) -> int:
    from core.tls.authority import load_chain

    file = Path(text)
    if not file.exists() and _SERIAL.fullmatch(text):
        if int(text, 16) == 0:
            raise Failure(f"{text} is no serial number; `corenode ca show` prints them.")
        return int(text, 16)
    with explained():
        return load_chain(file)[0].serial_number
