"""A keyspace with a hub, and the list of everything that happened as the judge."""

from collections import deque
from collections.abc import Callable, Sequence

from core.kv.commands import Batch, Command
from core.kv.keyspace import Keyspace
from core.kv.memory import MemoryStore
from core.kv.records import Event
from core.watch.hub import Hub


class World:
    """Commands go in, events come out of the hub's watches."""

    def __init__(self) -> None:
        self.keyspace = Keyspace(MemoryStore())
        self.hub = Hub(self.keyspace)
        self.happened: list[Event] = []
        self.between: Callable[[], bool] | None = None
        """If it is there, events are published in steps, and this is called between them; False to end that with a
        reset."""
        self._index = 0

    def do(self, *commands: Command, time: int = 1) -> None:
        """Apply commands as one entry of the log, and publish what they changed."""
        events = self.apply(*commands, time=time)
        if self.between is None:
            self.hub.publish(events)
            return
        for _ in self.hub.publish_many(deque(events)):
            assert not self.hub.settled
            if not self.between():
                self.hub.reset()
                break
        assert self.hub.settled

    def apply(self, *commands: Command, time: int = 1) -> Sequence[Event]:
        """Apply only: watches hear nothing of it."""
        self._index += 1
        _, events = self.keyspace.apply(self._index, 1, Batch(time, commands))
        self.happened += events
        return events
