"""What a connection does."""

from enum import Enum
from typing import Final


class State(Enum):
    """What a connection does."""

    HANDSHAKE = "handshake"
    IDLE = "idle"
    """Between requests, nothing of the next one here or only what the last read brought."""
    RECEIVING = "receiving"
    """A part of a request is here."""
    BUSY = "busy"
    """The handler has the request."""
    STREAMING = "streaming"
    FLUSHING = "flushing"
    """The response is handed over and the client has not taken all of it."""
    LINGERING = "lingering"
    """The last response is sent, input is thrown away until the client has read it."""
    CLOSED = "closed"


HANDSHAKE: Final = State.HANDSHAKE
IDLE: Final = State.IDLE
RECEIVING: Final = State.RECEIVING
BUSY: Final = State.BUSY
STREAMING: Final = State.STREAMING
FLUSHING: Final = State.FLUSHING
LINGERING: Final = State.LINGERING
CLOSED: Final = State.CLOSED
