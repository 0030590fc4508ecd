"""`corenode image`: images of the operating system, and why to trust them."""

import click

from core.commands import lazy

VERBS = {
    "Trust": {
        "sign": lazy.Verb("core.commands.image_release:sign", "Sign a release, with as many keys as are here."),
        "publish": lazy.Verb("core.commands.image_release:publish", "Put a signed release into a repository."),
        "verify": lazy.Verb("core.commands.image_release:verify", "Say whether a repository's release can be trusted."),
        "trust": lazy.Verb("core.commands.image_trust", "Make, show, change and renew what hosts trust."),
    },
}

_HELP = """Images of the operating system: signed by people, published into a repository, verified by hosts.

\b
Examples:
  corenode image trust init repo --keys keys --online online
  corenode image sign image --repo repo --keys keys
  corenode image publish image repo --online online
  corenode image verify repo os 1.0.0 --root root.json
"""


@click.group(cls=lazy.LazyGroup, verbs=VERBS, help=_HELP)
def command() -> None:
    """Replaced by _HELP."""
