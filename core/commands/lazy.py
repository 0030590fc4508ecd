"""Groups whose verbs are imported when they are called."""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Verb(NamedTuple):
    """Where a verb is: the attribute `command` of `module`, or another one named behind a colon."""

    module: str
    help: str
    """One line for the list of verbs."""

    def load(self) -> click.Command:
        module, _, attribute = self.module.partition(":")
        command = getattr(importlib.import_module(module), attribute or "command")
        if not isinstance(command, click.Command):
            raise TypeError(f"{self.module} is no command")
        return command


class LazyGroup(click.Group):
    """A group that knows its verbs by name and line of help, under headings."""

    def __init__(self, *args: Any, verbs: Mapping[str, Mapping[str, Verb]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._headings = verbs
        self._verbs = {name: verb for group in verbs.values() for name, verb in group.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        verb = self._verbs.get(cmd_name)
        return verb.load() if verb is not None else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs under their headings, without importing any."""
        widest = max(len(name) for name in self._verbs)
        for heading, verbs in self._headings.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), verb.help) for name, verb in verbs.items()])
