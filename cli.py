"""The command line: `corenode VERB...`. Verbs are loaded when they are called, so that help is there at once."""

import os
import signal
import sys
from typing import NoReturn

import click

from core.commands import lazy
from core.version import VERSION

VERBS = {
    "Run a node": {
        "up": lazy.Verb("core.commands.up", "Run this host's node in the foreground."),
        "demo": lazy.Verb("core.commands.demo", "Run a cluster of several hosts on this machine, to try things."),
        "join": lazy.Verb("core.commands.join", "Make this host part of a cluster, with a token."),
    },
    "Use the store": {
        "kv": lazy.Verb("core.commands.kv", "Read, write and watch keys."),
    },
    "Run units": {
        "unit": lazy.Verb("core.commands.unit", "Submit, start, stop, show and explain units of the cluster."),
        "machine": lazy.Verb("core.commands.machine", "List the machines, cordon and drain them."),
        "events": lazy.Verb("core.commands.events", "Tell what happens to units and machines, as it happens."),
    },
    "Say who may": {
        "auth": lazy.Verb("core.commands.auth", "Restrict access to keys by users and roles, or stop doing so."),
        "user": lazy.Verb("core.commands.user", "Add, change and delete users."),
        "role": lazy.Verb("core.commands.role", "Add, change and delete roles."),
    },
    "Look after it": {
        "status": lazy.Verb("core.commands.status", "Show how nodes are: revision, size, leader, alarms."),
        "member": lazy.Verb("core.commands.member", "List the members of the cluster, add and remove them."),
        "health": lazy.Verb("core.commands.health", "Say whether nodes are healthy; exit 1 if one is not."),
        "token": lazy.Verb("core.commands.token", "Make tokens by which hosts join the cluster."),
        "ca": lazy.Verb("core.commands.ca", "Make and look after the cluster's certificate authority."),
        "slot": lazy.Verb("core.commands.slot", "The two slots of the operating system, and which one starts."),
        "image": lazy.Verb("core.commands.image", "Build, sign, publish and verify images of the operating system."),
        "update": lazy.Verb("core.commands.update", "Channels and groups of hosts that update themselves."),
        "lock": lazy.Verb("core.commands.lock", "The lock under which hosts reboot, a few at a time."),
        "snapshot": lazy.Verb("core.commands.snapshot", "Save, verify and restore the whole store."),
        "bench": lazy.Verb("core.commands.bench", "Load a running cluster: requests a second and how long they take."),
        "check": lazy.Verb("core.commands.check", "Read all of a stopped node's data; exit 1 if any is damaged."),
    },
    "About": {
        "version": lazy.Verb("core.commands.version", "Show the versions of this program and of a node."),
        "completion": lazy.Verb("core.commands.completion", "Print the script for completion in bash, zsh or fish."),
    },
}

HELP = """A set of Linux machines as one: a replicated store that everyone can watch, and units that run somewhere.

\b
Examples:
  corenode up --data-dir data
  corenode kv put /greeting 'hello, world'
  corenode kv watch --recursive /
  corenode unit start hello.service
  corenode status
"""


@click.group(cls=lazy.LazyGroup, verbs=VERBS, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, "--version", prog_name="corenode")
def cli() -> None:
    """Replaced by HELP."""


def main() -> NoReturn:
    """Run a verb and end the process: 0 done, 1 failed, 2 wrong usage."""
    _take_another_name(os.path.basename(sys.argv[0]))
    try:
        code = cli.main(prog_name="corenode", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        code = error.exit_code
    except click.UsageError as error:
        asked = error.ctx.command_path if error.ctx else "corenode"
        click.echo(f"corenode: {error.format_message()}\nHelp: {asked} --help", err=True)
        code = error.exit_code
    except click.ClickException as error:
        click.echo(f"corenode: {error.format_message()}", err=True)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _die_of_interrupt()
    except BrokenPipeError:
        # Who read our output has gone: nothing more to say, and nothing for Python to flush at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code if isinstance(code, int) else 0)


def _take_another_name(name: str) -> None:
    """Take the words of the program by whose name this one was called, if it is one that it replaces."""
    if name == "etcd":
        from core.etcd_name.main import main as etcd

        sys.exit(etcd(sys.argv[1:]))
    if name == "fleetctl":
        from core.fleetctl_name.main import main as fleetctl

        sys.exit(fleetctl(sys.argv[1:]))
    if name == "locksmithctl":
        from core.locksmithctl_name import main as locksmithctl

        sys.exit(locksmithctl(sys.argv[1:]))


def _die_of_interrupt() -> NoReturn:
    """End by the signal itself, so that a shell's loop around this program ends as well."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit(130)


if __name__ == "__main__":
    main()
