"""The program under the name `etcd`."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from core.api.v3.maintenance import BEHAVES_AS
from core.commands.failure import Failure
from core.etcd_name.flags import FLAGS
from core.etcd_name.reading import HELP, UsageError, read
from core.etcd_name.translation import check_directory, translate
from core.version import VERSION

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_HELP = """Usage:

  etcd [flags]
    Start a node of corenode, which answers to etcd's name.

  etcd --version
    Show the version of etcd whose behaviour it follows.

  etcd --config-file FILE
    Take the configuration from a YAML file, and from nowhere else.

Flags (also as variables, ETCD_NAME for --name):
"""


def main(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> int:
    """Run until a signal ends it; the exit code: 0 done, 1 failed, 2 wrong usage."""
    from core.config import ConfigError, load

    if arguments and arguments[0] in ("gateway", "grpc-proxy"):
        return _wrong(f"{arguments[0]}: there is no proxy here; give programs the members' addresses")
    try:
        given = read(arguments, environ)
        if HELP in given.values:
            print(_HELP + "\n".join(f"  --{name}" for name, flag in FLAGS.items() if not flag.refused))
            return 0
        if given.values.get("version") == "true":
            print(version())
            return 0
        found = translate(given)
        check_directory(Path(found.settings["data-dir"]))
        config = load(found.settings, environ={})
    except (UsageError, ConfigError) as error:
        return _wrong(str(error).rstrip("."))
    from core.commands.up import serve

    try:
        serve(config, [(warning, {}) for warning in found.warnings])
    except Failure as failure:
        print(f"etcd: {failure.format_message()}", file=sys.stderr)
        return 1
    return 0


def version() -> str:
    """In etcd's form: the etcd that is followed, and what this is really."""
    machine = platform.machine()
    return (
        f"etcd Version: {BEHAVES_AS}\n"
        f"Git SHA: corenode {VERSION}\n"
        f"Go Version: none (Python {platform.python_version()})\n"
        f"Go OS/Arch: linux/{_MACHINES.get(machine, machine)}"
    )


def _wrong(why: str) -> int:
    print(f"etcd: {why}.\nSee 'etcd --help'.", file=sys.stderr)
    return 2
