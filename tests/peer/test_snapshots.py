"""Snapshots: streamed, in pieces, and both ends know how it ended."""

import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.lowlevel

from core.peer import Address, PeerError, PeerRefusedError, Plain, plain
from core.peer.frames import ARRIVED, BEGIN, END, PIECE, PULSE, REFUSED, frame
from core.peer.upgrade import SNAPSHOT
from tests.peer.callers import Caller, answering, calling, hello, request
from tests.peer.support import Member, Trust, Workshop, addresses, running, stream_of, until

MIB = 1 << 20
SIZE_MIB = 160


class Receiver(Member):
    """Takes snapshots as a test wants."""

    def __init__(self, number: int = 2, trust: Trust | None = None, **changes: Any) -> None:
        super().__init__(number, trust, **changes)
        self.size = 0
        self.ends: list[str] = []
        self.most_behind = 0
        self.produced = 0
        self.reached = trio.Event()
        self.go = trio.Event()
        self.go.set()
        self.refuse_at = -1

    async def install(self, sender: int, content: Plain, pieces: AsyncIterator[bytes]) -> None:
        try:
            async for piece in pieces:
                self.size += len(piece)
                self.most_behind = max(self.most_behind, self.produced - self.size)
                if self.size >= MIB:
                    self.reached.set()
                if 0 <= self.refuse_at <= self.size:
                    raise PeerRefusedError("no-space", "the disk is full")
            await self.go.wait()
        except PeerError as error:
            self.ends.append(str(error))
            raise
        except trio.Cancelled:
            self.ends.append("cancelled")
            raise
        self.ends.append("whole")

    def source(self, size_mib: int) -> Iterator[bytes]:
        for number in range(size_mib * 4):
            self.produced += MIB // 4
            yield bytes((number % 256,)) * (MIB // 4)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(MIB // 4)


@pytest.mark.parametrize("secure", [False, True])
async def test_a_large_snapshot_passes_through_little_memory(
    tmp_path: Path, secure: bool, record_property: Callable[[str, object], None]
) -> None:
    trusts: list[Trust | None] = [None, None]
    if secure:
        workshop = Workshop(tmp_path / "w")
        trusts = [Trust(workshop.issue(f"n{number}"), workshop.root) for number in (1, 2)]
    one, two = Member(1, trusts[0]), Receiver(2, trusts[1])
    async with running(one, two):
        tracemalloc.start()
        try:
            await one.links.send_snapshot(2, [b"about"], stream_of(two.source(SIZE_MIB)))
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert two.ends == ["whole"]
    assert two.size == SIZE_MIB * MIB
    assert most < 8 * MIB
    assert two.most_behind < 32 * MIB, "the sender waits for the receiver"
    record_property("checked", f"{SIZE_MIB} MiB through {most / MIB:.1f} MiB of memory of both ends")


async def test_the_link_works_on_meanwhile() -> None:
    one, two = Member(1), Receiver()
    two.go = trio.Event()
    async with running(one, two) as nursery:
        nursery.start_soon(one.links.send_snapshot, 2, None, stream_of([b"x"] * 3))
        await until(lambda: two.size == 3)
        assert one.links.send(2, 1, b"hello")
        await until(lambda: two.got)
        two.go.set()
        await until(lambda: two.ends == ["whole"])


async def test_an_installation_may_take_its_time() -> None:
    """Longer than silence is borne: both ends say that they live."""
    one, two = Member(1), Receiver()
    two.go = trio.Event()
    patience = one.links.limits.beat_s * one.links.limits.silent_beats
    async with running(one, two) as nursery:

        async def later() -> None:
            await trio.sleep(2 * patience)
            two.go.set()

        nursery.start_soon(later)
        await one.links.send_snapshot(2, None, stream_of([b"x"]))
        assert two.ends == ["whole"]


async def test_a_source_may_take_its_time() -> None:
    one, two = Member(1), Receiver()
    patience = one.links.limits.beat_s * one.links.limits.silent_beats

    async def slowly() -> AsyncIterator[bytes]:
        yield b"a"
        await trio.sleep(2 * patience)
        yield b"b"

    async with running(one, two):
        await one.links.send_snapshot(2, None, slowly())
        assert (two.ends, two.size) == (["whole"], 2)


async def test_a_refusal_in_the_middle_reaches_the_sender_with_its_reason() -> None:
    one, two = Member(1), Receiver()
    two.refuse_at = 2 * MIB
    async with running(one, two):
        with pytest.raises(PeerRefusedError, match="it refuses the snapshot: the disk is full") as caught:
            await one.links.send_snapshot(2, None, endless())
        assert caught.value.reason == "no-space"
        assert one.linked(two)
        two.refuse_at = -1
        await one.links.send_snapshot(2, None, stream_of([b"again"]))
        assert two.ends == ["the disk is full", "whole"]


async def test_a_refusal_out_of_a_nursery_is_one_too() -> None:
    class Nested(Receiver):
        async def install(self, sender: int, content: Plain, pieces: AsyncIterator[bytes]) -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(super().install, sender, content, pieces)

    one, two = Member(1), Nested()
    two.refuse_at = MIB
    async with running(one, two):
        with pytest.raises(PeerRefusedError, match="the disk is full"):
            await one.links.send_snapshot(2, None, endless())


async def test_a_snapshot_that_was_not_read_to_its_end_did_not_arrive() -> None:
    class Hasty(Member):
        async def install(self, sender: int, content: Plain, pieces: AsyncIterator[bytes]) -> None:
            await anext(pieces)

    one, two = Member(1), Hasty(2)
    async with running(one, two):
        with pytest.raises(PeerRefusedError, match="not read to its end"):
            await one.links.send_snapshot(2, None, stream_of([b"a", b"b"]))


async def test_a_sender_that_stops_leaves_no_half_snapshot(caplog: pytest.LogCaptureFixture) -> None:
    one, two = Member(1), Receiver()
    async with running(one, two):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.links.send_snapshot, 2, None, endless())
            await two.reached.wait()
            nursery.cancel_scope.cancel()
        await until(lambda: two.ends)
        assert "in the middle of a snapshot" in two.ends[0]
        assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
            "a snapshot was not taken"
        ]
        assert one.linked(two)


async def test_a_source_that_fails_says_so_itself() -> None:
    one, two = Member(1), Receiver()

    async def failing() -> AsyncIterator[bytes]:
        yield bytes(MIB)
        raise ArithmeticError("the disk is damaged")

    async with running(one, two):
        with pytest.raises(ArithmeticError, match="damaged"):
            await one.links.send_snapshot(2, None, failing())
        await until(lambda: two.ends)
        assert "in the middle of a snapshot" in two.ends[0]


async def test_a_receiver_that_goes_is_noticed() -> None:
    one, two = Member(1), Receiver()
    async with running(one), trio.open_nursery() as outer:
        with trio.CancelScope() as life:
            async with trio.open_nursery() as nursery:
                await nursery.start(two.run)
                one.links.follow(addresses(two))
                two.links.follow(addresses(one))
                outer.start_soon(fails_to_send, one, "it closed the connection|the connection broke")
                await two.reached.wait()
                life.cancel()
        assert two.ends == ["cancelled"]


async def fails_to_send(one: Member, why: str) -> None:
    with pytest.raises(PeerError, match=why):
        await one.links.send_snapshot(2, None, endless())


@pytest.mark.parametrize("whose", ["sender", "receiver"])
async def test_whoever_is_no_member_any_more_is_cut_off(whose: str) -> None:
    one, two = Member(1), Receiver()
    async with running(one, two):
        async with trio.open_nursery() as nursery:
            known = whose == "sender"
            nursery.start_soon(fails_to_send, one, "no longer a member" if known else "it closed|broke")
            await two.reached.wait()
            (one if known else two).links.follow({})
        await until(lambda: two.ends)
        assert two.ends == ["cancelled"] or known


async def test_one_snapshot_at_a_time_from_each_sender() -> None:
    one, two = Member(1), Receiver()
    two.go = trio.Event()
    async with running(one, two) as nursery:
        nursery.start_soon(one.links.send_snapshot, 2, None, stream_of([b"x"]))
        await until(lambda: two.size)
        with pytest.raises(PeerRefusedError, match="is being taken already") as caught:
            await one.links.send_snapshot(2, None, stream_of([b"y"]))
        assert caught.value.reason == "busy"
        two.go.set()
        await until(lambda: two.ends == ["whole"])


async def silence(caller: Caller) -> None:
    await trio.sleep_forever()


async def test_nobody_is_there() -> None:
    one = Member(1)
    async with running(one):
        with pytest.raises(PeerError, match="not a member known here"):
            await one.links.send_snapshot(2, None, endless())
        async with answering(silence) as address:
            pass
        one.links.follow({2: address})
        with pytest.raises(PeerError, match="it cannot be connected to: connection refused"):
            await one.links.send_snapshot(2, None, endless())


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frame(PIECE, b"x"), "it began a snapshot with a frame of kind 141"),
        (frame(BEGIN, b"\xa0"), "type dict"),
        (frame(BEGIN, b"\x00") + frame(PIECE, b"x")[:-1] + b"y", "wrong checksum"),
        (frame(BEGIN, b"\x00") + frame(PIECE, b"x") + frame(END, plain.encode([1, 0])), "not those that were sent"),
        (frame(BEGIN, b"\x00") + frame(1, b"x"), "kind 1 within a snapshot"),
        (frame(BEGIN, b"\x00") + frame(PIECE, bytes(MIB + 1)), "1048577 bytes; at most 1048576"),
        (frame(BEGIN, b"\x00") + frame(PULSE, b"") + frame(PIECE, b"x"), "silent for"),
        (b"nonsense", "no frame"),
    ],
    ids=range(8),
)
async def test_a_damaged_snapshot_is_not_taken_and_both_ends_know(sent: bytes, why: str) -> None:
    two = Receiver()
    async with running(two):
        two.links.follow({1: Address("n1", ())})
        async with calling(two) as caller:
            await caller.send(request(hello(), SNAPSHOT) + sent)
            status, _, behind = await caller.answer()
            assert status == 101
            with pytest.raises(PeerError):
                await caller.collect(behind)
            told = [plain.decode(body) for kind, body in caller.frames if kind == REFUSED]
        assert "whole" not in two.ends
        assert len(told) == 1
        assert why in str(told[0])


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (frame(1, b""), "kind 1, which has no business here"),
        (frame(REFUSED, b"\x01"), "kind 144, which has no business here"),
        (b"", "silent for"),
        (None, "it closed the connection"),
    ],
    ids=range(4),
)
async def test_a_receiver_that_answers_nonsense_is_left(sent: bytes | None, why: str) -> None:
    async def converse(caller: Caller) -> None:
        if sent is not None:
            await caller.send(sent)
            await trio.sleep_forever()

    one = Member(1)
    async with running(one), answering(converse) as address:
        one.links.follow({2: address})
        with pytest.raises(PeerError, match=why):
            await one.links.send_snapshot(2, None, endless())


async def test_a_word_of_arrival_before_the_end_is_not_believed() -> None:
    async def converse(caller: Caller) -> None:
        await caller.send(frame(ARRIVED, b""))
        await trio.sleep_forever()

    one = Member(1)
    async with running(one), answering(converse) as address:
        one.links.follow({2: address})
        with pytest.raises(PeerError, match="kind 143, which has no business here"):
            await one.links.send_snapshot(2, None, endless())
