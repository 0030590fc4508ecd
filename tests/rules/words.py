"""What must not stand in the project: loose ends, tests that skip without saying why, and a disk that does not sync."""

import ast
import re

from tests.rules.source import Source

LOOSE_ENDS = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
NAMELESS = re.compile(r"(^|/)(utils?|helpers?|misc|common)(\.py$|/)")
UNSAFE = {"sync": False, "metasync": False, "writemap": True, "map_async": True, "lock": False}
"""Arguments with which LMDB no longer survives a power cut, or a second opener."""

SKIPS = frozenset({"skip", "skipif", "xfail", "importorskip"})


def loose_ends(path: str, text: str) -> list[str]:
    """Lines that promise something for later. What is not done is an issue, not a comment."""
    return [
        f"{path}:{number}: {line.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        if LOOSE_ENDS.search(line)
    ]


def nameless(paths: list[str]) -> list[str]:
    """Files and directories whose name does not say what they are for."""
    return [path for path in paths if NAMELESS.search(path)]


def unsafe_disk(file: Source) -> list[str]:
    """Calls that switch off what makes a commit durable; anything but the safe literal counts."""
    return [
        f"{file.path}:{keyword.value.lineno}: {keyword.arg}={ast.unparse(keyword.value)}"
        for node in ast.walk(file.tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg in UNSAFE and not _is(keyword.value, not UNSAFE[keyword.arg])
    ]


def _is(node: ast.expr, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def silent_skips(file: Source) -> list[str]:
    """Skip and xfail marks and calls of pytest's that give no reason."""
    found = []
    calls = {id(node.func): node for node in ast.walk(file.tree) if isinstance(node, ast.Call)}
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute) and node.attr in SKIPS and ast.unparse(node).startswith("pytest."):
            call = calls.get(id(node))
            plain = ast.unparse(node) == "pytest.skip"
            reasons = [] if call is None else [keyword.value for keyword in call.keywords if keyword.arg == "reason"]
            if call is not None and plain:
                reasons += call.args
            if not any(ast.unparse(reason).strip("'\"") for reason in reasons):
                found.append(f"{file.path}:{node.lineno}: {ast.unparse(node)} without a reason")
    return found
