"""What the cluster signs by itself: a year without a way out, with a clock that is given."""

from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from core.depot.catalogue import Catalogue
from core.depot.publishing import Publication, RefusedPublicationError, prepared
from core.depot.serving import NotHereError, pieces
from core.depot.signing import HALF, KeyFiles, due, opened, renewed
from core.images.blobs import packed
from core.images.manifest import ImageError
from core.trust import keys
from core.trust.client import Trusted
from core.trust.errors import ExpiredError, TrustError
from tests.depot.house import House
from tests.trust.makers import NOW, Makers


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_nothing_expires_in_a_year_without_a_way_out(house: House) -> None:
    assert house.ring.take(house.given) == 2
    served = prepared(house.shelf, house.ring, Catalogue(), house.publication(), NOW)
    (house.home / "trusted").mkdir()
    trusted, now, times = Trusted(house.home / "trusted", house.makers.first), NOW, 0
    while now < NOW + timedelta(days=365):
        now += timedelta(hours=6)
        moment = due(served, HALF)
        assert moment is not None
        if now >= moment:
            signed = opened(house.shelf, served)
            served, times = renewed(served, signed, house.ring.signers(signed.root), now), times + 1
        trusted.update(lambda path, limit, now_=served: house.serve(now_, path, limit), now)  # type: ignore[misc]
    assert 90 < times < 110
    with pytest.raises(ExpiredError):  # the check can fail
        trusted.update(lambda path, limit: house.serve(served, path, limit), now + timedelta(days=8))


def test_what_is_published_is_checked(house: House) -> None:
    wanted = house.publication()
    with pytest.raises(RefusedPublicationError, match="not the keys"):
        prepared(house.shelf, house.ring, Catalogue(), wanted, NOW)
    house.ring.take(house.given)
    served = prepared(house.shelf, house.ring, Catalogue(), wanted, NOW)
    house.makers.release("1.0.0")
    newer = Publication(targets=house.blob(house.makers.repository.targets().to_bytes()))
    with pytest.raises(RefusedPublicationError, match="manifest was not uploaded"):
        prepared(house.shelf, house.ring, served, newer, NOW)
    other = Makers(house.home / "other")
    strange = Publication((house.blob(other.repository.root_bytes(1)),), wanted.targets)
    with pytest.raises(RefusedPublicationError, match="another root"):
        prepared(house.shelf, house.ring, served, strange, NOW)
    mixed = Publication(targets=house.blob(_released(other, NOW)))
    with pytest.raises(TrustError, match="has 0 of the 2 signatures"):
        prepared(house.shelf, house.ring, served, mixed, NOW)
    replayed = msgspec.structs.replace(served, targets_version=5, targets=house.blob(b"newer"))
    with pytest.raises(RefusedPublicationError, match="version 1 of the targets was signed, but version 5"):
        prepared(house.shelf, house.ring, replayed, Publication(targets=wanted.targets), NOW)


def _released(makers: Makers, now: datetime) -> bytes:
    makers.release("6.6.6", now)
    return makers.repository.targets().to_bytes()


def test_a_chunk_is_believed_when_its_bytes_are_its_name(house: House) -> None:
    blob, chunks = packed(b"x" * 100_000)
    ((name, data),) = list(chunks.items())[:1]
    flipped = bytes([*data[:-1], data[-1] ^ 1])
    for wrong in (b"", data[:-1], data + b"x", flipped, b"y" * (1 << 20)):
        with pytest.raises(ImageError):
            house.shelf.keep(name, wrong)
    assert not house.shelf.has(name)
    house.shelf.keep(name, data)
    place = house.home / "shelf" / "chunks" / name[:2] / f"{name}.zst"
    place.write_bytes(flipped)  # the disk forgets
    with pytest.raises(NotHereError):
        list(pieces(house.shelf, name))
    assert not house.shelf.has(name)
    assert blob.size == 100_000


def test_keys_are_readable_by_nobody_else_and_sealed_ones_are_refused(house: House) -> None:
    house.ring.take(house.given)
    assert {path.stat().st_mode & 0o777 for path in (house.home / "keys").iterdir()} == {0o600}
    assert house.ring.take(house.given) == 0
    keys.write(house.home / "sealed.key", keys.generate(), b"secret")
    for bad in (b"{}", b'{"format":1,"public":"zz"}', (house.home / "sealed.key").read_bytes()):
        with pytest.raises(TrustError):
            house.ring.take(KeyFiles((msgspec.Raw(bad),)))
