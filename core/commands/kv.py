"""`corenode kv`: the tree of keys, with the names and flags of etcdctl."""

import click

from core.commands import lazy

_READ, _WRITE = "core.commands.kv_read", "core.commands.kv_write"
VERBS = {
    "Read": {
        "get": lazy.Verb(f"{_READ}:get", "Print the value of a key."),
        "ls": lazy.Verb(f"{_READ}:ls", "List a directory."),
        "watch": lazy.Verb("core.commands.kv_watch:watch", "Print changes as they happen."),
    },
    "Write": {
        "put": lazy.Verb(f"{_WRITE}:put", "Set a key, or swap it under a condition."),
        "mk": lazy.Verb(f"{_WRITE}:mk", "Make a key or directory that is not there yet."),
        "update": lazy.Verb(f"{_WRITE}:update", "Change a key or directory that is there."),
        "rm": lazy.Verb(f"{_WRITE}:rm", "Remove a key or directory."),
    },
    "Many at once": {
        "txn": lazy.Verb("core.commands.kv_txn:txn", "Compare, then write, all at one revision."),
        "lock": lazy.Verb("core.commands.kv_lock:lock", "Hold a lock while a command runs."),
        "election": lazy.Verb("core.commands.kv_election:election", "Elect a leader, or see who leads."),
        "lease": lazy.Verb("core.commands.kv_lease:lease", "Let keys end together, unless kept alive."),
    },
    "Look after": {
        "compact": lazy.Verb(f"{_WRITE}:compact", "Forget history before a revision."),
    },
}


@click.group(cls=lazy.LazyGroup, verbs=VERBS)
def command() -> None:
    """Read, write and watch keys.

    \b
    Examples:
      corenode kv put /app/port 8080
      corenode kv get /app/port
      corenode kv ls --recursive -p /
      corenode kv watch --recursive /app
    """
