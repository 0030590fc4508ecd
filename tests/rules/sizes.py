"""How long a file and a function may be."""

import ast

from tests.rules.source import Source

FILE_LINES = 500
FUNCTION_LINES = 70


def too_long(files: list[Source]) -> list[str]:
    """Files and functions over the limit, each as `path: n lines of at most m`."""
    found = []
    for file in files:
        lines = len(file.text.splitlines())
        if lines > FILE_LINES:
            found.append(f"{file.path}: {lines} lines of at most {FILE_LINES}")
        for node in ast.walk(file.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION_LINES:
                    found.append(f"{file.path}:{node.lineno}: {node.name}: {lines} lines of at most {FUNCTION_LINES}")
    return found
