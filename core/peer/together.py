"""The tasks of one connection: they end together, with one reason."""

from collections.abc import Awaitable, Callable

import trio

from core.peer.errors import LinkLostError, PeerError
from core.peer.secure import TlsStream, fault


async def first_failure(*tasks: Callable[[], Awaitable[None]]) -> PeerError:
    """Run tasks until the first raises PeerError or finds the connection broken; the others are cancelled.

    What else they raise is a fault of this program and is not caught.
    """
    reasons: list[PeerError] = []

    async def run(task: Callable[[], Awaitable[None]]) -> None:
        try:
            await task()
        except PeerError as error:
            reasons.append(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            reasons.append(LinkLostError(fault(error) or "the connection broke"))
        else:
            reasons.append(LinkLostError("the connection was closed"))
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for task in tasks:
            nursery.start_soon(run, task)
    return reasons[0]


async def close_gently(stream: trio.abc.Stream, seconds: float) -> None:
    """Say that no more comes, and read until the other side has read it; then close.

    Closing with unread input would reset the connection and could destroy what was sent last.
    """
    with trio.move_on_after(seconds):
        try:
            socket = stream.socket if isinstance(stream, TlsStream) else stream
            if isinstance(socket, trio.SocketStream):
                await socket.send_eof()
            while await socket.receive_some(65536):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
    await trio.aclose_forcefully(stream)
