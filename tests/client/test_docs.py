"""The examples of docs/client.md, run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from core.node.local import LocalStore
from tests.whole.servers import ROOT, Server

TEXT = (ROOT / "docs" / "client.md").read_text()
EXAMPLES = re.findall(r"## ([^\n]+)(?:(?!\n## ).)*?```python\n(.*?)```(?:\n\n```text\n(.*?)```)?", TEXT, re.DOTALL)
URL = "http://127.0.0.1:2379"
TALKING = [example for example in EXAMPLES if "trio.run" in example[1]]


def test_all_examples_are_found() -> None:
    assert len(EXAMPLES) == TEXT.count("```python")
    assert len(TALKING) == len(EXAMPLES) - 2


@pytest.mark.parametrize(("title", "code", "printed"), TALKING, ids=[title for title, _, _ in TALKING])
def test_examples(server: Server, title: str, code: str, printed: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert URL in code
    exec(compile(code.replace(URL, server.url), title, "exec"), {"__name__": title})
    assert capfd.readouterr().out == printed


async def test_from_inside(member: LocalStore, capfd: pytest.CaptureFixture[str]) -> None:
    [(title, code, printed)] = [example for example in EXAMPLES if example[0] == "From inside"]
    names: dict[str, object] = {}
    exec(compile(code, title, "exec"), names)
    await names["work"](member)  # type: ignore[operator]
    assert capfd.readouterr().out == printed


def test_examples_are_typed(tmp_path: Path) -> None:
    for number, (_, code, _) in enumerate(EXAMPLES):
        (tmp_path / f"example{number}.py").write_text(code)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", str(ROOT / "pyproject.toml"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
