"""The one answer to one request, as the handler gets it."""

from typing import TYPE_CHECKING

from core.api.http.hub import Produce
from core.api.http.message import Response, Talk

if TYPE_CHECKING:
    from core.api.http.connection import Connection


class Answer:
    """The `Reply` of one request."""

    __slots__ = ("_body", "_connection")

    def __init__(self, connection: "Connection", body: bytes) -> None:
        self._connection: Connection | None = connection
        self._body = body

    def send(self, response: Response) -> None:
        """Send a whole response; nothing happens if the client has gone. RuntimeError at a second answer."""
        self._take().answer(response)

    def stream(self, produce: Produce) -> None:
        """Answer piece by piece from a task of its own. RuntimeError at a second answer."""
        self._take().stream(produce)

    def converse(self, talk: Talk) -> None:
        """Answer piece by piece while the body comes, without a task. RuntimeError at a second answer."""
        self._take().converse(talk, self._body)

    def _take(self) -> "Connection":
        connection = self._connection
        if connection is None:
            raise RuntimeError("a request was answered twice")
        self._connection = None
        return connection
