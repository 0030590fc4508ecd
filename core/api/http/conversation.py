"""A request and its response at the same time, without a task: the front end's loop calls, and nobody waits."""

from typing import TYPE_CHECKING

from core.api.http.hub import NEVER, Hub
from core.api.http.judge import Judge, RefusedError
from core.api.http.message import Talk
from core.api.http.wire import chunk

if TYPE_CHECKING:
    from core.api.http.connection import Connection


class Conversation:
    """The `Line` of one request. Input is read while the client takes what is sent to it, so neither grows."""

    __slots__ = ("_alarm", "_asked", "_begun", "_connection", "_hub", "_over", "_talk")

    def __init__(self, connection: "Connection", hub: Hub, talk: Talk) -> None:
        self._connection = connection
        self._hub = hub
        self._talk = talk
        self._alarm = NEVER
        self._asked = False
        self._begun = False
        self._over = False

    # For the handler's side

    @property
    def free(self) -> bool:
        """Whether the client has taken all that was sent."""
        return self._connection.out is None

    @property
    def begun(self) -> bool:
        """Whether the head is sent."""
        return self._begun

    def start(self, status: int, headers: bytes) -> None:
        """Send the head. RuntimeError the second time."""
        if self._begun:
            raise RuntimeError("a conversation was started twice")
        self._begun = True
        self._connection.begin_stream(status, headers)
        self._connection.limit_write()

    def send(self, *pieces: bytes) -> None:
        """Send each piece as one chunk."""
        if not self._begun:
            raise RuntimeError("a conversation must be started before a piece is sent")
        connection = self._connection
        connection.transmit(b"".join(map(chunk, pieces) if connection.http_1_1 else pieces))
        connection.limit_write()

    def wake(self) -> None:
        """Ask for a turn."""
        if not self._asked and not self._over:
            self._asked = True
            if self.free:
                self._hub.resume(self._connection)

    def wake_in(self, seconds: float) -> None:
        """Ask for a turn later."""
        self._alarm = self._hub.deadline(seconds)
        if self.free and not self._over:
            self._connection.deadline = self._alarm

    def end(self) -> None:
        """End the response properly."""
        if not self._over:
            self._over = True
            self._connection.end_stream(begun=self._begun, whole=True)
            self._talk.gone()

    # For the connection's side

    def begin(self, body: bytes, *, last: bool) -> None:
        """Hand over what is there of the request's body."""
        self._talk.begin(self)
        if not self._over and (body or last):
            self._talk.received(body, last=last)

    def hear(self, judge: Judge) -> bool:
        """Pass on what came of the body; whether that was the end of it."""
        try:
            request = judge.step()
        except RefusedError:
            self._connection.close()
            return True
        if request is None and (judge.unfinished or self._connection.readable):
            self._hub.resume(self._connection)
        data = judge.take_body() if request is None else request.body
        if not self._over and (data or request is not None):
            self._talk.received(data, last=request is not None)
        return request is not None

    def go_on(self) -> None:
        """Its turn: what was sent is taken, or there is input."""
        if self._asked and self.free and not self._over:
            self._asked = False
            self._talk.ready()
        if self.free and not self._over and self._talk.hungry:
            self._connection.read_on()

    def expire(self) -> bool:
        """The connection's deadline has passed; whether it was that of `wake_in`."""
        if not self.free:
            return False
        self._alarm = self._connection.deadline = NEVER
        self.wake()
        return True

    def resume(self) -> None:
        """All that was sent is taken."""
        self._connection.deadline = self._alarm
        self._hub.resume(self._connection)

    def cancel(self) -> None:
        """The client has gone, or the server stops."""
        if not self._over:
            self._over = True
            self._connection.end_stream(begun=self._begun, whole=False)
            self._talk.gone()
