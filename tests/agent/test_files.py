"""Unit files on their way to systemd."""

from pathlib import Path

from core.agent.systemd.files import Files


def test_a_scan_leaves_what_is_being_written_and_removes_what_was(tmp_path: Path) -> None:
    """A listing and a load run in threads of their own."""
    files = Files(tmp_path / "units", tmp_path / "links")
    files.write("a.service", b"[Service]\n")
    dead = Files(tmp_path / "units", tmp_path / "links")
    (dead.directory / f"{dead._part}x").write_bytes(b"half")
    (files.directory / f"{files._part}y").write_bytes(b"half")
    assert set(files.scan()) == {"a.service"}
    assert sorted(path.name for path in files.directory.iterdir()) == [f"{files._part}y", "a.service"]
