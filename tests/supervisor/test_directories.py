"""What root makes for a unit's user, where that user may have put links."""

import os
from pathlib import Path

import pytest

from core.agent.supervisor.shim.child import _make, _open_as

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away: run as root")
NOBODY = 65534


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A directory that belongs to the unit's user."""
    own = tmp_path / "app"
    _make([str(own)], 0o755, (NOBODY, NOBODY))
    return own


def test_a_directory_is_not_given_away_through_a_link_of_the_user(tmp_path: Path, given: Path) -> None:
    secret = tmp_path / "etc"
    secret.mkdir(mode=0o700)
    (given / "sub").symlink_to(secret)
    for below in ("sub", "sub/further"):
        with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
            _make([str(given / below)], 0o777, (NOBODY, NOBODY))
    assert (secret.stat().st_uid, secret.stat().st_mode & 0o777) == (0, 0o700)
    assert not list(secret.iterdir())


def test_a_link_of_roots_own_is_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "app").symlink_to(tmp_path / "data")
    _make([str(tmp_path / "app"), str(tmp_path / "app/sub")], 0o750, (NOBODY, NOBODY))
    for place in (tmp_path / "data", tmp_path / "data/sub"):
        assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (NOBODY, 0o750)


def test_output_is_not_written_through_a_link_of_the_user(tmp_path: Path, given: Path) -> None:
    (given / "out").symlink_to(tmp_path / "passwd")
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        _open_as(99, str(given / "out"), os.O_WRONLY | os.O_CREAT)
    assert not (tmp_path / "passwd").exists()
    _open_as(99, str(given / "plain"), os.O_WRONLY | os.O_CREAT)
    os.close(99)
    assert (given / "plain").exists()
