"""Flags of fleetctl: those before the command, those behind it, and their variables."""

from collections.abc import Mapping, Sequence

import msgspec

from core.goflags import FlagError, parse

GLOBAL = {
    "endpoint": False,
    "driver": False,
    "etcd-key-prefix": False,
    "key-file": False,
    "cert-file": False,
    "ca-file": False,
    "tunnel": False,
    "ssh-username": False,
    "ssh-timeout": False,
    "known-hosts-file": False,
    "strict-host-key-checking": True,
    "request-timeout": False,
    "debug": True,
    "version": True,
    "help": True,
    "h": True,
}
"""Whether each is a switch."""

_BLOCK = {"no-block": True, "block-attempts": False}
_TABLE = {"l": True, "full": True, "no-legend": True, "fields": False}
COMMANDS: Mapping[str, Mapping[str, bool]] = {
    "cat": {},
    "destroy": _BLOCK,
    "fd-forward": {},
    "help": {},
    "journal": {"lines": False, "f": True, "follow": True, "output": False, "sudo": True, "ssh-port": False},
    "list-machines": _TABLE,
    "list-unit-files": _TABLE,
    "list-units": _TABLE,
    "load": {"replace": True, "sign": True, **_BLOCK},
    "restart": {"block-attempts": False},
    "ssh": {"machine": False, "unit": False, "A": True, "forward-agent": True, "ssh-port": False},
    "start": {"replace": True, "sign": True, **_BLOCK},
    "status": {"ssh-port": False},
    "stop": _BLOCK,
    "submit": {"replace": True, "sign": True},
    "unload": _BLOCK,
    "version": {},
}


class Words(msgspec.Struct, frozen=True):
    """What fleetctl was told."""

    command: str
    values: dict[str, str]
    """Flags before the command, and variables."""
    flags: dict[str, str]
    """Flags of the command."""
    arguments: tuple[str, ...]

    def is_on(self, *names: str) -> bool:
        """Whether one of these switches is."""
        return any(self.flags.get(name, self.values.get(name)) == "true" for name in names)


def read(arguments: Sequence[str], environ: Mapping[str, str]) -> Words:
    """The words of a call; the command is empty if there is none. FlagError."""
    given, rest = parse(arguments, GLOBAL)
    values = {name: environ[_variable(name)] for name in GLOBAL if _variable(name) in environ}
    values |= {name: texts[-1] for name, texts in given.items()}
    if not rest:
        return Words("", values, {}, ())
    command = _command(rest[0])
    flags: dict[str, str] = {}
    words: list[str] = []
    rest = rest[1:]
    while rest:  # flags may stand between the arguments
        found, rest = parse(rest, {**GLOBAL, **COMMANDS[command]})
        for name, texts in found.items():
            (flags if name in COMMANDS[command] else values)[name] = texts[-1]
        if command in ("ssh", "fd-forward"):  # what follows belongs to another program
            words += rest
            break
        words += rest[:1]
        rest = rest[1:]
    return Words(command, values, flags, tuple(words))


def _command(word: str) -> str:
    """The command that a word begins, if it is the only one. FlagError."""
    found = [name for name in COMMANDS if name == word] or [name for name in COMMANDS if name.startswith(word)]
    if len(found) == 1:
        return found[0]
    raise FlagError(f"{word!r} may be {', '.join(found)}" if found else f"unknown command {word!r}")


def _variable(flag: str) -> str:
    return "FLEETCTL_" + flag.upper().replace("-", "_")
