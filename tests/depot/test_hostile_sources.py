"""Members that lie, stall and mix: what a host takes from them, and from the next one."""

import base64
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec
import pytest
import trio
from tuf.api.metadata import Metadata, Targets

from core.client import images as images_module
from core.client.endpoints import parse
from core.client.errors import ClientError, UnreachableError
from core.client.images import FileAbsentError, Images, chunk_path
from core.images.blobs import packed
from core.images.manifest import STORED_MAX
from core.relay import Upstreams
from core.trust.client import Trusted, Verified
from core.trust.errors import ClockError, ExpiredError, NotFoundError, TrustError
from core.trust.repository import Repository
from core.update.host.following import follow, manifest_of
from tests.depot.sources import Behaviour, Member, drips, endless, gives, members, says, sends, stalls
from tests.trust import makers as world
from tests.trust.makers import Makers, later

STALL = 1.5
"""Longer than a busy machine keeps an honest one waiting."""
NOON = later(minutes=30)
BLOB, CHUNKS = packed(bytes(range(256)) * 200)
CHUNK = BLOB.chunks[0]
GOOD = CHUNKS[CHUNK.sha256]
OTHER = packed(b"another release " * 3000)
FLIPPED = bytes([*GOOD[:-3], GOOD[-3] ^ 0x10, *GOOD[-2:]])


def images(*asked: Member, stall: float = STALL) -> Images:
    return Images(lambda: [each.endpoint for each in asked], lambda: None, stall)


def honest(path: str) -> bytes:
    if path != chunk_path(CHUNK.sha256):
        raise NotFoundError(path)
    return GOOD


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest chunk may take a second on top of the silence, not twenty."""
    monkeypatch.setattr(images_module, "RATE", STORED_MAX)


HOSTILE: dict[str, tuple[Behaviour, str]] = {
    "says nothing": (stalls(), "it said nothing for 1.5 s"),
    "stops in the head": (stalls(b"HTTP/1.1 200 OK\r\nContent-Le"), "said nothing"),
    "stops in the middle": (stalls(says("200 OK", GOOD[:100], len(GOOD))), "said nothing"),
    "drips": (drips(says("200 OK", b"", STORED_MAX), STALL / 5), "or was too slow"),
    "says it is larger": (stalls(says("200 OK", b"", STORED_MAX + 1)), "and at most 327680 are wanted"),
    "says it is huge": (stalls(says("200 OK", b"", 10**18)), "and at most 327680 are wanted"),
    "says a size that is none": (sends(b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n" + GOOD), "."),
    "says two sizes": (sends(says("200 OK", GOOD, more="Content-Length: 7\r\n")), "."),
    "is cut off": (sends(says("200 OK", GOOD[:100], len(GOOD))), "."),
    "ends too soon": (sends(says("200 OK", GOOD[:-1])), "unpacked|unpack|hash|damaged"),
    "is empty": (sends(says("200 OK")), "unpack"),
    "goes on": (sends(says("200 OK", GOOD + b"x")), "unpack|extra"),
    "never ends": (
        endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + bytes(65536) + b"\r\n"),
        "it sends more than the 327680 bytes that are wanted",
    ),
    "never ends its head": (endless(b"HTTP/1.1 200 OK\r\n", b"x-a: b\r\n" * 1000), "."),
    "flips a bit": (sends(says("200 OK", FLIPPED)), "unpack|hash|damaged"),
    "gives another chunk": (sends(says("200 OK", next(iter(OTHER[1].values())))), "does not unpack|another hash"),
    "gives a bomb": (sends(says("200 OK", bytes.fromhex("28b52ffda00000008000") + bytes(50))), "unpack"),
    "fails": (sends(says("500 Internal Server Error", GOOD)), "HTTP 500"),
    "sends elsewhere": (sends(says("302 Found", GOOD, more="Location: http://127.0.0.1:1/\r\n")), "HTTP 302"),
    "is no HTTP": (sends(b"\x15\x03\x01\x00\x02\x02\x50" * 20), "."),
    "goes away": (sends(b""), "."),
    "has none": (sends(says("404 Not Found")), "has no such file"),
}


@pytest.mark.parametrize("how", HOSTILE)
async def test_the_next_member_is_asked_and_the_bad_one_last(how: str) -> None:
    behaviour, why = HOSTILE[how]
    async with members(behaviour, gives(honest)) as (bad, good), images(bad, good) as found:
        with trio.fail_after(30):
            assert await found.chunk(CHUNK) == (bytes(range(256)) * 200)[: CHUNK.size]
            assert bad.asked == good.asked
            await found.chunk(CHUNK)
        # One that says that it has none told no lie, and may have the next.
        assert len(bad.asked) == (2 if how == "has none" else 1)
        async with images(bad) as alone:
            with trio.fail_after(30), pytest.raises(ClientError, match=rf"nobody gives chunks/.*: .*({why})"):
                await alone.chunk(CHUNK)


async def test_many_at_once_do_not_wait_for_a_bad_one_each() -> None:
    """What one task has found out, all know."""
    async with members(stalls(), gives(honest)) as (bad, good), images(bad, good) as found:
        with trio.fail_after(30):
            await found.chunk(CHUNK)
            before = trio.current_time()
            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(found.chunk, CHUNK)
            assert len(bad.asked) == 1
            assert trio.current_time() - before < 20


async def test_a_member_that_mended_its_ways_is_asked_again() -> None:
    mood = [sends(says("500 Oops")), gives(honest)]

    async def moody(stream: trio.SocketStream, path: str) -> None:
        await mood[0](stream, path)

    async with members(moody, gives(honest)) as (first, second), images(first, second) as found:
        await found.chunk(CHUNK)
        assert (len(first.asked), len(second.asked)) == (1, 1)
        mood.pop(0)
        second.endpoint = parse("http://127.0.0.1:1")
        await found.chunk(CHUNK)
        await found.chunk(CHUNK)
        assert len(first.asked) == 3


async def test_the_check_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a hash any bytes of the right form do, and without a limit the endless ones are taken."""
    async with members(HOSTILE["gives another chunk"][0]) as (bad,), images(bad) as found:
        assert await found.fetch("anything", STORED_MAX) in OTHER[1].values()
    monkeypatch.setattr(images_module, "STORED_MAX", 1 << 40)
    async with members(HOSTILE["never ends"][0]) as (bad,), images(bad, stall=5) as found:
        with trio.move_on_after(1) as waiting:
            await found.chunk(CHUNK)
        assert waiting.cancelled_caught


# Metadata


class World:
    """A repository that went on, and what it was at each time."""

    def __init__(self, home: Path) -> None:
        self.makers = Makers(home / "repo")
        self.times: list[Repository] = []
        for number, version in enumerate(("1.0.0", "2.0.0", "3.0.0")):
            self.makers.release(version, later(minutes=number))
            self.times.append(Repository(shutil.copytree(home / "repo", home / f"repo{number}")))
        self.home = home / "host"
        self.home.mkdir()
        self.trusted = Trusted(self.home, self.makers.first)

    def at(self, time: int) -> Callable[[str], bytes]:
        return lambda path: self.times[time].fetch(path, 1 << 30)

    def mixed(self, path: str) -> bytes:
        """The newest timestamp, and the snapshot as it was before."""
        return self.at(0)("metadata/2.snapshot.json") if path.endswith("snapshot.json") else self.at(-1)(path)

    def but(self, name: str, change: Callable[[bytes], bytes]) -> Callable[[str], bytes]:
        """All is right but this."""
        return lambda path: change(self.at(-1)(path)) if path.endswith(name) else self.at(-1)(path)

    async def follow(self, *asked: Member, now: datetime = NOON) -> Verified:
        async with images(*asked) as found:
            with trio.fail_after(30):
                return await follow(self.trusted, found, lambda: now)

    def state(self) -> bytes:
        return (self.home / "trusted.json").read_bytes()


@pytest.fixture
def it(tmp_path: Path) -> World:
    return World(tmp_path)


def flipped(data: bytes) -> bytes:
    return bytes([*data[:200], data[200] ^ 1, *data[201:]])


METADATA: dict[str, tuple[Callable[[World], Behaviour], str]] = {
    "replays the timestamp": (lambda it: gives(it.at(0)), "not the version that must come now"),
    "mixes": (lambda it: gives(it.mixed), "snapshot.json is not the file that was signed for"),
    "flips a bit of the timestamp": (lambda it: gives(it.but("timestamp.json", flipped)), "timestamp.json"),
    "flips a bit of the targets": (lambda it: gives(it.but("targets.json", flipped)), "not the file that was signed"),
    "cuts the snapshot": (lambda it: gives(it.but("snapshot.json", lambda data: data[:-9])), "not the file"),
    "has no timestamp": (lambda it: gives(_without("timestamp.json", it)), "has no metadata/timestamp.json"),
    "never ends the timestamp": (
        lambda it: _after(it, "timestamp.json", endless(says("200 OK", b"", 1 << 40), bytes(65536))),
        "at most 16384 are wanted",
    ),
    "never ends the targets": (
        lambda it: _after(
            it, "targets.json", endless(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 99)
        ),
        "it sends more than the",
    ),
    "stalls at the snapshot": (lambda it: _after(it, "snapshot.json", stalls()), "it said nothing"),
    "is another cluster": (lambda it: gives(_stranger(it)), "not signed by enough"),
}


def _without(name: str, it: World) -> Callable[[str], bytes]:
    def serve(path: str) -> bytes:
        if path.endswith(name):
            raise NotFoundError(path)
        return it.at(-1)(path)

    return serve


def _after(it: World, name: str, behaviour: Behaviour) -> Behaviour:
    """Honest until that file is asked for."""
    good = gives(it.at(-1))

    async def behave(stream: trio.SocketStream, path: str) -> None:
        await (behaviour if path.endswith(name) else good)(stream, path)

    return behave


def _stranger(it: World) -> Callable[[str], bytes]:
    other = Makers(it.home.parent / "other")
    other.release("6.6.6")
    return lambda path: other.repository.fetch(path, 1 << 30)


@pytest.mark.parametrize("how", METADATA)
async def test_metadata_come_from_the_next_member_whole(it: World, how: str) -> None:
    make, why = METADATA[how]
    async with members(gives(it.at(1))) as (before,):
        assert [each.version for each in (await it.follow(before)).releases] == ["1.0.0", "2.0.0"]
    state = it.state()
    async with members(make(it), gives(it.at(-1))) as (bad, good):
        with pytest.raises((TrustError, UnreachableError), match=why):
            await it.follow(bad)
        assert _floor(it.state()) >= _floor(state)
        bad.asked.clear()
        assert [each.version for each in (await it.follow(bad, good)).releases][-1] == "3.0.0"
        assert good.asked[:2] == ["metadata/2.root.json", "metadata/timestamp.json"], "all of it, from one member"
        assert good.asked.count("metadata/timestamp.json") == 1


def _floor(state: bytes) -> tuple[int, ...]:
    """The versions that a host will not go back behind."""
    found = msgspec.json.decode(state)["state"]
    roles = ("timestamp", "snapshot", "targets")
    return tuple(Metadata[Targets].from_bytes(base64.b64decode(found[role])).signed.version for role in roles)


async def test_one_that_stands_still_is_passed_over_when_it_has_expired(it: World) -> None:
    """Indefinite freeze: an old world, whole and rightly signed, until its time is over."""
    late = later(days=9)
    it.makers.refresh(later(days=8))
    async with members(gives(it.at(-1)), gives(lambda path: it.makers.repository.fetch(path, 1 << 30))) as (old, new):
        with pytest.raises(ExpiredError, match=r"timestamp\.json expired"):
            await it.follow(old, now=late)
        assert (await it.follow(old, new, now=late)).expires > late


async def test_when_all_are_bad_each_is_named_with_its_reason(it: World) -> None:
    async with members(gives(it.at(-1)), gives(_without("timestamp.json", it)), stalls()) as (good, bad, mute):
        await it.follow(good)
        state = it.state()
        gone = Member(stalls())
        gone.endpoint = parse("http://127.0.0.1:1")
        with pytest.raises(TrustError) as told:
            await it.follow(bad, mute, gone)
        for words in (bad.endpoint.text, "has no metadata/timestamp.json", mute.endpoint.text, "said nothing", ":1: "):
            assert words in str(told.value)
        with pytest.raises(UnreachableError, match=r":1: .*refused"):
            await it.follow(gone)
        assert it.state() == state
        with pytest.raises(ClockError, match="set the clock"):
            await it.follow(good, now=later(days=-900))


async def test_the_bad_one_is_asked_last_from_then_on(it: World) -> None:
    async with (
        members(gives(_without("snapshot.json", it)), gives(it.at(-1))) as (bad, good),
        images(bad, good) as found,
    ):
        for _ in range(3):
            await follow(it.trusted, found, lambda: NOON)
        assert bad.asked.count("metadata/timestamp.json") == 1
        assert good.asked.count("metadata/timestamp.json") == 3


async def test_a_manifest_comes_from_whoever_gives_the_one_that_was_signed(it: World) -> None:
    lie = world.manifest("3.0.0").replace(b"[]", b"{}")
    async with members(gives(lambda path: lie), gives(it.at(0)), gives(it.at(-1))) as asked, images(*asked) as found:
        release = (await it.follow(asked[2])).find("os", "3.0.0", "x86_64")
        assert await manifest_of(found, release) == world.manifest("3.0.0")
        async with images(*asked[:2]) as bad:
            with pytest.raises(FileAbsentError, match="not the one that was signed"):
                await manifest_of(bad, release)


async def test_a_worker_asks_the_members_in_the_order_it_knows() -> None:
    async with members(stalls(), gives(honest)) as (bad, good):
        upstreams = Upstreams([bad.endpoint, good.endpoint], None)
        async with Images(upstreams.endpoints, lambda: None, STALL) as found:
            upstreams.avoid(upstreams.all[0], "it is away")
            await found.chunk(CHUNK)
            assert (bad.asked, len(good.asked)) == ([], 1)
