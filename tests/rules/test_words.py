"""No loose ends, no nameless files, no silent skips, no unsafe disk; and each check can fail."""

import subprocess

import pytest

from tests.rules.source import PRODUCT, ROOT, Source, sources
from tests.rules.words import loose_ends, nameless, silent_skips, unsafe_disk


def project_files() -> list[str]:
    """Every file of the project: what is committed, and what is new and not ignored."""
    listing = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True).stdout.decode().split("\0")
    return sorted(name for name in names if name and (ROOT / name).is_file())


def test_nothing_is_left_for_later() -> None:
    found = []
    for path in project_files():
        try:
            found += loose_ends(path, (ROOT / path).read_text())
        except UnicodeDecodeError:
            continue  # data, not text
    assert found == []


def test_every_file_has_a_name_that_says_what_it_is_for() -> None:
    assert nameless(project_files()) == []


def test_no_product_code_switches_off_what_makes_commits_durable() -> None:
    assert [problem for file in sources(PRODUCT) for problem in unsafe_disk(file)] == []


def test_every_skip_gives_its_reason() -> None:
    assert [problem for file in sources(("tests",)) for problem in silent_skips(file)] == []


@pytest.mark.parametrize("word", ["TO" + "DO", "FIX" + "ME", "XX" + "X"])
def test_a_loose_end_is_found(word: str) -> None:
    assert loose_ends("a.md", f"fine\n# {word}: later\n") == [f"a.md:2: # {word}: later"]
    assert loose_ends("a.md", f"{word}S {word.lower()}\n") == []


def test_a_nameless_file_is_found() -> None:
    assert nameless(["core/utils.py", "core/util/a.py", "tests/helpers.py", "core/kv/paths.py"]) == [
        "core/utils.py",
        "core/util/a.py",
        "tests/helpers.py",
    ]


@pytest.mark.parametrize(
    "text",
    ["lmdb.open(p, sync=False)", "open_it(metasync=fast)", "lmdb.open(p, writemap=True)", "f(lock=False)"],
)
def test_an_unsafe_disk_is_found(text: str) -> None:
    assert len(unsafe_disk(Source("a.py", text))) == 1


def test_a_safe_disk_is_let_pass() -> None:
    assert unsafe_disk(Source("a.py", "lmdb.open(p, sync=True, metasync=True, writemap=False, max_dbs=9)")) == []


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.mark.skip\ndef test_a(): ...",
        "@pytest.mark.skip()\ndef test_a(): ...",
        "@pytest.mark.skipif(True)\ndef test_a(): ...",
        "@pytest.mark.xfail(strict=True)\ndef test_a(): ...",
        "def test_a():\n    pytest.skip()",
        "def test_a():\n    pytest.skip('')",
        "x = pytest.importorskip('x')",
    ],
)
def test_a_silent_skip_is_found(text: str) -> None:
    assert len(silent_skips(Source("a.py", text))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "@pytest.mark.skip(reason='no disk')\ndef test_a(): ...",
        "def test_a():\n    pytest.skip('needs root')",
        "def test_a():\n    pytest.skip(reason='needs root')",
        "stream.skip()",
    ],
)
def test_a_skip_with_a_reason_is_let_pass(text: str) -> None:
    assert silent_skips(Source("a.py", text)) == []
