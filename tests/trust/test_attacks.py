"""The attacks that the specification of TUF lists (section 1.5.2), each tried and refused.

arbitrary software          test_arbitrary_software..., test_signed_by_a_stranger
denial, endless data        test_endless_data, test_what_is_asked_for_is_bounded; tests/depot/test_hostile_sources.py
extraneous dependencies     test_extraneous_dependencies
fast-forward                test_fast_forward_is_recovered_from
indefinite freeze           test_indefinite_freeze; that the next member helps: tests/depot/test_hostile_sources.py
malicious mirrors           tests/depot/test_hostile_sources.py: any of them alone only costs time
mix-and-match               test_mix_and_match, test_targets_cannot_vanish_from_the_snapshot
rollback                    test_rollback_...
slow retrieval              tests/depot/test_hostile_sources.py: one that drips
key compromise              ...below_the_threshold..., ...key_twice..., ...rotate..., ...by_the_keys_of_the_cluster
wrong software              test_wrong_software, test_a_released_version_keeps_its_content
"""

import base64
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)

from core.trust.client import Trusted, manifest, root_chain
from core.trust.errors import ClockError, ExpiredError, NotFoundError, TrustError
from core.trust.keys import generate
from core.trust.metadata import LIMITS, LIVES, MADE, ROLES, next_root, next_targets, sign
from core.trust.releases import Release, release_of, target_of
from tests.trust import makers as world
from tests.trust.makers import NOW, Host, Makers, later


def refuses(host: Host, words: str, now: datetime = NOW) -> None:
    """The update is refused with these words, and what was trusted before stays so."""
    before = state_of(host)
    with pytest.raises(TrustError, match=words):
        host.update(now)
    for role, version in before.items():
        assert state_of(host).get(role, 0) >= version, role


def state_of(host: Host) -> dict[str, int]:
    path = host.directory / "trusted.json"
    if not path.exists():
        return {}
    state = msgspec.json.decode(path.read_bytes())["state"]
    found = {}
    for role, text in state.items():
        if text:
            document: Metadata[Root] = Metadata.from_bytes(base64.b64decode(text))
            found[role] = document.signed.version
    return found


def test_the_way_it_should_go(host: Host, makers: Makers) -> None:
    found = host.update()
    release = found.find("os", "1.0.0", "x86_64")
    assert manifest(host.fetch, release) == world.manifest("1.0.0")
    makers.release("1.1.0")
    assert [release.version for release in host.update().releases] == ["1.0.0", "1.1.0"]
    with pytest.raises(TrustError, match="no signed release 2"):
        found.find("os", "2", "x86_64")


def test_nothing_new_is_fetched_twice(host: Host) -> None:
    host.update()
    host.asked.clear()
    host.update()
    assert host.asked == ["metadata/2.root.json", "metadata/timestamp.json"]


def test_arbitrary_software(host: Host) -> None:
    release = host.update().find("os", "1.0.0", "x86_64")
    good = world.manifest("1.0.0")
    host.lies[release.path] = good.replace(b"[]", b"{}")
    with pytest.raises(TrustError, match="not the one that was signed"):
        manifest(host.fetch, release)
    host.lies[release.path] = good + b" "
    with pytest.raises(TrustError, match="does not end after"):
        manifest(host.fetch, release)
    host.lies[release.path] = good[:-1]
    with pytest.raises(TrustError, match=f"has {len(good) - 1} bytes"):
        manifest(host.fetch, release)


def test_extraneous_dependencies(host: Host, makers: Makers) -> None:
    """Whatever else those who sign let slip into the targets: no host fetches it, nor what somebody else signs."""
    targets = next_targets(makers.repository.targets().signed, NOW)
    for name in ("os/1.0.0/x86_64/libevil.so", "libevil.so", "os/../etc/manifest.json", "a/b/c/d/manifest.json"):
        targets.signed.targets[name] = TargetFile(4, {"sha256": "0" * 64}, name)
    mallory = generate().public_key
    role = DelegatedRole("mallory", [mallory.keyid], 1, False, ["*"])
    targets.signed.delegations = Delegations({mallory.keyid: mallory}, {"mallory": role})
    sign(targets, [makers.repository.root().signed], makers.keys["targets"])
    makers.repository.publish(makers.online, NOW, targets=targets)
    found = host.update()
    assert [release.target for release in found.releases] == ["os/1.0.0/x86_64/manifest.json"]
    assert not [path for path in host.asked if "evil" in path or "mallory" in path]
    assert {path.rpartition(".")[0].rpartition(".")[2] for path in host.asked} <= {"root", "metadata/timestamp", *ROLES}


def test_arbitrary_software_in_the_metadata(host: Host, makers: Makers) -> None:
    stranger = generate()
    makers.forge(Targets, "2.targets.json", lambda it: it.targets.clear(), [stranger, stranger])
    refuses(host, "2.targets.json is not the file that was signed for")


@pytest.mark.parametrize("role", ["root", "timestamp", "snapshot", "targets"])
def test_signed_by_a_stranger(host: Host, makers: Makers, role: str) -> None:
    """Nobody's key, whatever it signs, while all else fits together."""
    stranger = generate()
    name = {"root": "1.root.json", "timestamp": "timestamp.json"}.get(role, f"2.{role}.json")
    document: Metadata[Targets] = Metadata.from_bytes((makers.repository.metadata / name).read_bytes())
    document.signatures.clear()
    document.sign(stranger, append=True)
    if role == "root":
        document.signed.version = 2
    data = document.to_bytes()
    host.lies[f"metadata/{'2.root.json' if role == 'root' else name}"] = data
    refuses(host, "not signed by enough|not the file that was signed for")


def test_under_signed_targets_are_refused_though_the_cluster_vouches(host: Host, makers: Makers) -> None:
    """Whoever holds both keys of the cluster and one of two for targets."""
    forge_targets(makers, makers.keys["targets"][:1])
    refuses(host, r"3.targets.json is not signed by enough .*1/2")


def test_the_same_key_twice_counts_once(host: Host, makers: Makers) -> None:
    thief = makers.keys["targets"][0]
    forge_targets(makers, [thief, thief])
    refuses(host, "1/2")


def forge_targets(makers: Makers, signers: list[CryptoSigner]) -> None:
    """Targets signed by some, with a snapshot and a timestamp that fit."""
    evil = target_of(release_of(world.manifest("6.6.6")))
    targets = next_targets(makers.repository.targets().signed, NOW, add=evil)
    sign(targets, [makers.repository.root().signed], signers)
    serve_online(makers, targets.to_bytes(), targets.signed.version)


def serve_online(makers: Makers, targets: bytes, version: int) -> None:
    repository = makers.repository
    now = repository.timestamp().signed
    (repository.metadata / f"{version}.targets.json").write_bytes(targets)
    number = now.snapshot_meta.version + 1

    def snapshot(it: Snapshot) -> None:
        it.version, it.meta = number, {"targets.json": MetaFile.from_data(version, targets, ["sha256"])}

    data = makers.forge(
        Snapshot, f"{number - 1}.snapshot.json", snapshot, makers.keys["snapshot"], f"{number}.snapshot.json"
    )

    def timestamp(it: Timestamp) -> None:
        it.version, it.snapshot_meta = it.version + 1, MetaFile.from_data(number, data, ["sha256"])

    makers.forge(Timestamp, "timestamp.json", timestamp, makers.keys["timestamp"])


def test_rollback_of_the_timestamp(host: Host, makers: Makers) -> None:
    old = (makers.repository.metadata / "timestamp.json").read_bytes()
    makers.refresh()
    host.update()
    host.lies["metadata/timestamp.json"] = old
    refuses(host, "timestamp.json is not the version that must come now")


def test_rollback_of_the_snapshot_by_a_new_timestamp(host: Host, makers: Makers) -> None:
    """The timestamp's key alone was stolen."""
    makers.release("1.1.0")
    host.update()
    old = makers.repository.snapshot().signed.version - 1

    def change(it: Timestamp) -> None:
        it.version += 1
        it.snapshot_meta.version = old

    makers.forge(Timestamp, "timestamp.json", change, makers.keys["timestamp"])
    refuses(host, "snapshot version must be")


def test_rollback_of_targets_by_the_keys_of_the_cluster(host: Host, makers: Makers) -> None:
    """Both keys of the cluster were stolen; the targets before are signed by the right people, and old."""
    old = (makers.repository.metadata / "2.targets.json").read_bytes()
    makers.release("1.1.0")
    host.update()
    serve_online(makers, old, 2)
    refuses(host, "not the version that must come now")


def test_targets_cannot_vanish_from_the_snapshot(host: Host, makers: Makers) -> None:
    host.update()
    makers.refresh()
    number = makers.repository.snapshot().signed.version
    data = makers.forge(Snapshot, f"{number}.snapshot.json", lambda it: it.meta.clear(), makers.keys["snapshot"])

    def change(it: Timestamp) -> None:
        it.snapshot_meta = MetaFile.from_data(number, data, ["sha256"])

    makers.forge(Timestamp, "timestamp.json", change, makers.keys["timestamp"])
    refuses(host, "missing info for 'targets.json'")
    fresh = Host(host.directory.with_name("fresh"), makers)
    refuses(fresh, "does not name the targets")


def test_rollback_of_the_root(host: Host, makers: Makers) -> None:
    makers.rotate({"root": 1})
    host.update()
    host.lies["metadata/3.root.json"] = makers.first
    refuses(host, "3.root.json is not the version|not signed by enough")


def test_the_image_brings_an_older_root_than_the_host_trusts(host: Host, makers: Makers) -> None:
    makers.rotate({"root": 3})
    host.update()
    again = Trusted(host.directory, makers.first)
    assert again.update(host.fetch, NOW).root == 2


def test_indefinite_freeze(host: Host, makers: Makers) -> None:
    host.update()
    assert host.update(later(days=6)).expires == later(days=7)
    refuses(host, r"timestamp.json expired 2026-11-28 12:00 UTC.*2026-11-29", later(days=8))
    with pytest.raises(ExpiredError):
        host.update(later(days=8))
    makers.refresh(later(days=8))
    assert host.update(later(days=8)).releases


@pytest.mark.parametrize("role", ["snapshot", "root", "targets"])
def test_each_role_expires(tmp_path: Path, role: str) -> None:
    life = {"snapshot": timedelta(hours=1), "root": timedelta(hours=2), "targets": timedelta(hours=3)}[role]
    makers = Makers(tmp_path / "repository")
    if role == "snapshot":
        makers.repository.publish(makers.online, NOW, lives={**LIVES, "snapshot": life})
    elif role == "root":
        root = next_root(makers.repository.root().signed, NOW, life)
        sign(root, [root.signed], makers.keys["root"])
        makers.repository.publish(makers.online, NOW, root=root)
    else:
        targets = next_targets(makers.repository.targets().signed, NOW, life)
        sign(targets, [makers.repository.root().signed], makers.keys["targets"])
        makers.repository.publish(makers.online, NOW, targets=targets)
    host = Host(tmp_path / "state", makers)
    host.update()
    refuses(host, rf"{role}.json expired", later(hours=4))
    refuses(Host(tmp_path / "fresh", makers), rf"{role}.json expired", later(hours=4))


def test_endless_data(host: Host, makers: Makers) -> None:
    for path, limit in (
        ("metadata/2.root.json", LIMITS["root"]),
        ("metadata/timestamp.json", LIMITS["timestamp"]),
        ("metadata/2.snapshot.json", 0),
        ("metadata/2.targets.json", 0),
    ):
        host.lies = {path: b"{" * (limit or 1 << 20) * 2}
        refuses(host, f"{path} does not end after")


def test_what_is_asked_for_is_bounded(host: Host) -> None:
    sizes = {}

    def fetch(path: str, limit: int) -> bytes:
        data = host.fetch(path, limit)
        sizes[path] = (limit, len(data))
        return data

    host.trusted.update(fetch, NOW)
    exact = [path for path, (limit, size) in sizes.items() if limit == size]
    assert exact == ["metadata/2.snapshot.json", "metadata/2.targets.json"]


def test_mix_and_match(host: Host, makers: Makers) -> None:
    """Files of different times, each signed by the right people."""
    metadata = makers.repository.metadata
    old_snapshot = (metadata / "2.snapshot.json").read_bytes()
    old_targets = (metadata / "2.targets.json").read_bytes()
    makers.release("1.1.0")
    host.lies["metadata/3.snapshot.json"] = old_snapshot
    refuses(host, "3.snapshot.json is not the file that was signed for")
    host.lies = {"metadata/3.targets.json": old_targets}
    refuses(host, "3.targets.json is not the file that was signed for")
    host.lies = {}
    host.update()


def test_wrong_software(host: Host, makers: Makers) -> None:
    """The right manifest of something else, signed under this name by a slip of those who sign."""
    other = release_of(world.manifest("1.0.0", product="other"))
    slipped = Release("os", "1.2.0", "x86_64", other.size, other.sha256)
    targets = next_targets(makers.repository.targets().signed, NOW, add=target_of(slipped))
    sign(targets, [makers.repository.root().signed], makers.keys["targets"])
    makers.repository.publish(makers.online, NOW, targets=targets)
    release = host.update().find("os", "1.2.0", "x86_64")
    host.lies[release.path] = world.manifest("1.0.0", product="other")
    with pytest.raises(TrustError, match="that of something else"):
        manifest(host.fetch, release)


def test_a_released_version_keeps_its_content(makers: Makers) -> None:
    with pytest.raises(TrustError, match="released before with another content"):
        makers.release("1.0.0", data=world.manifest("1.0.0") + b"\n")


def test_fast_forward_is_recovered_from(host: Host, makers: Makers) -> None:
    """Thieves of both keys of the cluster count to the top; new keys begin again below."""
    top = 2**31

    def forward(it: Timestamp) -> None:
        it.version = top
        it.snapshot_meta.version = top
        it.snapshot_meta.length = it.snapshot_meta.hashes = None

    def snapshot(it: Snapshot) -> None:
        it.version = top

    whole = (makers.repository.metadata / "timestamp.json").read_bytes()
    makers.forge(Snapshot, "2.snapshot.json", snapshot, makers.keys["snapshot"], f"{top}.snapshot.json")
    makers.forge(Timestamp, "timestamp.json", forward, makers.keys["timestamp"])
    host.update()
    assert state_of(host)["timestamp"] == top
    (makers.repository.metadata / "timestamp.json").write_bytes(whole)
    refuses(host, "not the version that must come now")
    makers.rotate({"snapshot": 1, "timestamp": 1})
    assert host.update().root == 2
    assert state_of(host)["timestamp"] == 3


def test_a_retired_snapshot_key_alone_makes_hosts_forget(host: Host, makers: Makers) -> None:
    host.update()
    makers.rotate({"snapshot": 1})
    host.lies = {"metadata/timestamp.json": b""}
    refuses_forgetting(host)
    host.lies = {}
    assert host.update().root == 2


def refuses_forgetting(host: Host) -> None:
    with pytest.raises(TrustError):
        host.update()
    assert state_of(host) == {"root": 2, "targets": 2}


def test_a_stolen_key_below_the_threshold_makes_no_root(host: Host, makers: Makers) -> None:
    root, _, _ = makers.changed({"root": 1})
    thief = makers.keys["root"][0]
    sign(root, [root.signed], [thief])
    host.lies["metadata/2.root.json"] = root.to_bytes()
    refuses(host, r"2.root.json is not signed by enough .*1/2")


def test_a_root_needs_the_old_keys_and_the_new(host: Host, makers: Makers) -> None:
    root, _, old = makers.changed({"root": 3})
    sign(root, [root.signed], makers.keys["root"])
    host.lies["metadata/2.root.json"] = root.to_bytes()
    refuses(host, "root was signed by 0/2")
    with pytest.raises(TrustError, match="version 1 of the root asks for; 2 missing"):
        makers.repository.publish(makers.online, NOW, root=root)
    root.signatures.clear()
    for signer in old:
        root.sign(signer, append=True)
    host.lies["metadata/2.root.json"] = root.to_bytes()
    refuses(host, "root was signed by 0/2")
    with pytest.raises(TrustError, match="version 2 of the root asks for; 2 missing"):
        makers.repository.publish(makers.online, NOW, root=root)
    for signer in makers.keys["root"]:
        root.sign(signer, append=True)
    host.lies["metadata/2.root.json"] = root.to_bytes()
    assert host.update().root == 2


def test_a_gap_in_the_roots(host: Host, makers: Makers) -> None:
    makers.rotate({"root": 3})
    makers.rotate({"root": 3})
    makers.rotate({"timestamp": 1})
    chain = [makers.repository.root_bytes(version) for version in (2, 3, 4)]
    assert root_chain(makers.first, chain) == 4
    with pytest.raises(TrustError, match=r"2\.root\.json"):
        root_chain(makers.first, chain[1:])
    host.lies["metadata/2.root.json"] = chain[1]
    refuses(host, "2.root.json is not signed by enough")
    host.lies["metadata/2.root.json"] = None
    refuses(host, "timestamp.json is not signed by enough")
    host.lies = {}
    assert host.update().root == 4


def test_all_keys_rotate_and_a_host_that_slept_follows(host: Host, makers: Makers) -> None:
    host.update()
    for day in range(1, 6):
        makers.rotate({"root": 2, "targets": 1, "snapshot": 1, "timestamp": 1}, later(days=day))
    assert host.update(later(days=5)).root == 6
    makers.release("1.1.0", later(days=6))
    assert len(host.update(later(days=6)).releases) == 2


def test_new_keys_for_targets_need_targets_signed_by_them(makers: Makers) -> None:
    root, targets, old = makers.changed({"targets": 2})
    sign(root, [makers.repository.root().signed, root.signed], [*old, *makers.keys["root"]])
    with pytest.raises(TrustError, match="the targets is not signed by enough"):
        makers.repository.publish(makers.online, NOW, root=root)
    makers.repository.publish(makers.online, NOW, root=root, targets=targets)


def test_a_mirror_that_lies_about_what_exists(host: Host, makers: Makers) -> None:
    for name in ("timestamp.json", "2.snapshot.json", "2.targets.json"):
        host.lies = {f"metadata/{name}": None}
        with pytest.raises(NotFoundError):
            host.update()
    host.lies = {}
    assert host.update().releases


def test_a_clock_that_is_behind_is_named(host: Host, makers: Makers) -> None:
    past = datetime(2019, 1, 1, tzinfo=NOW.tzinfo)
    with pytest.raises(ClockError, match=r"clock says 2019-01-01 00:00 UTC.* made 2026-11-21 12:00: set the clock"):
        host.update(past)
    host.update()
    with pytest.raises(ClockError, match="2019"):
        host.update(past)
    makers.refresh(later(days=3))
    refuses(host, "timestamp.json was made 2026-11-24", later(days=2))
    assert host.update(later(days=3, minutes=-59)).releases


def test_a_clock_that_is_behind_is_named_by_each_role(host: Host, makers: Makers) -> None:
    """Those who sign at a desk, and the cluster, look at clocks of their own."""
    targets = next_targets(makers.repository.targets().signed, later(days=1))
    sign(targets, [makers.repository.root().signed], makers.keys["targets"])
    with pytest.raises(ClockError, match="the targets was made 2026-11-22"):
        makers.repository.publish(makers.online, NOW, targets=targets)
    serve_online(makers, targets.to_bytes(), targets.signed.version)
    refuses(host, r"3.targets.json was made 2026-11-22")
    makers.rotate({"root": 1}, later(days=2))
    refuses(host, r"2.root.json was made 2026-11-23")
    assert state_of(host)["root"] == 1
    assert host.update(later(days=2)).root == 2


def test_a_date_that_is_none(host: Host, makers: Makers) -> None:
    def change(it: Timestamp) -> None:
        it.unrecognized_fields[MADE] = ["yesterday"]

    makers.forge(Timestamp, "timestamp.json", change, makers.keys["timestamp"])
    refuses(host, "holds what metadata never holds")
