"""The power fails at each step of writing: the state is never below what was trusted, and never of no use."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.trust import state as states
from tests.trust.makers import NOW, Host, Makers

Files = dict[str, bytes]


class Disk:
    """Watches a directory, and notes at each call that changes it what a power cut could leave of it.

    Two ends of what may happen: everything reached the disk, or nothing that was not synced did. What is in a file
    counts from the sync of the file, a name from the sync of its directory.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.left: list[Files] = []
        self._durable: dict[int, bytes] = {
            path.stat().st_ino: path.read_bytes() for path in directory.iterdir() if path.is_file()
        }
        self._names = self._listing()

    def _listing(self) -> dict[str, int]:
        return {path.name: path.stat().st_ino for path in self.directory.iterdir() if path.is_file()}

    def _note(self) -> None:
        self.left.append({path.name: path.read_bytes() for path in self.directory.iterdir() if path.is_file()})
        self.left.append({name: self._durable.get(inode, b"") for name, inode in self._names.items()})

    @contextmanager
    def watched(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with monkeypatch.context() as patch:
            for name in ("open", "link", "rename", "replace", "unlink", "fchmod", "fsync"):
                patch.setattr(os, name, self._wrapped(getattr(os, name)))
            yield
        self._note()

    def _wrapped(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **keywords: Any) -> Any:
            self._note()
            result = call(*args, **keywords)
            if call.__name__ == "fsync":
                self._synced(args[0])
            self._note()
            return result

        return called

    def _synced(self, handle: int) -> None:
        found = os.fstat(handle)
        if stat.S_ISDIR(found.st_mode):
            if found.st_ino == self.directory.stat().st_ino:
                self._names = self._listing()
        else:
            self._durable[found.st_ino] = Path(f"/proc/self/fd/{handle}").read_bytes()


def restore(directory: Path, files: Files) -> None:
    directory.mkdir()
    for name, data in files.items():
        (directory / name).write_bytes(data)


def distinct(left: list[Files]) -> list[Files]:
    return [files for number, files in enumerate(left) if files not in left[:number]]


@pytest.mark.parametrize("first", [True, False])
def test_a_cut_at_each_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    makers = Makers(tmp_path / "repository")
    makers.release("1.0.0")
    host = Host(tmp_path / "state", makers)
    allowed: list[states.State | None] = [None]
    if not first:
        host.update()
        allowed = [states.load(host.directory)]
        makers.rotate({"root": 1, "timestamp": 1})
        makers.release("1.1.0")
    disk = Disk(host.directory)
    saved, done = states.save, [0]

    def noted(directory: Path, state: states.State) -> None:
        saved(directory, state)
        allowed.append(state)
        done.append(len(disk.left))

    monkeypatch.setattr(states, "save", noted)
    with disk.watched(monkeypatch):
        host.update()
    monkeypatch.undo()
    assert len(distinct(disk.left)) > 10
    seen: list[tuple[Files, int]] = []
    for place, files in enumerate(disk.left):
        floor = sum(1 for end in done if end <= place) - 1
        if (files, floor) in seen:
            continue
        home = tmp_path / f"cut-{len(seen)}"
        seen.append((files, floor))
        restore(home, files)
        found = states.load(home)
        assert found in allowed, "neither a state from before nor one from after"
        assert allowed.index(found) >= floor, "below what was trusted"
        again = Host(home, makers)
        assert len(again.update().releases) == (1 if first else 2)
        assert [path.name for path in home.iterdir()] == [states.FILE], "rests of the interrupted write"


def test_a_cut_while_a_repository_publishes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts find the old release or the new one; and publishing again completes it."""
    makers = Makers(tmp_path / "repository")
    makers.release("1.0.0")
    metadata = makers.repository.metadata
    disk = Disk(metadata)
    with disk.watched(monkeypatch):
        makers.release("1.1.0")
    seen = set()
    for number, files in enumerate(distinct(disk.left)):
        for path in metadata.iterdir():
            path.unlink()
        for name, data in files.items():
            (metadata / name).write_bytes(data)
        found = Host(tmp_path / f"host-{number}", makers).update()
        seen.add(len(found.releases))
        makers.release("1.1.0")
        assert len(Host(tmp_path / f"after-{number}", makers).update().releases) == 2
    assert seen == {1, 2}


def test_a_root_that_was_published_half(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    makers = Makers(tmp_path / "repository")
    host = Host(tmp_path / "state", makers)
    host.update()
    root, _, old = makers.changed({"root": 1, "timestamp": 1})
    for signer in {*old, *makers.keys["root"]}:
        root.sign(signer, append=True)
    (makers.repository.metadata / "2.root.json").write_bytes(root.to_bytes())
    makers.repository.publish(makers.online, NOW, root=root)
    assert host.update().root == 2
