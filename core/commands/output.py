"""What verbs print: tables for people, columns for pipes, JSON for programs."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

PLAIN, TABLE, JSON = "plain", "table", "json"


def format_option(*choices: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`-o`, with the first choice as default."""
    return click.option(
        "-o",
        "--output",
        "output_",
        type=click.Choice(choices),
        default=choices[0],
        show_default=True,
        help="How to print what was read.",
    )


def table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows: drawn by rich on a terminal, else in columns two spaces apart."""
    texts = [[printable(str(cell)) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _draw(headings, texts)
        return
    widths = [max(len(row[column]) for row in [list(headings), *texts]) for column in range(len(headings))]
    for row in [list(headings), *texts]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for heading in headings:
        drawn.add_column(heading, overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def json(value: object) -> None:
    """Print one JSON document: indented on a terminal, else on one line."""
    import msgspec

    data = msgspec.json.encode(value)
    click.echo(msgspec.json.format(data, indent=2 if sys.stdout.isatty() else -1))


def raw_json(data: bytes) -> None:
    """Print JSON as the server sent it, on one line."""
    click.echo(data.rstrip(b"\n"))


def printable(text: str) -> str:
    """The text without control characters, which a stored value must not send to a terminal."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def note(text: str) -> None:
    """A message for people: on standard error. It may quote what others stored."""
    click.echo("\n".join(printable(line) for line in text.split("\n")), err=True)


def log(piece: bytes) -> None:
    """Part of a log: as it is, but on a terminal without what would control that."""
    if sys.stdout.isatty():
        text = piece.decode(errors="backslashreplace")
        piece = "".join(c if c in "\n\t" else printable(c) for c in text).encode()
    sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
