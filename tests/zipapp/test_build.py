"""What goes into the one file, and that the same inputs give the same bytes."""

import base64
import hashlib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.zipapp import sample
from tools.onefile.build import BuildError, Target, assemble, compiled, library_files, locked, oldest_glibc


def test_same_inputs_give_the_same_bytes() -> None:
    assert assemble(compiled(sample.files()), Target()) == assemble(compiled(sample.files()), Target())
    assert assemble(compiled(sample.files()), Target()) != assemble(compiled(sample.files("other")), Target())


def test_a_lock_file_is_read_with_its_conditions() -> None:
    text = (
        "# made\na==1 \\\n    --hash=sha256:00\n"
        "b==2 ; sys_platform == 'win32' \\\n    # via a\nc[x]==3.0 ; os_name == 'posix'\n"
    )
    assert [f"{one.name}{one.specifier}" for one in locked(text)] == ["a==1", "c==3.0"]


def test_the_oldest_c_library_is_what_the_compiled_parts_ask_for() -> None:
    assert oldest_glibc([("a.py", b"GLIBC_2.99")]) == (0, 0)
    assert oldest_glibc([("a.so", b"\0GLIBC_2.9\0GLIBC_2.17\0"), ("b.so.8.1", b"\0GLIBC_2.4\0")]) == (2, 17)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library `sample-lib` 1.0 in an environment of its own."""
    contents = {
        "sample_lib/__init__.py": b"x = 1\n",
        "sample_lib/tests/test_a.py": b"",
        "sample_lib/py.typed": b"",
        "sample_lib/fast.so.1": b"\x7fELF",
        "sample_lib-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: sample-lib\nVersion: 1.0\n",
        "sample_lib-1.0.dist-info/licenses/LICENSE": b"free",
        "sample_lib-1.0.dist-info/INSTALLER": b"pip",
    }
    rows = [
        "sample_lib-1.0.dist-info/RECORD,,",
        "sample_lib/__pycache__/__init__.cpython-311.pyc,,",
        "../../bin/sample,,",
    ]
    for path, content in contents.items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(content)}")
    (tmp_path / "sample_lib-1.0.dist-info" / "RECORD").write_text("\n".join(rows))
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_library_comes_without_what_only_its_makers_need(installed: Path) -> None:
    assert [path for path, _ in library_files(Requirement("sample-lib==1.0"))] == [
        "sample_lib/__init__.py",
        "sample_lib/fast.so.1",
        "sample_lib-1.0.dist-info/METADATA",
        "sample_lib-1.0.dist-info/licenses/LICENSE",
    ]


def test_another_version_than_the_locked_one_is_refused(installed: Path) -> None:
    with pytest.raises(BuildError, match=r"sample-lib 1\.0 is installed, sample-lib==1\.1 is locked"):
        library_files(Requirement("sample-lib==1.1"))


def test_a_library_that_was_changed_is_refused(installed: Path) -> None:
    (installed / "sample_lib" / "__init__.py").write_text("x = 2\n")
    with pytest.raises(BuildError, match=r"sample_lib/__init__\.py of sample-lib is not as its wheel brought it"):
        library_files(Requirement("sample-lib==1.0"))
