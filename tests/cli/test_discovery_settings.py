"""How --discovery goes with other settings, and the configuration that a join leaves behind."""

from pathlib import Path

import pytest

from core.commands.up import JOINED, left_by_join
from core.config import ConfigError, load

URL = "http://127.0.0.1:2379/v2/keys/_etcd/registry/word"
PEER = "http://127.0.0.1:2380"


def test_it_listens_where_the_others_are_told() -> None:
    config = load({"discovery": URL + "/", "initial-advertise-peer-urls": PEER}, environ={})
    assert config.discovery == URL
    assert [str(url) for url in config.listen_peer_urls] == [PEER]


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"discovery": URL}, "add --initial-advertise-peer-urls"),
        ({"discovery": URL, "initial-cluster": f"default={PEER}"}, "leave it out, or --initial-cluster"),
        ({"discovery": "http://127.0.0.1:2379"}, "is no discovery URL"),
        ({"discovery": "word"}, "is no discovery URL"),
        ({"role": "worker"}, "A worker needs --members"),
    ],
)
def test_what_does_not_go_together(more: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        load(more, environ={})


def test_what_a_join_leaves_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORENODE_DATA_DIR", raising=False)
    monkeypatch.chdir(tmp_path)
    assert left_by_join(None) is None
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / JOINED).touch()
    assert left_by_join("data") == Path("data") / JOINED
    assert left_by_join(None) is None
    monkeypatch.chdir(tmp_path / "data")
    assert left_by_join(None) == Path(JOINED)
    assert left_by_join("elsewhere") is None
