"""What depends on time, on a clock that jumps: who is silent, who is idle, and when to try again."""

import itertools
import random
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from core.addresses import Url
from core.peer import Address, Limits, Links, PeerError, Plain, plain
from core.peer.connection import Connection, Dialler, read_frames
from core.peer.frames import PING, PONG, PULSE, FrameReader, frame
from core.peer.incoming import Incoming
from core.peer.outgoing import FORBEARANCE_S, Outgoing
from core.peer.register import Register
from core.peer.upgrade import LINK
from tests.peer.callers import hello
from tests.peer.support import Member

LIMITS = Limits()
SILENT_S = LIMITS.beat_s * LIMITS.silent_beats
ADDRESS = Address("n2", (Url("https", "a", 1), Url("https", "b", 1)))

Far = Callable[[trio.abc.Stream], Awaitable[None]]


class Memory(Dialler):
    """Dials into memory: the far end does as it is told."""

    far: Far | None
    nursery: trio.Nursery
    attempts: list[tuple[float, str]]

    async def dial(self, member: int, address: Address, url: Url, path: str) -> Connection:
        assert path == LINK
        self.attempts.append((trio.current_time(), url.host))
        if self.far is None:
            raise PeerError("nobody is there")
        near, far = memory_stream_pair()
        self.nursery.start_soon(self.far, far)
        return Connection(near, b"", hello(sender=2, receiver=1), None, str(url))


def outgoing(nursery: trio.Nursery, far: Far | None) -> tuple[Outgoing, Memory]:
    dialler = Memory(Register(Member(1).identity), "x", None, lambda serial: False, LIMITS)
    for name, value in (("far", far), ("nursery", nursery), ("attempts", [])):
        object.__setattr__(dialler, name, value)
    found = Outgoing(2, ADDRESS, dialler, random.Random(1), lambda: None)
    nursery.start_soon(found.keep)
    return found, dialler


async def read(stream: trio.abc.Stream, take: Callable[[int, bytes], None]) -> None:
    try:
        await read_frames(stream, FrameReader(1 << 20), b"", take)
    except (PeerError, trio.BrokenResourceError):
        return


async def answers(stream: trio.abc.Stream) -> None:
    """A far end that answers each ping a tenth of a second later."""
    pings: list[bytes] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read, stream, lambda kind, body: pings.append(body) if kind == PING else None)
        while True:
            await trio.sleep(0.1)
            while pings:
                await stream.send_all(frame(PONG, pings.pop(0)))


async def says_nothing(stream: trio.abc.Stream) -> None:
    await read(stream, lambda kind, body: None)


async def only_pulses(stream: trio.abc.Stream) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(says_nothing, stream)
        while True:
            await stream.send_all(frame(PULSE, b""))
            await trio.sleep(LIMITS.beat_s)


async def closes_after_a_word(stream: trio.abc.Stream) -> None:
    await stream.send_all(frame(PULSE, b""))
    await trio.sleep(1)
    await stream.aclose()


async def test_an_idle_member_stays_connected_and_its_round_trip_is_known(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        link, dialler = outgoing(nursery, answers)
        await trio.sleep(600)
        assert link.connected_since == 0
        assert link.round_trip_s == pytest.approx(0.1, abs=0.1)
        assert link.heard is not None
        assert trio.current_time() - link.heard <= 1.2
        assert len(dialler.attempts) == 1
        nursery.cancel_scope.cancel()


async def test_a_member_too_busy_to_answer_pings_but_alive_stays_connected(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        link, dialler = outgoing(nursery, only_pulses)
        await trio.sleep(60)
        assert link.connected_since == 0
        assert link.round_trip_s is None
        assert len(dialler.attempts) == 1
        nursery.cancel_scope.cancel()


async def test_a_silent_member_is_given_up_and_called_again(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        link, _ = outgoing(nursery, says_nothing)
        await trio.sleep(SILENT_S - 0.01)
        assert link.connected_since == 0
        await trio.sleep(0.02)
        assert link.connected_since is None
        assert link.why_not == f"it has been silent for {SILENT_S:g} s"
        assert not link.send(frame(1, plain.encode(None)))
        assert link.dropped >= 1
        await trio.sleep(1)
        assert link.connected_since is not None
        nursery.cancel_scope.cancel()


async def test_whoever_was_held_up_himself_blames_nobody(mock_clock: MockClock) -> None:
    """The process stood still for a minute: words of the others wait unread, and are read before anyone is given up."""
    async with trio.open_nursery() as nursery:
        link, _ = outgoing(nursery, answers)
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(20):
            mock_clock.jump(60)
            await trio.testing.wait_all_tasks_blocked()
            assert link.connected_since == 0
        nursery.cancel_scope.cancel()


async def test_pauses_grow_to_a_limit_and_begin_anew_after_success(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        link, dialler = outgoing(nursery, None)
        await trio.sleep(30)
        moments = [moment for moment, _ in dialler.attempts]
        pauses = [after - before for before, after in itertools.pairwise(moments)]
        for number, pause in enumerate(pauses):
            most = min(LIMITS.retry_first_s * 2**number, LIMITS.retry_most_s)
            assert most / 2 <= pause <= most
        assert len(set(pauses[8:])) > 5, "chance spreads them"
        assert {host for _, host in dialler.attempts} == {"a", "b"}
        assert link.why_not == "nobody is there"
        object.__setattr__(dialler, "far", closes_after_a_word)
        await trio.sleep(10)
        late = [moment for moment, _ in dialler.attempts[-5:]]
        for before, after in itertools.pairwise(late):
            assert after - before <= 1 + LIMITS.retry_first_s
        nursery.cancel_scope.cancel()


async def test_the_log_says_once_who_is_out_of_reach_and_not_at_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with trio.open_nursery() as nursery:
        outgoing(nursery, None)
        await trio.sleep(FORBEARANCE_S * 0.9)
        assert caplog.records == []
        await trio.sleep(600)
        assert [record.getMessage() for record in caplog.records] == ["no connection to a member"]
        nursery.cancel_scope.cancel()


async def test_a_word_from_the_member_ends_the_pause(autojump_clock: MockClock) -> None:
    async with trio.open_nursery() as nursery:
        link, dialler = outgoing(nursery, None)
        await trio.sleep(10)
        before = len(dialler.attempts)
        link.hurry()
        await trio.testing.wait_all_tasks_blocked()
        assert len(dialler.attempts) == before + 1
        assert dialler.attempts[-1][0] == trio.current_time()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("talks", [True, False])
async def test_the_accepting_side_gives_up_the_silent_as_well(autojump_clock: MockClock, talks: bool) -> None:
    got: list[Plain] = []
    near, far = memory_stream_pair()
    connection = Connection(near, b"", hello(sender=2, receiver=1), None, "a:1")
    link = Incoming(connection, ADDRESS, lambda sender, kind, content: got.append(content), LIMITS)

    async def talk() -> None:
        number = 0
        while talks:
            await far.send_all(frame(PING, plain.encode(number)) + frame(1, plain.encode(number)))
            number += 1
            await trio.sleep(LIMITS.beat_s)

    with trio.fail_after(100):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(link.run)
            nursery.start_soon(says_nothing, far)
            nursery.start_soon(talk)
            await trio.sleep(60)
            if talks:
                assert len(got) == 60
                nursery.cancel_scope.cancel()
    assert trio.current_time() == 60, "all else ends by itself: the link is closed"


def test_links_need_no_loop_to_be_made() -> None:
    links = Links(Member(1).identity, Member(2).receive, Member(2).install)
    links.follow({2: ADDRESS})
    assert links.states()[2].why_not == "not tried yet"
    assert not links.send(2, 1, None)
    assert not links.send(3, 1, None)
    with pytest.raises(ValueError, match="kind 128"):
        links.send(2, 128, None)
