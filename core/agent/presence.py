"""The host's one lease and its machine record: that it is there, and that nobody else is it."""

import logging
import random
import secrets
from collections.abc import Awaitable, Callable

import msgspec
import trio

from core.agent.journal import Journal
from core.client import Compare, KeyValue, Put, Store
from core.client.errors import ClientError, LeaseNotFoundError, OutcomeUnknownError
from core.sched import keys
from core.sched.records import Drain, Generation, Machine, RecordError, decode, encode

log = logging.getLogger(__name__)

RENEW_SHARE = 3
"""The lease is renewed each third of its time, so that two renewals may fail."""
JITTER = 0.1
"""By how much of their time renewals are spread, so that a thousand hosts that started together drift apart."""
RETRY_SECONDS = 0.5
LONGEST_RETRY_SECONDS = 5.0
LOOK_EVERY = 3
"""Renewals between two looks at whether the machine record is still ours and the store goes forward."""
SIGNS_OF_LIFE = 3
"""How often another owner's lease must be renewed before it is believed to live: a change of the store's leader, or a
restored snapshot, makes each lease begin anew once."""


class DuplicateMachineError(Exception):
    """Another agent has this machine id, and lives. The text says which, and what to do."""


class Presence:
    """Registers and stays registered.

    `lease` is 0 while the host is not registered; `fence` is then a condition that never holds.
    """

    def __init__(
        self,
        store: Store,
        machine: Machine,
        ttl: int,
        chance: random.Random,
        reached: Callable[[], int],
        heard_of: Callable[[int, int], None],
        registered: Callable[[], None],
    ) -> None:
        self._store = store
        self._machine = machine
        self._ttl = ttl
        self._chance = chance
        self._reached = reached
        self._heard_of = heard_of
        self._registered = registered
        self._key = keys.machine(machine.id)
        self._lost = trio.Event()
        self._record_revision = 0
        self._furthest = 0
        self.follows: Generation | None = None
        """What the machine record says of the agent's faith in placements."""
        self.lease = 0

    @property
    def fence(self) -> Compare:
        """The condition that this agent is still the one that is registered."""
        return Compare(self._key, "mod", "=", self._record_revision or -1)

    def lose(self, why: str) -> None:
        """Registered no more, as somebody found out."""
        if self.lease:
            log.warning("this host counts as absent: %s; its units go on, and it registers again", why)
        self.lease = 0
        self._record_revision = 0
        self._lost.set()

    async def run(
        self,
        journal: Journal,
        save: Callable[[], Awaitable[None]],
        announce: Callable[[int], Awaitable[None]],
    ) -> None:
        """Register, renew, register anew when that is lost; never returns. DuplicateMachineError.

        `announce(lease)` writes the states of units before the machine appears, so that whoever sees the machine sees
        what runs on it. `save` makes the journal durable.
        """
        while True:
            self._lost = trio.Event()
            await self._register(journal, save, announce)
            self._registered()
            self._registered = _nothing
            await self._stay()

    def leave(self, drain: Drain | None) -> None:
        """Have the engine take all units away, or None: no more. It is said by registering anew, now or when the store
        can be reached again; `lease` is 0 until then."""
        if self._machine.leaving != drain:
            self._machine = msgspec.structs.replace(self._machine, leaving=drain)
            self.lease = 0
            self._record_revision = 0
            self._lost.set()

    async def give_up(self) -> None:
        """End the lease, and with it all that says this host is there."""
        lease, self.lease = self.lease, 0
        if lease:
            await self._store.revoke(lease)

    async def _register(
        self,
        journal: Journal,
        save: Callable[[], Awaitable[None]],
        announce: Callable[[int], Awaitable[None]],
    ) -> None:
        session = secrets.token_hex(8)
        journal.sessions = (*journal.sessions[-15:], session)
        await save()
        pause = RETRY_SECONDS
        while True:
            machine = msgspec.structs.replace(self._machine, session=session, follows=self.follows)
            try:
                if await self._attempt(machine, journal.sessions, announce):
                    break
            except (OutcomeUnknownError, LeaseNotFoundError):
                await trio.sleep(RETRY_SECONDS)
            except ClientError as error:
                log.warning("this host cannot be registered: %s", error)
                await trio.sleep(pause * self._chance.uniform(0.5, 1.5))
                pause = min(pause * 2, LONGEST_RETRY_SECONDS)

    async def _attempt(
        self, machine: Machine, sessions: tuple[str, ...], announce: Callable[[int], Awaitable[None]]
    ) -> bool:
        """Whether the host is registered. What is not known after an error is found out by the next attempt."""
        found = (await self._store.range(self._key)).first
        owner = None if found is None else _owner(found)
        if found is not None and not (owner and owner.session in sessions and owner.boot_id == machine.boot_id):
            await self._outwait(found, owner)
            return False
        if found is not None and found.lease:
            lease = found.lease
            await self._store.keep_alive(lease)
        else:
            lease = (await self._store.grant(self._ttl)).id
        await announce(lease)
        unchanged = Compare(self._key, "mod", "=", found.mod_revision if found else 0)
        done = await self._store.txn([unchanged], [Put(self._key, encode(machine), lease)])
        if not done.succeeded or machine.leaving != self._machine.leaving:
            return False
        self.lease, self._record_revision = lease, done.revision
        return True

    async def _outwait(self, found: KeyValue, owner: Machine | None) -> None:
        """Return when the other owner's record is gone; DuplicateMachineError if it is kept alive."""
        who = f"{owner.name or owner.address or 'a host'} ({', '.join(owner.endpoints)})" if owner else "somebody"
        refusal = DuplicateMachineError(
            f"machine id {self._machine.id} belongs to {who}, which is running. Two hosts cannot share an id, and the"
            " first one goes on: give this one an id of its own (a new /etc/machine-id, or a new data directory)"
        )
        if not found.lease:
            raise refusal
        log.info("machine id %s is registered by %s; waiting to see whether it lives", self._machine.id, who)
        signs, before = 0, None
        while signs < SIGNS_OF_LIFE:
            status = await self._store.time_to_live(found.lease)
            if before is not None and status.ttl > before:
                signs += 1
            before = status.ttl
            await trio.sleep(max(status.granted / RENEW_SHARE / 2, RETRY_SECONDS))
        raise refusal

    async def _stay(self) -> None:
        """Renew the lease until it is lost. While the store is away it may last: an outage makes leases longer."""
        renewals = 0
        pause = RETRY_SECONDS
        wait = self._ttl / RENEW_SHARE
        while True:
            with trio.move_on_after(wait * self._chance.uniform(1 - JITTER, 1 + JITTER)):
                await self._lost.wait()
                return
            try:
                await self._store.keep_alive(self.lease, seconds=self._ttl / RENEW_SHARE)
                renewals += 1
                if renewals % LOOK_EVERY == 0:
                    await self.look()
            except LeaseNotFoundError:
                self.lose("its lease has ended")
                return
            except ClientError as error:
                log.info("the lease of this host could not be renewed: %s", error)
                wait, pause = pause, min(pause * 2, LONGEST_RETRY_SECONDS)
            else:
                wait, pause = self._ttl / RENEW_SHARE, RETRY_SECONDS

    async def look(self) -> None:
        """Find out whether the host is still registered. ClientError."""
        reached = self._reached()  # before the question: a watch may overtake the answer
        found = await self._store.range(self._key)
        self._heard_of(found.revision, reached)
        if found.revision < self._furthest:
            self.lose("the store went back to an older snapshot")
        self._furthest = found.revision
        if found.first is None or found.first.mod_revision != self._record_revision:
            self.lose("its record was deleted or written by somebody else")


def _nothing() -> None:
    """Only the first time is told."""


def _owner(found: KeyValue) -> Machine | None:
    try:
        return decode(Machine, found.value)
    except RecordError:
        return None
