"""What is published, and by whom it may be signed."""

import copy
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata, Root
from tuf.ngclient import FetcherInterface, Updater

from core.trust.client import root_chain
from core.trust.errors import ExpiredError, TrustError
from core.trust.keys import generate
from core.trust.metadata import check_root, next_root, next_targets, progress, sign
from tests.trust import makers as world
from tests.trust.makers import NOW, Host, Makers, later


def test_a_root_by_which_fewer_decide_than_it_seems(makers: Makers) -> None:
    root = makers.repository.root().signed
    keyid = makers.keys["root"][0].public_key.keyid
    double = copy.deepcopy(root)
    key = double.keys[keyid]
    key_again = type(key)("twin", key.keytype, key.scheme, dict(key.keyval))
    double.keys["twin"] = key_again
    double.roles["root"].keyids.append("twin")
    with pytest.raises(TrustError, match="one key for root twice"):
        check_root(double, "it")
    first: Metadata[Root] = Metadata(double)
    sign(first, [double], makers.keys["root"])
    with pytest.raises(TrustError, match="the trusted root names one key for root twice"):
        root_chain(first.to_bytes(), [])
    double.version = 2
    second: Metadata[Root] = Metadata(double)
    sign(second, [double], makers.keys["root"])
    with pytest.raises(TrustError, match=r"2.root.json names one key for root twice"):
        root_chain(makers.first, [second.to_bytes()])
    with pytest.raises(TrustError, match="wants 4 signatures for root and names 3 keys"):
        next_root(root, NOW, thresholds={"root": 4})
    loose = copy.deepcopy(root)
    loose.consistent_snapshot = False
    with pytest.raises(TrustError, match="replaced in place"):
        check_root(loose, "it")


def test_under_signed_is_a_state_until_publishing(makers: Makers) -> None:
    root = makers.repository.root().signed
    targets = next_targets(makers.repository.targets().signed, NOW)
    for count, signer in enumerate(makers.keys["targets"]):
        (state,) = progress(targets, [root])
        assert (state.valid, state.missing) == (count, 2 - count)
        if state.missing:
            with pytest.raises(TrustError, match=f"{2 - count} missing"):
                makers.repository.publish(makers.online, NOW, targets=targets)
        assert sign(targets, [root], [signer, generate()]) == 1
    stale = copy.deepcopy(targets)
    makers.repository.publish(makers.online, NOW, targets=targets)
    makers.repository.publish(makers.online, NOW, targets=targets)
    makers.release("1.1.0")
    with pytest.raises(TrustError, match="sign anew on top"):
        makers.repository.publish(makers.online, NOW, targets=stale)


def test_an_air_gapped_cluster_does_not_expire(host: Host, makers: Makers) -> None:
    """Four years without anybody at the desk: the cluster signs again each week, with its own keys alone."""
    for week in range(0, 4 * 52, 4):
        makers.refresh(later(weeks=week))
        assert host.update(later(weeks=week, days=6)).releases


def test_what_the_cluster_may_not_sign(makers: Makers) -> None:
    with pytest.raises(TrustError, match="needs 1 signatures"):
        makers.repository.publish([generate()], NOW)
    with pytest.raises(ExpiredError, match="the root expired"):
        makers.refresh(later(days=6 * 365))
    targets = next_targets(makers.repository.targets().signed, NOW, timedelta(days=1))
    sign(targets, [makers.repository.root().signed], makers.keys["targets"])
    makers.repository.publish(makers.online, NOW, targets=targets)
    with pytest.raises(ExpiredError, match="the targets expired"):
        makers.refresh(later(days=2))


def test_a_foreign_judge_accepts_it(tmp_path: Path, makers: Makers) -> None:
    """python-tuf's own client, with its own storage and its own order of fetching."""
    repository = makers.repository

    class FromDirectory(FetcherInterface):
        def _fetch(self, url: str) -> Iterator[bytes]:
            path = repository.directory / url.removeprefix("file:///")
            if not path.exists():
                raise DownloadHTTPError("not found", 404)
            yield path.read_bytes()

    makers.rotate({"root": 2, "targets": 1, "snapshot": 1, "timestamp": 1})
    makers.release("1.1.0")
    (tmp_path / "judge").mkdir()
    (tmp_path / "targets").mkdir()
    judge = Updater(
        str(tmp_path / "judge"), "file:///metadata/", str(tmp_path / "targets"), "file:///targets/", FromDirectory(),
        bootstrap=makers.first,
    )  # fmt: skip
    with patch.object(judge._trusted_set, "reference_time", NOW):
        judge.refresh()
        info = judge.get_targetinfo("os/1.1.0/x86_64/manifest.json")
    assert info is not None
    assert Path(judge.download_target(info)).read_bytes() == world.manifest("1.1.0")
