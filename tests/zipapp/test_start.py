"""What the one file refuses, in one line, before it has touched anything."""

import platform
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.zipapp import sample
from tools.onefile.build import Target

HERE = Target()


@pytest.mark.parametrize(
    ("target", "python", "complaint"),
    [
        (replace(HERE, python="3.9"), (), "built for CPython 3.9, and this is cpython 3."),
        (replace(HERE, machine="s390x"), (), f"built for s390x processors, and this is {platform.machine()}: "),
        (replace(HERE, glibc=(99, 1)), (), "needs the GNU C library 99.1 or newer, and this system has glibc 2."),
        (HERE, ("-O",), "python -O takes checks out of programs"),
    ],
)
def test_a_system_it_was_not_built_for_is_refused(
    tmp_path: Path, target: Target, python: tuple[str, ...], complaint: str
) -> None:
    one = sample.make(tmp_path, target=target)
    done = one.run(python=python)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"corenode: {complaint}")
    assert done.stderr.count("\n") == 1
    assert list(one.home.iterdir()) == []


def test_it_runs_by_its_name_and_by_a_link_and_lets_no_variable_in(tmp_path: Path) -> None:
    one = sample.make(tmp_path)
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "cli.py").write_text("def main(): print('evil')")
    (tmp_path / "etcd").symlink_to(one.path)
    python = tmp_path / "python3"
    python.symlink_to(one.command()[0][0])
    environment = {"HOME": str(one.home), "PYTHONPATH": str(tmp_path / "evil"), "PATH": f"{tmp_path}:/usr/bin:/bin"}
    for command in ("./program", "./etcd"):
        done = subprocess.run([command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr, done.returncode) == ("hello from the cache\n", "", 0)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    one = sample.make(tmp_path)
    content = bytearray(one.path.read_bytes())
    content[content.rindex(b"deep/later.py", 0, content.index(b"PK\x01\x02")) + 20] ^= 1
    one.path.write_bytes(content)
    done = one.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("copy it here again\n")
    assert done.stderr.count("\n") == 1
    assert one.versions() == []
