"""Groups whose verbs are imported when they are called."""

import difflib
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


FORWARDED = frozenset(
    ("--endpoints", "--cacert", "--cert", "--key", "--user", "--timeout", "-o", "--output")  # each with a value
)
"""Options of nearly every verb, which may stand before it as well."""


class VerbGroup(click.Group):
    """A group that hands the options written before a verb on to the verb, which knows what they mean."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = 0
        while end < len(args) and (word := args[end].partition("="))[0] in FORWARDED:
            end += 1 if word[1] else 2
        early, rest = args[:end], args[end:]
        if early and rest[:1] == ["--"]:
            rest = rest[1:]
        if rest and not rest[0].startswith("-"):  # else an option of the group, such as --help, which ends it
            rest = [rest[0], *early, *rest[1:]]
        return super().parse_args(ctx, rest)


class LazyGroup(VerbGroup):
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

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As ever, but an unknown verb is answered with the nearest ones."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._verbs, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else f" There are: {', '.join(self._verbs)}."
            raise click.UsageError(f"No such command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The verbs under their headings, without importing any."""
        widest = max(len(name) for name in self._verbs)
        for heading, verbs in self._headings.items():
            with formatter.section(heading):
                formatter.write_dl([(name.ljust(widest), verb.help) for name, verb in verbs.items()])
