"""Files and functions stay small, and the check that says so can fail."""

from tests.rules.sizes import FILE_LINES, FUNCTION_LINES, too_long
from tests.rules.source import Source, sources


def test_files_and_functions_stay_small() -> None:
    assert too_long(sources()) == []


def test_a_long_file_is_found_and_one_at_the_limit_is_not() -> None:
    assert too_long([Source("a.py", "x = 1\n" * FILE_LINES)]) == []
    assert too_long([Source("a.py", "x = 1\n" * (FILE_LINES + 1))]) == [f"a.py: {FILE_LINES + 1} lines of at most 500"]


def test_a_long_function_is_found_and_one_at_the_limit_is_not() -> None:
    head = "class A:\n    async def f(self):\n"
    line = "        pass\n"
    assert too_long([Source("a.py", head + line * (FUNCTION_LINES - 1))]) == []
    assert too_long([Source("a.py", head + line * FUNCTION_LINES)]) == ["a.py:2: f: 71 lines of at most 70"]
