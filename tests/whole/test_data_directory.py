"""A data directory that is in use, damaged or not ours: refused in words, with exit code 1, and left as it was."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.whole.requests import Client
from tests.whole.servers import Server, missing

pytestmark = pytest.mark.slow


def made(home: Path) -> Path:
    """A data directory with something in it, orderly closed."""
    with Server("corenode", home) as server:
        with Client(server.port) as client:
            for number in range(300):
                assert client.put(f"/kept/{number}", f"value {number} " * 50).status == 201
        assert server.stop() == 0
    return home / "data"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("whole"))


def refusal(home: Path, data: Path) -> str:
    """Start a server that must refuse; gives what it said."""
    server = Server("corenode", home, data=data)
    try:
        server.start(ready=False)
        code = server.wait()
        said = server.output()
    finally:
        server.kill()
    assert code == 1, said
    assert "Traceback" not in said
    return said


def content(path: Path) -> dict[str, bytes]:
    """All that a refused start has no business to change. LMDB's reader tables and the lock are no data."""
    if path.is_file():
        return {"": path.read_bytes()}
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("lock.mdb", "lock", "reserve")
    }


def test_a_second_daemon_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    with Server("corenode", tmp_path / "first") as first, Client(first.port) as client:
        assert client.put("/a", "1").status == 201
        said = refusal(tmp_path / "second", first.data)
        assert str(first.data) in said
        assert str(first.pid) in said
        assert client.put("/a", "2").status == 200
        assert first.stop() == 0


def halve(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def noise(file: Path) -> None:
    file.write_bytes(random.Random(1).randbytes(file.stat().st_size))


def noise_behind_the_heads(file: Path) -> None:
    """Leave LMDB's two meta pages, spoil all behind them."""
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:8192] + random.Random(1).randbytes(size - 8192))


def no_heads(file: Path) -> None:
    file.write_bytes(bytes(8192) + file.read_bytes()[8192:])


def newer_format(file: Path) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))


DAMAGE: dict[str, tuple[str, Callable[[Path], None]]] = {
    "log cut in half": ("log/data.mdb", halve),
    "log empty": ("log/data.mdb", empty),
    "log is noise": ("log/data.mdb", noise),
    "log without heads": ("log/data.mdb", no_heads),
    "log is noise behind its heads": ("log/data.mdb", noise_behind_the_heads),
    "log file gone": ("log/data.mdb", Path.unlink),
    "state cut in half": ("state-1/data.mdb", halve),
    "state empty": ("state-1/data.mdb", empty),
    "state is noise": ("state-1/data.mdb", noise),
    "state without heads": ("state-1/data.mdb", no_heads),
    "state is noise behind its heads": ("state-1/data.mdb", noise_behind_the_heads),
    "state file gone": ("state-1/data.mdb", Path.unlink),
    "format is noise": ("format", noise),
    "format empty": ("format", empty),
    "format of the future": ("format", newer_format),
    "format gone": ("format", Path.unlink),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named_with_its_file(name: str, whole: Path, tmp_path: Path) -> None:
    path, act = DAMAGE[name]
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    act(data / path)
    before = content(data)
    said = refusal(tmp_path / "home", data)
    named = data if name == "format gone" else data / path
    assert str(named) in said
    assert content(data) == before


def test_a_log_that_is_not_of_the_same_time_as_the_state(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    with Server("corenode", tmp_path / "other") as other:
        assert other.stop() == 0
    shutil.rmtree(data / "log")
    shutil.copytree(tmp_path / "other" / "data" / "log", data / "log")
    before = content(data)
    assert str(data / "state-1") in refusal(tmp_path / "home", data)
    assert content(data) == before


def test_directories_of_others(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "todo.txt").write_text("water the plants")
    file = tmp_path / "file"
    file.write_text("not a directory")
    for foreign in (notes, file):
        before = content(foreign)
        assert str(foreign) in refusal(tmp_path / "home", foreign)
        assert content(foreign) == before


def test_a_directory_of_etcd(tmp_path: Path) -> None:
    if missing("etcd"):
        pytest.skip(missing("etcd"))
    with Server("etcd", tmp_path / "etcd") as etcd:
        etcd.stop()
    before = content(etcd.data)
    assert str(etcd.data) in refusal(tmp_path / "home", etcd.data)
    assert content(etcd.data) == before


def test_the_same_directory_undamaged_is_served(whole: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(whole, data)
    with Server("corenode", tmp_path / "home", data=data) as server, Client(server.port) as client:
        assert client.get("/kept/299").json["node"]["value"] == "value 299 " * 50
