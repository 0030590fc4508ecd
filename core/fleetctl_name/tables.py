"""Tables as fleetctl prints them: cells apart by tabs, each column as wide as its longest cell and a bit."""

from collections.abc import Iterable, Sequence

_TAB = 8


def lines(rows: Iterable[Sequence[str]]) -> list[str]:
    """One line a row. A column takes its longest cell and one more, rounded up to tab stops; the last is not filled."""
    cells = [list(row) for row in rows]
    if not cells:
        return []
    widths = [-(-(max(map(len, column)) + 1) // _TAB) * _TAB for column in zip(*cells, strict=True)]
    return [
        "".join(cell + "\t" * -(-(width - len(cell)) // _TAB) for cell, width in zip(row[:-1], widths, strict=False))
        + row[-1]
        for row in cells
    ]


def table(columns: Sequence[str], known: Sequence[str], rows: Iterable[dict[str, str]], *, legend: bool) -> list[str]:
    """The lines of a table with these columns, headings first. ValueError names a column that is not known."""
    for column in columns:
        if column not in known:
            raise ValueError(f"Invalid key {column!r}")
    heading = [[column.upper() for column in columns]] if legend else []
    return lines([*heading, *([row[column] or "-" for column in columns] for row in rows)])


def short(machine: str, *, full: bool) -> str:
    """A machine id in a table."""
    return machine if full or len(machine) <= _SHORT else machine[:_SHORT] + "..."


_SHORT = 8
