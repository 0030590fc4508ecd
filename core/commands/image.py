"""`corenode image`: images of the operating system, and why to trust them."""

import click

from core.commands import lazy

VERBS = {
    "Make": {
        "build": lazy.Verb("core.commands.image_build:build", "Build an image from a folder or a file."),
        "disk": lazy.Verb("core.commands.image_disk", "Make a bootable disk from an image."),
        "install": lazy.Verb("core.commands.image_install", "Put an image on a disk, which then starts from it."),
        "inspect": lazy.Verb("core.commands.image_build:inspect", "Show what an image is."),
        "check": lazy.Verb("core.commands.image_build:check", "Compare all of an image with its manifest."),
    },
    "Trust": {
        "sign": lazy.Verb("core.commands.image_release:sign", "Sign a release, with as many keys as are here."),
        "publish": lazy.Verb(
            "core.commands.image_release:publish", "Let the cluster, or a repository, serve a release."
        ),
        "package": lazy.Verb("core.commands.image_package:package", "Let the cluster serve a file of another make."),
        "verify": lazy.Verb("core.commands.image_release:verify", "Say whether a repository's release can be trusted."),
        "trust": lazy.Verb("core.commands.image_trust", "Make, show, change and renew what hosts trust."),
    },
}

_HELP = """Images of the operating system: built from a folder, signed by people, published, verified by hosts.

An image is a directory with a manifest, and chunks named by the hash of what is in them.

\b
Examples:
  corenode image build root --out image --version 1.0.0
  corenode image trust init repo --keys keys --online online
  corenode image sign image --repo repo --keys keys
  corenode image publish image repo --online online
  corenode image verify repo os 1.0.0 --root root.json
"""


@click.group(cls=lazy.LazyGroup, verbs=VERBS, help=_HELP)
def command() -> None:
    """Replaced by _HELP."""
