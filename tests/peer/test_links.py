"""Links between members, plain and over TLS."""

from pathlib import Path

import pytest
import trio

from core.addresses import Url
from core.peer import Address, Limits, Plain, open_listeners, plain
from core.peer.connection import read_frames
from core.peer.frames import PULSE, FrameReader, frame
from tests.peer.callers import Caller, answering
from tests.peer.support import (
    LOOPBACK,
    Member,
    Trust,
    Workshop,
    addresses,
    introduce,
    running,
    stream_of,
    until,
)


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path / "w")


def member(number: int, workshop: Workshop | None) -> Member:
    trust = None if workshop is None else Trust(workshop.issue(f"n{number}"), workshop.root)
    return Member(number, trust)


@pytest.mark.parametrize("secure", [False, True])
async def test_values_arrive_whole_and_in_order(workshop: Workshop, secure: bool) -> None:
    one, two, three = (member(number, workshop if secure else None) for number in (1, 2, 3))
    values: list[Plain] = [None, True, -5, 2**64 - 1, "ä", b"\0\xff", [], [1, [b"x" * 3_000_000, [False]]], 0]
    async with running(one, two, three):
        for value in values:
            assert one.links.send(2, 7, value)
            assert two.links.send(1, 8, value)
            assert three.links.send(1, 9, value)
        await until(lambda: len(two.got) == len(values) and len(one.got) == 2 * len(values))
    assert two.got == [(1, 7, value) for value in values]
    assert [got for got in one.got if got[0] == 2] == [(2, 8, value) for value in values]
    assert [got for got in one.got if got[0] == 3] == [(3, 9, value) for value in values]


async def test_what_cannot_be_sent_is_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.peer.outbox.write_now", lambda stream, data: 0)  # nothing leaves at once
    limits = Limits(frame_bytes=1000, queue_bytes=2000, beat_s=0.05, retry_first_s=0.005)
    one, two = Member(1, limits=limits), Member(2)
    async with running(one, two):
        assert not one.links.send(3, 1, None)
        assert not one.links.send(2, 1, b"x" * 1001)
        assert one.links.send(2, 1, b"x" * 900)
        assert one.links.send(2, 1, b"y" * 900)
        assert not one.links.send(2, 1, b"z" * 900)
        state = one.links.states()[2]
        assert state.dropped_frames == 2
        assert 1800 < state.queued_bytes < 2000
        await until(lambda: len(two.got) == 2)
        await until(lambda: one.links.states()[2].queued_bytes == 0)
        assert one.links.send(2, 1, b"z" * 900)
        await until(lambda: len(two.got) == 3)


async def test_a_slow_receiver_costs_a_bounded_queue_and_no_link() -> None:
    """It says that it lives, but reads nothing for a while; then it reads all that was queued, in order."""
    limits = Limits(frame_bytes=65536, queue_bytes=1 << 20, queue_frames=1000, beat_s=0.02, silent_beats=5)
    one = Member(1, limits=limits)
    read_on = trio.Event()
    last = trio.Event()
    got: list[int] = []

    def take(kind: int, body: bytes) -> None:
        match plain.decode(body):
            case [int(number), bytes()]:
                got.append(number)
                if number == sent[-1]:
                    last.set()

    async def slow(caller: Caller) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pulse, caller)
            await read_on.wait()
            await read_frames(caller.stream, FrameReader(1 << 20), b"", take)

    async def pulse(caller: Caller) -> None:
        while True:
            await caller.send(frame(PULSE, b""))
            await trio.sleep(limits.beat_s)

    sent: list[int] = []
    async with running(one), answering(slow) as address:
        one.links.follow({2: address})
        await until(lambda: one.links.states()[2].connected_since is not None)
        since = one.links.states()[2].connected_since
        for round_ in range(400):
            for number in range(round_ * 10, round_ * 10 + 10):
                if one.links.send(2, 1, [number, b"x" * 10_000]):
                    sent.append(number)
            state = one.links.states()[2]
            assert state.queued_bytes <= limits.queue_bytes
            await trio.sleep(0.001)
        assert state.dropped_frames > 100
        assert state.dropped_frames + len(sent) == 4000
        assert trio.current_time() - (since or 0) > 3 * limits.beat_s * limits.silent_beats
        read_on.set()
        with trio.fail_after(10):
            await last.wait()
        assert got == sent
        assert one.links.states()[2].connected_since == since


async def test_a_restarted_member_is_found_again_soon() -> None:
    slow = Limits(retry_first_s=1000, retry_most_s=1000)
    one, two = Member(1, limits=slow), Member(2)
    async with running(one):
        async with trio.open_nursery() as nursery:
            await nursery.start(two.run)
            introduce(one, two)
            await until(lambda: one.linked(two))
            port = two.port
            nursery.cancel_scope.cancel()
        await until(lambda: one.links.states()[2].why_not)
        again = Member(2)
        again.listeners = await open_listeners([Url("http", "127.0.0.1", port)])
        async with trio.open_nursery() as nursery:
            await nursery.start(again.run)
            again.links.follow(addresses(one))
            await until(lambda: one.linked(again))  # its own call ends the pause
            assert one.links.send(2, 1, b"welcome")
            await until(lambda: again.got)
            nursery.cancel_scope.cancel()


async def test_the_end_of_a_member_is_noticed() -> None:
    one, two = Member(1), Member(2)
    async with running(one):
        async with trio.open_nursery() as nursery:
            await nursery.start(two.run)
            introduce(one, two)
            await until(lambda: one.linked(two) and two.linked(one))
            assert not one.lost
            nursery.cancel_scope.cancel()
        await until(lambda: one.lost)
    assert one.lost == [2]


async def hangs_up(caller: Caller) -> None:
    await caller.stream.aclose()


async def test_the_urls_of_a_member_are_tried_in_turn() -> None:
    one, two = Member(1), Member(2)
    async with running(one, two, linked=False):
        async with answering(hangs_up) as nobody:
            pass
        two.links.follow(addresses(one))
        one.links.follow({2: Address("n2", (*nobody.urls, Url("http", "127.0.0.1", two.port)))})
        await until(lambda: one.linked(two))
        assert one.links.states()[2].url == f"http://127.0.0.1:{two.port}"
        await one.links.send_snapshot(2, None, stream_of([b"x"]))


async def test_who_is_not_followed_is_cut_off_at_once() -> None:
    """From the moment `follow` returns nothing of it is received, whatever it sent before."""
    one, two, three = Member(1), Member(2), Member(3)
    async with running(one, two, three):
        for number in range(100):
            one.links.send(2, 1, number)
        two.links.follow(addresses(three))
        before = len(two.got)
        await until(lambda: "not in the cluster" in one.links.states()[2].why_not)
        assert len(two.got) == before
        assert not two.links.send(1, 1, None)
        assert two.linked(three)


async def test_follow_may_be_called_while_receiving() -> None:
    class Remover(Member):
        def receive(self, sender: int, kind: int, content: Plain) -> None:
            super().receive(sender, kind, content)
            self.links.follow({})

    one, two = Member(1), Remover(2)
    async with running(one, two):
        for number in range(10):
            one.links.send(2, 1, number)
        await until(lambda: two.got)
        await until(lambda: "not in the cluster" in one.links.states()[2].why_not)
        assert two.got == [(1, 1, 0)]


async def test_a_member_that_moves_is_followed_to_its_new_place() -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        before = one.links.states()[2].connected_since
        one.links.follow(addresses(two))
        assert one.links.states()[2].connected_since == before, "nothing changed: the link stays"
        two.listeners += await open_listeners([LOOPBACK])
        moved = Address("n2", two.address.urls[:1] * 2)
        one.links.follow({2: moved})
        assert not one.linked(two)
        await until(lambda: one.linked(two))
        for listener in two.listeners[1:]:
            for socket in listener.sockets:
                socket.socket.close()


async def test_states_tell_how_a_link_stands() -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        await until(lambda: one.links.states()[2].round_trip_s is not None)
        await until(lambda: one.links.states()[2].connected_from)
        one.links.send(2, 1, b"x")
        await until(lambda: two.got and one.links.states()[2].queued_bytes == 0)
        state = one.links.states()[2]
        assert (state.name, state.program, state.why_not) == ("n2", "0.1.0", "")
        assert state.url == f"http://127.0.0.1:{two.port}"
        assert state.connected_from.startswith("127.0.0.1:")
        assert state.sent_frames >= 2
        assert state.heard is not None
        assert 0 < (state.round_trip_s or 0) < 1


async def test_cancelled_all_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    one, two = Member(1), Member(2)
    async with running(one):
        async with trio.open_nursery() as nursery:
            await nursery.start(two.run)
            introduce(one, two)
            await until(lambda: one.linked(two) and two.linked(one))
            nursery.start_soon(one.links.send_snapshot, 2, None, stream_of([b"x"] * 1000))
            nursery.cancel_scope.cancel()
        await until(lambda: not one.linked(two))
        await until(lambda: one.links.states()[2].connected_from == "")
        await until(lambda: "connection refused" in one.links.states()[2].why_not)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_full_queue_of_small_values_arrives() -> None:
    one, two = Member(1), Member(2)
    async with running(one, two):
        for number in range(8000):
            assert one.links.send(2, 1, number)
        await until(lambda: len(two.got) == 8000)
        assert [content for _, _, content in two.got] == list(range(8000))


async def test_what_was_queued_when_a_connection_broke_counts_as_dropped() -> None:
    """It is lost, not sent on the next connection: raft has repeated it by then."""
    leave = trio.Event()

    async def reads_nothing(caller: Caller) -> None:
        await caller.send(frame(PULSE, b""))
        await leave.wait()

    one = Member(1, limits=Limits(beat_s=60))
    async with running(one), answering(reads_nothing) as address:
        one.links.follow({2: address})
        await until(lambda: one.links.states()[2].heard is not None)
        queued = 0
        while one.links.send(2, 1, b"x" * 100_000):
            queued += 1
            await trio.sleep(0.0005)
        waiting = one.links.states()[2].queued_frames
        assert waiting > 100
        leave.set()
        await until(lambda: one.links.states()[2].why_not)
        assert one.links.states()[2].dropped_frames == 1 + waiting
        assert one.links.states()[2].queued_bytes == 0
