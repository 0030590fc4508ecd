"""The reply of a watch that tells of events. One of very many is made some at a time, and so it is sent."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

from core.api.v3.watch_messages import END, beginning, reply
from core.kv.records import Event
from core.kv.steps import taken

EVENTS = 500
"""Events of a slice: about a millisecond."""
BYTES = 256 << 10
"""Of a slice, and more if the last event is larger."""


class Telling:
    """One line of the stream, or its fragments. Events are let go of as they are sent."""

    def __init__(
        self,
        header: bytes,
        watch_id: int,
        events: Sequence[Event],
        encode: Callable[[Event], bytes],
        fragment: int | None,
    ) -> None:
        """`fragment` is how many bytes of events a line may have, if the client takes several."""
        self._header = header
        self._id = watch_id
        self._events = deque(events)
        self._encode = encode
        self._pieces = self._whole() if fragment is None else self._fragments(fragment)
        self.ended = False

    def more(self) -> Iterator[bytes]:
        """What comes next, after one slice of work."""
        for piece in self._pieces:
            if piece:
                yield piece
            if self._events:
                return
        self.ended = True

    def _whole(self) -> Iterator[bytes]:
        before = b'%b,"events":[' % beginning(self._header, self._id)
        for encoded in self._slices():
            yield b"%b%b%b" % (before, b",".join(encoded), b"" if self._events else b"]" + END)
            before = b","

    def _fragments(self, limit: int) -> Iterator[bytes]:
        """Lines of so many bytes of events at most, or of one event that is larger; empty where a slice completed
        none."""
        line: list[bytes] = []
        size = 0
        for encoded in self._slices():
            for event in encoded:
                if line and size + len(event) > limit:
                    yield reply(self._header, self._id, b',"fragment":true,"events":[%b]' % b",".join(line))
                    line, size = [], 0
                line.append(event)
                size += len(event)
            yield b""
        yield reply(self._header, self._id, b',"events":[%b]' % b",".join(line))

    def _slices(self) -> Iterator[list[bytes]]:
        encoded: list[bytes] = []
        size = 0
        for event in taken(self._events):
            encoded.append(self._encode(event))
            size += len(encoded[-1])
            if len(encoded) >= EVENTS or size >= BYTES:
                yield encoded
                encoded, size = [], 0
        if encoded:
            yield encoded
