"""Bringing committed entries into the keyspace, and telling whoever waits for them or watches."""

from collections import deque
from collections.abc import Callable, Sequence

import msgspec

from core.kv import commands, membership
from core.kv.commands import Batch
from core.kv.keyspace import Keyspace
from core.kv.membership import Change, Member
from core.kv.steps import Steps, finish
from core.node.clock import ClusterClock
from core.node.errors import UnreadableEntryError
from core.node.flight import Flight
from core.node.forwarding import Forwarded
from core.node.queue import Done
from core.node.retention import Retention
from core.raft import members
from core.raft.messages import Entry, Kind
from core.watch.hub import MANY, Hub


class Applier:
    """Applies what the log says, not what was meant to be written to it: the data is decoded anew."""

    def __init__(
        self,
        member: int,
        keyspace: Keyspace,
        hub: Hub,
        clock: ClusterClock,
        flight: Flight,
        forwarded: Forwarded,
        retention: Retention,
    ) -> None:
        self._member = member
        self._keyspace = keyspace
        self._hub = hub
        self._clock = clock
        self._flight = flight
        self._forwarded = forwarded
        self._retention = retention
        self.on_members: Callable[[], None] = lambda: None
        """Called when the members, or what is known of them, may have changed."""
        self._answers: deque[tuple[Done, object]] = deque()
        """Outcomes of what is applied, on their way to those who wait."""
        self._noted: dict[int, Change] = {}
        """Changes of the members that are in the log and not applied: those count already."""

    def note(self, entries: Sequence[Entry]) -> None:
        """These entered the log, in the place of what was there."""
        for entry in entries:
            if entry.kind == Kind.MEMBERSHIP:
                self._noted[entry.index] = membership.decode(members.context(entry.data))
                self.on_members()

    def known_members(self) -> list[Member]:
        """The members as applied, and those whom a change that is under way lets in."""
        known = {member.id: member for member in self._keyspace.members()}
        for change in self._noted.values():
            known |= {member.id: member for member in change.described if member.id not in known}
        return list(known.values())

    def apply(self, entry: Entry) -> None:
        """Apply the next entry whole: data, events, answers."""
        finish(self.steps(entry))
        self.answer()

    @property
    def owes_answers(self) -> bool:
        """Whether somebody is to be told what is applied already."""
        return bool(self._answers)

    def answer(self, most: int | None = None) -> None:
        """Tell all of them, in order, or some: to render what a large transaction came to takes a while."""
        for _ in range(len(self._answers) if most is None else min(most, len(self._answers))):
            done, outcome = self._answers.popleft()
            done(outcome)

    def steps(self, entry: Entry) -> Steps[None]:
        """The same in steps, if it may take long (`Keyspace.steps`), but for the answers, which `answer` gives."""
        self._retention.applied(entry.index, len(entry.data))
        if entry.kind == Kind.MEMBERSHIP:
            self._apply_members(entry)
            return
        batch = _decoded(entry) if entry.data else None
        if batch is not None:
            self._clock.advance(batch.time)
        outcomes, events = yield from self._keyspace.steps(entry.index, entry.term, batch)
        if len(events) <= MANY:
            self._hub.publish(events)
        else:
            many = deque(events)
            events.clear()
            yield from self._hub.publish_many(many)
        waiting = self._flight.land(entry.index, entry.term)
        if waiting:
            self._answers.extend(zip(waiting, outcomes, strict=True))
        elif batch is not None and batch.origins:
            self._answer_own(batch, outcomes)

    def _answer_own(self, batch: Batch, outcomes: Sequence[object]) -> None:
        """Answer what this member had forwarded to the leader that wrote the batch."""
        for origin in batch.origins:
            if origin.member == self._member:
                for number in range(origin.count):
                    proposal = self._forwarded.take(origin.token + number)
                    if proposal is not None:
                        self._answers.append((proposal.done, outcomes[origin.first + number]))

    def _apply_members(self, entry: Entry) -> None:
        self._noted.pop(entry.index, None)
        counted = self._keyspace.counted_members
        before = members.decode(counted).all if counted else ()
        now = members.decode(entry.data)
        left = set(before) - set(now.all)
        change = membership.decode(members.context(entry.data))
        self._keyspace.apply_members(entry.index, entry.term, members.encode(now), left, change)
        for done in self._flight.land(entry.index, entry.term):
            done(change)
        if change.member == self._member:
            proposal = self._forwarded.take(change.token)
            if proposal is not None:
                proposal.done(change)
        self.on_members()


def _decoded(entry: Entry) -> Batch:
    try:
        return commands.decode(entry.data)
    except msgspec.MsgspecError as error:
        raise UnreadableEntryError(
            f"entry {entry.index} of the log cannot be understood ({error}). If a later version wrote it, upgrade this "
            "member; else its log is damaged, and it is to be replaced"
        ) from error
