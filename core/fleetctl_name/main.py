"""From fleetctl's words to what is done."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.commands.connection import Connection
from core.commands.failure import Failure
from core.fleetctl_name.flags import COMMANDS, GLOBAL, Words, read
from core.fleetctl_name.forwarding import forward, tunnel
from core.fleetctl_name.looking import Looks
from core.fleetctl_name.program import Changes
from core.goflags import FlagError
from core.version import VERSION

FLEET_VERSION = "1.0.0"
"""The version whose behaviour it follows."""
SOCKET = Path("/var/run/fleet.sock")
REQUEST_SECONDS = 3.0
_HELP = """fleetctl is a command-line interface to the units of a corenode cluster, in fleet's words

Usage:
  fleetctl [global options] COMMAND [options] [arguments]

Commands (any beginning that only one has will do):
"""


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Run a command; the exit code: 0 done, 1 failed, 2 wrong usage."""
    try:
        words = read(arguments, environ)
        if words.command == "version" or words.is_on("version"):
            print(f"fleetctl version {FLEET_VERSION} (corenode {VERSION})")
            return 0
        if words.command in ("", "help") or words.is_on("help", "h"):
            print(_HELP + "\n".join(f"  {name}" for name in COMMANDS), end="\n\nGlobal options:\n")
            print("\n".join(f"  --{name}" for name in GLOBAL))
            return 0
        if words.values.get("driver", "API") != "API":
            raise Failure(f"There is no driver {words.values['driver']}: units are reached through the API alone.")
        if words.command == "fd-forward":
            return forward(words.arguments)
        with tunnel(words) as endpoint:
            return _run(words, _connection(words, endpoint))
    except FlagError as error:
        print(f"fleetctl: {error}\nHelp: fleetctl help", file=sys.stderr)
        return 2
    except Failure as failure:
        print(f"Error: {failure.format_message()}", file=sys.stderr)
        return 1


def _run(words: Words, connection: Connection) -> int:
    if not words.arguments and not words.command.startswith("list-") and words.command != "ssh":
        raise Failure(f"{words.command}: no units given")
    verb = words.command.replace("-", "_")
    changes, looks = Changes(connection), Looks(connection)
    run = getattr(changes, verb, None) or getattr(looks, verb)
    code: int = run(words)
    return code


def _connection(words: Words, endpoint: str | None) -> Connection:
    values = words.values
    if endpoint is None and SOCKET.exists():
        endpoint = f"unix://{SOCKET}"
    try:
        seconds = float(values.get("request-timeout", REQUEST_SECONDS))
    except ValueError:
        raise FlagError(f"invalid value {values['request-timeout']!r} for --request-timeout") from None
    paths = [Path(values[name]) if values.get(name) else None for name in ("ca-file", "cert-file", "key-file")]
    return Connection(endpoint, paths[0], paths[1], paths[2], None, seconds)
