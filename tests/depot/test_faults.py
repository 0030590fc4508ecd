"""Members that are away, full, forgetful or dead: what is published then, what is kept, who signs."""

import os
import random
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import trio

from core.client import Store
from core.client.inside import InsideStore
from core.depot import shelf as shelf_module
from core.depot.catalogue import Catalogue, Held, Package
from core.depot.keeper import inside_package
from core.depot.publishing import Publication, RefusedPublicationError
from core.depot.resigning import Resigner
from core.depot.shelf import GRACE_SECONDS, NoRoomError
from core.depot.signing import HALF, KeyFiles, due
from core.images.manifest import Blob
from core.node.local import LocalStore
from tests.client.conftest import member
from tests.depot.members import Member, Members, three
from tests.trust.makers import NOW

__all__ = ["member"]
SOME, MORE = random.Random(1).randbytes(300_000), random.Random(2).randbytes(300_000)
DISK = 3 << 20
LITTLE = 1.0
"""Seconds for which whoever publishes waits for members that do not run."""


@pytest.fixture
async def store(member: LocalStore) -> AsyncIterator[Store]:
    async with InsideStore(member) as store:
        yield store


def named(members: Members, package: Package) -> list[Blob]:
    """All blobs of a package."""
    return [package.index, *inside_package(members.all[0].keeper.shelf, package.index)]


def told(member: Member, name: str) -> Held:
    """What one of them says that it holds, as another knows it."""
    return member.keeper.held.get(name, Held())


async def test_without_a_majority_nothing_changes(store: Store, tmp_path: Path) -> None:
    async with three(tmp_path, store) as members:
        one, two, three_ = members.all
        members.start(one)
        wanted = Publication(packages=(members.package(SOME),))
        with pytest.raises(RefusedPublicationError, match=r"only 1 of the 2 members that are needed.* 2: it is away"):
            await members.publish(wanted, LITTLE)
        await members.until(lambda: one.keeper.staged is None)
        assert one.keeper.served == Catalogue()
        members.start(two)
        steps = await members.publish(wanted)
        assert (steps[-1].done, steps[-1].members, steps[-1].needed) == (True, 2, 2)
        # The third was away all the time, and brings itself up to date, from those that are there.
        one.stop()
        members.start(three_)
        await members.until(lambda: members.has(2, *named(members, wanted.packages[0])))
        await members.until(lambda: told(three_, "3").served == three_.keeper.served_revision)


async def test_nobody_counts_as_having_it_before_it_has(store: Store, tmp_path: Path) -> None:
    """A member says so itself, and only of the very record: what it said of an older one does not count."""
    async with three(tmp_path, store) as members:
        members.start()
        first = Publication(packages=(members.package(SOME),))
        await members.publish(first)
        await members.until(lambda: members.has(1, *named(members, first.packages[0])))
        members.all[1].stop()
        members.all[2].stop()
        with pytest.raises(RefusedPublicationError, match="only 1 of the 2"):
            await members.publish(Publication(packages=(members.package(MORE, "2"),)), LITTLE)
        served = members.all[0].keeper.served
        assert list(served.packages) == ["os/1/x86_64"], "what was served still is"


async def test_a_publisher_who_leaves_takes_his_draft_along(store: Store, tmp_path: Path) -> None:
    async with three(tmp_path, store) as members:
        one = members.all[0]
        members.start(one)
        wanted = Publication(packages=(members.package(SOME),))
        async with aclosing(one.publisher().publish(wanted)) as steps:
            assert not (await anext(steps)).done
            await members.until(lambda: one.keeper.staged is not None)
        await members.until(lambda: one.keeper.staged is None)
        assert one.keeper.served == Catalogue()


def left_over(directory: Path) -> list[Path]:
    return list(directory.glob("chunks/*/.*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, for the second member."""
    place = tmp_path / "2"
    place.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "small", str(place)], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip(f"a file system cannot be mounted here: {done.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def test_a_full_disk_is_told_and_half_a_file_counts_nowhere(
    store: Store, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf_module, "_free", lambda _: 1 << 60)  # others fill it after we looked
    async with three(tmp_path, store) as members:
        members.start()
        full = members.all[1].keeper
        (small_disk / "ballast").write_bytes(bytes(DISK - (512 << 10)))
        wanted = Publication(packages=(members.package(SOME + MORE),))
        assert (await members.publish(wanted))[-1].members == 2, "the others are a majority"
        await members.until(lambda: "No space left on device" in told(members.all[0], "2").trouble)
        assert told(members.all[1], "2").served < full.served_revision
        for place in full.shelf.names():
            assert full.shelf.packed(place) is not None, "what is there is whole"
        assert left_over(small_disk) == [], "nothing is left of what was not"
        # The same at whoever publishes: it is refused, and nothing of it is served.
        with pytest.raises(OSError, match="No space left"):
            members.package(random.Random(3).randbytes(600_000), "2", to=1)
        (small_disk / "ballast").unlink()
        full.doubt()
        await members.until(lambda: members.has(1, *named(members, wanted.packages[0])))
        await members.until(lambda: full.trouble == told(members.all[0], "2").trouble == "")


async def test_the_reserve_is_left_to_the_store_of_keys(store: Store, tmp_path: Path) -> None:
    async with three(tmp_path, store) as members:
        for each in members.all[1:]:
            each.begin_anew(room=1 << 60)
        with pytest.raises(NoRoomError, match="MiB left"):
            members.package(SOME, to=1)
        members.start()
        with pytest.raises(RefusedPublicationError, match=r"only 1 of the 2 .* 2: the disk .* MiB left; 3: the disk"):
            await members.publish(Publication(packages=(members.package(SOME),)), 5.0)


# What nothing names


def old(members: Members, member: int = 0, *, but: tuple[Blob, ...] = ()) -> None:
    """All chunks have been there for longer than the grace."""
    kept = {chunk.sha256 for blob in but for chunk in blob.chunks}
    then = time.time() - GRACE_SECONDS - 60
    for place in (members.home / members.all[member].name / "chunks").glob("??/*.zst"):
        if place.name.removesuffix(".zst") not in kept:
            os.utime(place, (then, then))


async def test_only_what_nothing_names_is_collected(store: Store, tmp_path: Path) -> None:
    async with three(tmp_path, store) as members:
        members.start()
        keeper = members.all[0].keeper
        served = members.package(SOME)
        await members.publish(Publication(packages=(served,)))
        forgotten, fresh = members.upload(b"f" * 50_000), None
        old(members)
        fresh = members.upload(b"g" * 50_000)
        await keeper.collect()
        assert members.has(0, *named(members, served), fresh)
        assert not members.has(0, forgotten)
        await members.publish(Publication(dropped=(served.key,)))
        blobs = named(members, served)
        old(members)
        await keeper.collect()
        assert not any(keeper.shelf.has(chunk.sha256) for blob in blobs for chunk in blob.chunks)


async def test_what_is_about_to_be_published_is_not_collected(store: Store, tmp_path: Path) -> None:
    """It lay here for long, so it is not uploaded again; between the question for it and its release it must stay."""
    async with three(tmp_path, store) as members:
        one = members.all[0]
        members.start(one)
        package = members.package(SOME)
        old(members)
        blobs = named(members, package)
        assert all(one.keeper.shelf.want(chunk.sha256) for blob in blobs for chunk in blob.chunks)
        await one.keeper.collect()
        assert members.has(0, *blobs), "it was asked for"
        old(members)
        async with aclosing(one.publisher().publish(Publication(packages=(package,)))) as steps:
            await anext(steps)
            await members.until(lambda: one.keeper.staged is not None)
            old(members)
            await one.keeper.collect()
            assert members.has(0, *blobs), "it is staged"
        old(members)
        await members.until(lambda: one.keeper.staged is None)
        await one.keeper.collect()
        assert not members.has(0, *blobs), "the check can fail"


async def test_where_it_cannot_be_known_what_is_named_nothing_goes(store: Store, tmp_path: Path) -> None:
    async with three(tmp_path, store) as members:
        one = members.all[0]
        members.start(one, members.all[1])
        package = members.package(SOME)
        await members.publish(Publication(packages=(package,)))
        _, blob = named(members, package)
        one.stop()
        members.all[1].stop()
        for chunk in package.index.chunks:
            (tmp_path / "1" / "chunks" / chunk.sha256[:2] / f"{chunk.sha256}.zst").unlink()
        old(members)
        with pytest.raises(Exception, match="is not here"):
            await one.keeper.collect()
        assert members.has(0, blob)


async def test_what_was_collected_is_fetched_again_before_it_counts(store: Store, tmp_path: Path) -> None:
    async with three(tmp_path, store) as members:
        members.start(*members.all[:2])
        package = members.package(SOME)
        blobs = named(members, package)
        await members.publish(Publication(packages=(package,)))
        await members.publish(Publication(dropped=(package.key,)))
        old(members, 1)
        await members.all[1].keeper.collect()
        assert not members.has(1, *blobs)
        steps = await members.publish(Publication(packages=(package,)))
        assert steps[-1].members == 2
        assert members.has(1, *blobs), "a majority holds what it says it holds"


# Who signs


def resigner(member: Member, others: list[Member], *, leads: bool) -> Resigner:
    async def ask() -> KeyFiles | None:
        return next((given for each in others if each.up and (given := each.ring.give()).keys), None)

    return Resigner(member.store, member.keeper, member.ring, lambda: leads, ask, lambda: member.now)


async def test_another_member_signs_when_the_one_that_did_is_dead(store: Store, tmp_path: Path) -> None:
    async with three(tmp_path, store) as members:
        one, two, _ = members.all
        members.start()
        one.ring.take(members.keys)
        repository = members.house.makers.repository
        wanted = Publication(
            (members.upload(repository.root_bytes(1)),), members.upload(repository.targets().to_bytes())
        )
        await members.publish(wanted)
        await members.until(lambda: two.keeper.served_revision > 0 and members.has(1, *wanted.roots))
        first, second = resigner(one, [two], leads=True), resigner(two, [one], leads=False)

        def set_clock(when: datetime) -> None:
            one.now = two.now = when

        set_clock(NOW + timedelta(days=1))
        assert not await first.look()
        assert not await second.look(), "it is not due; but the keys came"
        assert two.ring.give() == one.ring.give()
        moment = due(one.keeper.served, HALF)
        assert moment is not None
        set_clock(moment)
        assert not await second.look(), "the leader does it at half of the life"
        assert await first.look()
        version = one.keeper.served.timestamp_version + 1
        await members.until(lambda: two.keeper.served.timestamp_version == version)
        # From now on the first is dead.
        one.stop()
        moment = due(two.keeper.served, HALF)
        assert moment is not None
        set_clock(moment + timedelta(hours=1))
        assert not await second.look(), "perhaps it is only late"
        set_clock(moment + timedelta(days=2))
        assert await second.look()
        await members.until(lambda: two.keeper.served.timestamp_version == version + 1)
        assert not await second.look(), "once"
        # Two at the same time do no harm: one transaction decides.
        members.start(one)
        set_clock(NOW + timedelta(days=60))
        await members.until(lambda: one.keeper.served_revision == two.keeper.served_revision)
        third = resigner(two, [one], leads=True)
        done = []

        async def look(signer: Resigner) -> None:
            done.append(await signer.look())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look, first)
            nursery.start_soon(look, third)
        assert sorted(done) == [False, True]
