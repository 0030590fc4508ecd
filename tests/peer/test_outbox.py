"""Frames that leave at once, and those that wait for a slow reader: in order, whole, each once."""

import random

import pytest
import trio

from core.peer.frames import HEADER, FrameReader, frame
from core.peer.outbox import AT_ONCE, Outbox
from core.peer.secure import TlsStream
from core.peer.together import first_failure
from tests.peer.support import PATIENCE_S, Trust, Workshop

SIZES = [0, 1, 1000, 20_000, 300_000, AT_ONCE - HEADER.size, AT_ONCE, 3 * AT_ONCE]


async def pair(workshop: Workshop | None) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """Two ends of a connection over loopback."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    async with listener:
        near = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        far = await listener.accept()
    if workshop is None:
        return near, far
    ends = [Trust(workshop.issue(name), workshop.root) for name in ("n1", "n2")]
    secure = TlsStream(near, ends[0].client(), "127.0.0.1"), TlsStream(far, ends[1].server(), None)
    async with trio.open_nursery() as nursery:
        for stream in secure:
            nursery.start_soon(stream.shake_hands)
    return secure


@pytest.mark.parametrize("secure", [False, True])
async def test_frames_leave_in_order_whatever_the_kernel_takes(
    tmp_path_factory: pytest.TempPathFactory, secure: bool
) -> None:
    near, far = await pair(Workshop(tmp_path_factory.mktemp("ca")) if secure else None)
    chance = random.Random(7)
    sent = [(number % 100, chance.randbytes(chance.choice(SIZES))) for number in range(60)]
    got: list[tuple[int, bytes]] = []
    outbox = Outbox(1 << 30, 1 << 20)
    at_once = 0
    done = trio.Event()

    async def read() -> None:
        reader = FrameReader(4 * AT_ONCE)
        while len(got) < len(sent):
            got.extend(reader.feed(bytes(await far.receive_some(100_000))))
        done.set()

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.drain, near)
            await trio.testing.wait_all_tasks_blocked()
            for number, (kind, body) in enumerate(sent):
                written = outbox.written
                assert outbox.put(frame(kind, body))
                at_once += outbox.written - written
                if number == 30:
                    nursery.start_soon(read)
                if number > 30 and chance.random() < 0.5:
                    await trio.testing.wait_all_tasks_blocked(0.001)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await done.wait()
            nursery.cancel_scope.cancel()
    assert got == sent
    assert 0 < at_once < len(sent), "some left at once, some had to wait"
    assert outbox.written == len(sent)
    assert outbox.bytes == 0
    for stream in (near, far):
        await trio.aclose_forcefully(stream)


async def test_a_broken_connection_is_found_by_the_task_that_writes() -> None:
    near, far = await pair(None)
    outbox = Outbox(1 << 20, 100)

    async def put() -> None:
        while outbox.put(frame(1, b"x")):  # noqa: ASYNC110
            await trio.sleep(0.001)

    await trio.aclose_forcefully(far)
    with trio.fail_after(PATIENCE_S):
        reason = await first_failure(lambda: outbox.drain(near), put)
    assert str(reason) == "the connection broke"
    await trio.aclose_forcefully(near)
