"""A keyspace with a hub, and the list of everything that happened as the judge."""

from collections.abc import Sequence

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
        self._index = 0

    def do(self, *commands: Command, time: int = 1) -> None:
        """Apply commands as one entry of the log, and publish what they changed."""
        self.hub.publish(self.apply(*commands, time=time))

    def apply(self, *commands: Command, time: int = 1) -> Sequence[Event]:
        """Apply only: watches hear nothing of it."""
        self._index += 1
        _, events = self.keyspace.apply(self._index, 1, Batch(time, commands))
        self.happened += events
        return events
