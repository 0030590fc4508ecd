"""The project's own files, as every rule walks them."""

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("cli.py", "core")
PROJECT = (*PRODUCT, "tests", "tools", "bench")


@dataclass(frozen=True)
class Source:
    """One Python file: its path below the project's root and its text."""

    path: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, self.path)

    @property
    def module(self) -> str:
        """Its dotted name: `core/kv/__init__.py` is `core.kv`."""
        return self.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def sources(places: tuple[str, ...] = PROJECT, root: Path = ROOT) -> list[Source]:
    """Every Python file in these files and directories, in order of path."""
    found = set[Path]()
    for place in places:
        found.update([root / place] if place.endswith(".py") else (root / place).rglob("*.py"))
    return [Source(str(path.relative_to(root)), path.read_text()) for path in sorted(found) if path.exists()]
