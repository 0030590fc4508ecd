"""What this host tells of its units: changes only, many in one transaction, under the host's lease."""

import logging
from collections.abc import Mapping
from contextlib import suppress

import trio

from core.agent.presence import Presence
from core.client import Compare, Delete, Operation, Put, Store, prefix
from core.client.errors import ClientError, LeaseNotFoundError, OutcomeUnknownError
from core.sched import keys
from core.sched.records import RecordError, UnitState, decode, encode

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.05
"""How long a change waits for company."""
LONGEST_GATHER_SECONDS = 1.0
"""The same once BURST writes came in a row: a host that never comes to rest writes once in so long."""
BURST = 20
"""Writes that may follow one another quickly; each second of rest gives one back."""
RETRY_SECONDS = 1.0
SLICE = 50
"""States in one transaction; etcd takes 128 operations."""


class _Written:
    """What is known to stand in the store: each state with its revision."""

    def __init__(self) -> None:
        self.states: dict[str, tuple[UnitState | None, int]] = {}
        self.lease = 0
        self.known = False


class Reports:
    """`tell` is called with each unit's newest state; `run` writes what differs from what was written."""

    def __init__(self, store: Store, machine: str) -> None:
        self._store = store
        self._machine = machine
        self._states: dict[str, UnitState] = {}
        self._written = _Written()
        self._dirty = trio.Event()
        self._turn = trio.Lock()
        self.writes = 0
        """Transactions so far."""

    @property
    def states(self) -> Mapping[str, UnitState]:
        """Each unit's newest state."""
        return self._states

    def tell(self, name: str, state: UnitState | None) -> None:
        """A unit's state now; None: it is no more on this host."""
        if self._states.get(name) == state:
            return
        if state is None:
            del self._states[name]
        else:
            self._states[name] = state
        self._dirty.set()

    async def announce(self, lease: int) -> None:
        """Write all states under this lease, in the name of a host that is not registered yet. ClientError."""
        async with self._turn:
            await self._read(lease)
            await self._write(lease, None)

    async def run(self, presence: Presence) -> None:
        """Write changes as they come, while the host is registered; never returns."""
        left, counted = float(BURST), trio.current_time()
        while True:
            await self._dirty.wait()
            now = trio.current_time()
            left, counted = min(left + (now - counted) / LONGEST_GATHER_SECONDS, float(BURST)), now
            await trio.sleep(GATHER_SECONDS if left >= 1 else LONGEST_GATHER_SECONDS)
            left = max(left - 1, 0.0)
            self._dirty = trio.Event()
            try:
                async with self._turn:
                    await self._flush(presence)
            except LeaseNotFoundError:
                presence.lose("its lease has ended")
            except OutcomeUnknownError:
                self._written.known = False
                self._dirty.set()
            except ClientError as error:
                log.warning("states of units cannot be written: %s", error)
                self._dirty.set()
                await trio.sleep(RETRY_SECONDS)

    async def _flush(self, presence: Presence) -> None:
        lease = presence.lease
        if not lease:
            return  # registering writes them all
        if not self._written.known or self._written.lease != lease:
            await self._read(lease)
        if not await self._write(lease, presence.fence) and presence.lease == lease:
            await presence.look()

    async def _read(self, lease: int) -> None:
        """What stands in the store. A state under another lease is none of ours: it will end without us."""
        found = _Written()
        found.lease = lease
        start = keys.states(self._machine)
        async for page in self._store.pages(prefix(start)):
            for kv in page.kvs:
                state = None
                if kv.lease == lease:
                    with suppress(RecordError):  # one that another version wrote is replaced
                        state = decode(UnitState, kv.value)
                found.states[kv.key[len(start) :].decode(errors="replace")] = state, kv.mod_revision
        found.known = True
        self._written = found

    async def _write(self, lease: int, fence: Compare | None) -> bool:
        """Whether nothing had changed behind our back; else all is read and written again."""
        written = self._written.states
        todo = [name for name, state in self._states.items() if written.get(name, (None, 0))[0] != state]
        todo += [name for name in written if name not in self._states]
        for start in range(0, len(todo), SLICE):
            part = {name: self._states.get(name) for name in todo[start : start + SLICE]}
            # Each compares what stood there: a late word of an attempt that was given up changes nothing.
            compare = [Compare(self._key(name), "mod", "=", written.get(name, (None, 0))[1]) for name in part]
            change: list[Operation] = [
                Delete(self._key(name)) if state is None else Put(self._key(name), encode(state), lease)
                for name, state in part.items()
            ]
            self.writes += 1
            self._written.known = False
            done = await self._store.txn([*compare, *([fence] if fence else [])], change)
            if not done.succeeded:
                self._dirty.set()
                return False
            self._written.known = True
            for name, state in part.items():
                if state is None:
                    written.pop(name, None)
                else:
                    written[name] = state, done.revision
        return True

    def _key(self, name: str) -> bytes:
        return keys.state(self._machine, name)
