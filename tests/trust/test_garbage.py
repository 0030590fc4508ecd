"""Whatever bytes come instead of metadata: a refusal of ours, never another exception, and nothing lost."""

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tuf.api.exceptions import UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Snapshot, Targets, Timestamp
from tuf.api.serialization import SerializationError

from core.trust.client import root_chain
from core.trust.errors import TrustError
from core.trust.metadata import MADE
from core.trust.releases import release_of
from core.trust.state import FILE
from tests.trust.makers import Host, Makers

FILES = ("2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json")

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Host:
    home = tmp_path_factory.mktemp("garbage")
    makers = Makers(home / "repository")
    makers.release("1.0.0")
    root, _, old = makers.changed({"root": 1})
    for signer in [*old, *makers.keys["root"]]:
        root.sign(signer, append=True)
    (home / "2.root.json").write_bytes(root.to_bytes())
    return Host(home / "state", makers)


def original(host: Host, name: str) -> bytes:
    path = host.makers.repository.metadata / name
    return (path if path.exists() else host.directory.parent / name).read_bytes()


def refused(host: Host, name: str, data: bytes) -> None:
    """From the beginning, so that each file is asked for."""
    (host.directory / FILE).unlink(missing_ok=True)
    host.lies = {f"metadata/{name}": data}
    with pytest.raises(TrustError):
        host.update()
    host.lies = {}
    host.update()


bounded = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@bounded
@given(name=st.sampled_from(FILES), data=st.binary(max_size=300) | json.map(msgspec.json.encode))
def test_any_bytes(host: Host, name: str, data: bytes) -> None:
    refused(host, name, data)


@bounded
@given(name=st.sampled_from(FILES), seed=st.integers(0, 2**32), many=st.integers(1, 4))
def test_flipped_bits(host: Host, name: str, seed: int, many: int) -> None:
    chance, data = random.Random(seed), bytearray(original(host, name))
    for place in chance.sample(range(len(data)), many):
        data[place] ^= 1 << chance.randrange(8)
    if same_meaning(name, bytes(data), original(host, name)):
        return
    if name == "2.root.json":
        with pytest.raises(TrustError):
            root_chain(host.makers.first, [bytes(data)])
    else:
        refused(host, name, bytes(data))


def same_meaning(name: str, changed: bytes, original: bytes) -> bool:
    """Whether what was hit is outside of what is signed, in a file whose own hash is signed nowhere.

    There may be more signatures than are needed, spaces, and capital letters in hexadecimal numbers.
    """
    if name not in ("2.root.json", "timestamp.json"):
        return False
    try:
        return bool(msgspec.json.decode(changed)["signed"] == msgspec.json.decode(original)["signed"])
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return False


@bounded
@given(name=st.sampled_from(FILES), share=st.floats(0, 0.999))
def test_cut_off(host: Host, name: str, share: float) -> None:
    data = original(host, name)
    refused(host, name, data[: int(len(data) * share)])


@bounded
@given(name=st.sampled_from(FILES), path=st.integers(0, 10**6), value=json)
def test_another_value_somewhere(host: Host, name: str, path: int, value: object) -> None:
    """Metadata of the right shape but for one value, which may be anything."""
    document = msgspec.json.decode(original(host, name))
    places = list(walk(document))
    holder, key = places[path % len(places)]
    if holder[key] == value:
        return
    holder[key] = value
    data = msgspec.json.encode(document)
    if same_meaning(name, data, original(host, name)):
        return
    if name == "2.root.json":
        with pytest.raises(TrustError):
            root_chain(host.makers.first, [data])
    else:
        refused(host, name, data)


def walk(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found.append((value, key))
        found += walk(inner)
    return found


@bounded
@given(value=json)
def test_signed_garbage(host: Host, value: object) -> None:
    """Whoever holds the key of the timestamp may write into it what he likes."""
    document: Metadata[Timestamp] = Metadata.from_bytes(original(host, "timestamp.json"))
    if value is None:
        return  # the same as no date
    document.signed.unrecognized_fields[MADE] = value
    document.signatures.clear()
    try:
        document.sign(host.makers.keys["timestamp"][0])
        data = document.to_bytes()
    except (UnsignedMetadataError, SerializationError):  # what has no canonical form cannot be signed
        return
    refused(host, "timestamp.json", data)


def test_deep_nesting(host: Host) -> None:
    for name in FILES:
        refused(host, name, b"[" * 9000)
        refused(host, name, b'{"signed":' * 1500)


@given(st.binary(max_size=200) | json.map(msgspec.json.encode))
def test_manifests(data: bytes) -> None:
    with pytest.raises(TrustError):
        release_of(data)


@pytest.mark.parametrize("words", [("..", "1", "x"), ("os", "1/2", "x"), ("os", "", "x"), ("os", "1", "x\n")])
def test_names_that_lead_elsewhere(words: tuple[str, str, str]) -> None:
    with pytest.raises(TrustError, match="no name"):
        release_of(msgspec.json.encode(dict(zip(("product", "version", "architecture"), words, strict=True))))


@pytest.mark.parametrize("place", [0, 0.3, 0.9])
def test_a_damaged_state_is_not_begun_anew(tmp_path: Path, place: float) -> None:
    makers = Makers(tmp_path / "repository")
    host = Host(tmp_path / "state", makers)
    host.update()
    path = host.directory / FILE
    whole = path.read_bytes()
    data = bytearray(whole)
    data[int(len(data) * place)] ^= 4
    path.write_bytes(data)
    with pytest.raises(TrustError, match="damaged"):
        host.update()
    assert path.read_bytes() == data
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(TrustError, match="damaged"):
        host.update()
    path.write_bytes(whole)
    host.update()


def test_targets_that_are_none(tmp_path: Path) -> None:
    """Signed targets of other names are left alone, and one without a SHA-256 is refused."""
    makers = Makers(tmp_path / "repository")
    makers.release("1.0.0")
    metadata = makers.repository.metadata

    def change(it: Targets) -> None:
        (target,) = list(it.targets.values())
        it.targets["readme"] = target
        it.targets["../../1/x/manifest.json"] = target

    targets = makers.forge(Targets, "2.targets.json", change, makers.keys["targets"])
    data = makers.forge(
        Snapshot,
        "2.snapshot.json",
        lambda it: it.meta.update({"targets.json": MetaFile.from_data(2, targets, ["sha256"])}),
        makers.keys["snapshot"],
    )

    def stamp(it: Timestamp) -> None:
        it.snapshot_meta = MetaFile.from_data(2, data, ["sha256"])

    makers.forge(Timestamp, "timestamp.json", stamp, makers.keys["timestamp"])
    assert (metadata / "timestamp.json").exists()
    assert [release.version for release in Host(tmp_path / "state", makers).update().releases] == ["1.0.0"]
