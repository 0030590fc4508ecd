"""`corenode update`: which versions hosts run, and how they get the next one."""

import click

from core.commands import lazy

VERBS = {
    "This host": {
        "status": lazy.Verb("core.commands.update_host:status", "What this host runs, and what is under way."),
        "check": lazy.Verb("core.commands.update_host:check", "Which releases are signed and served."),
        "apply": lazy.Verb("core.commands.update_host:apply", "Install a version now."),
    },
    "Operators": {
        "channel": lazy.Verb("core.commands.update_channel", "What hosts of a channel are to run."),
        "group": lazy.Verb("core.commands.update_group", "How hosts take turns; pause and resume them."),
    },
}

_HELP = """Updates of hosts: channels say what is wanted, groups how hosts take turns; a host says how it fares.

\b
Examples:
  corenode update status
  corenode update apply --now
  corenode update channel set stable --product corenode --version 1.1.0
  corenode update group set default --channel stable --at-once 2
  corenode update channel show stable
"""


@click.group(cls=lazy.LazyGroup, verbs=VERBS, help=_HELP)
def command() -> None:
    """Replaced by _HELP."""
