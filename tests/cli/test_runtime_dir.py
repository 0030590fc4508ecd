"""The file by which the command line finds a node."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from core import runtime_dir
from core.runtime_dir import NodeFile, describe, read_node_file, remove_node_file, write_node_file


@pytest.fixture
def environ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(runtime_dir, "SYSTEM", tmp_path / "system")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    (tmp_path / "session").mkdir()
    return {"XDG_RUNTIME_DIR": str(tmp_path / "session")}


def _node(**changes: object) -> NodeFile:
    return msgspec.structs.replace(describe("a", ("http://127.0.0.1:1",), Path("s"), Path("d")), **changes)


def test_written_read_removed(environ: dict[str, str]) -> None:
    path = write_node_file(_node(), environ)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    found = read_node_file(environ)
    assert found is not None
    assert found.endpoints == ("http://127.0.0.1:1",)
    assert Path(found.socket).is_absolute()
    remove_node_file(path)
    remove_node_file(path)
    assert read_node_file(environ) is None


def test_a_dead_nodes_file_is_ignored_and_cleared_away(environ: dict[str, str]) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    stale = write_node_file(_node(pid=dead.pid, written=9e9), environ)
    assert read_node_file(environ) is None
    write_node_file(_node(), environ)
    assert not stale.exists()


def test_a_reused_process_id_is_not_the_node(environ: dict[str, str]) -> None:
    write_node_file(_node(start=1), environ)
    assert read_node_file(environ) is None


def test_the_newest_living_node_is_meant(environ: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            write_node_file(_node(name="old", written=1.0), environ)
            start = runtime_dir._start(other.pid)
            write_node_file(_node(name="new", written=2.0, pid=other.pid, start=start), environ)
            found = read_node_file(environ)
            assert found is not None
            assert found.name == "new"
        finally:
            other.kill()


def test_systemds_directory_comes_first(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    path = write_node_file(_node(), {**environ, "RUNTIME_DIRECTORY": f"{tmp_path / 'service'}:/elsewhere"})
    assert path.parent == tmp_path / "service"


def test_a_temporary_directory_of_others_is_not_trusted(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    directory = runtime_dir._temporary()
    directory.mkdir(mode=0o755)
    (directory / "1.json").write_bytes(msgspec.json.encode(_node()))
    assert read_node_file({}) is None
    with pytest.raises(PermissionError, match="not a directory of this user alone"):
        write_node_file(_node(), {})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"pid": "x"}', b"\xff\xfe"])
def test_rubbish_is_ignored(environ: dict[str, str], content: bytes) -> None:
    directory = write_node_file(_node(), environ).parent
    (directory / "0.json").write_bytes(content)
    found = read_node_file(environ)
    assert found is not None
    assert found.name == "a"
