"""The leader of one term: replication, commit, reads, transfer, change of the members."""

from collections.abc import Sequence

from core.raft.log import ENTRY_BYTES
from core.raft.members import ChangeRefusedError, Standing, encode
from core.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Kind,
    ReadReply,
    Snapshot,
    TimeoutNow,
)
from core.raft.progress import Mode, Progress
from core.raft.quorum import has_majority, majority_index
from core.raft.reads import Asked, Read, ReadRounds
from core.raft.state import NotLeaderError, State


class TransferError(NotLeaderError):
    """The lead is being handed over; nothing was proposed."""


class Leader:
    """Exists while its member leads, and owns what only a leader knows."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.term_start = state.log.last_index + 1
        """Index of the first entry of the own term."""
        self.progress: dict[int, Progress] = {}
        """Every other member."""
        self.reads = ReadRounds()
        self.transferee = 0
        """Whom the lead is being handed to; 0: nobody."""
        self.uncommitted_bytes = 0
        """About what the entries of the own term take that were not returned to be applied."""
        self._transfer_elapsed = 0
        self._heartbeat_elapsed = 0
        self._follow_members()

    @property
    def established(self) -> bool:
        """Whether an entry of the own term is committed: before, the commit index may lag behind the truth."""
        return self._state.commit >= self.term_start

    @property
    def deposed(self) -> bool:
        """Whether a committed change took this member's vote: it leads up to there and no further."""
        return not self._state.may_stand and self._state.membership.changed_at <= self._state.commit

    def tick(self) -> bool:
        """Time passes. False if no quorum was heard since the last check: the lead is over."""
        state = self._state
        state.elapsed += 1
        self._heartbeat_elapsed += 1
        self._transfer_elapsed += 1
        if self._heartbeat_elapsed >= state.settings.heartbeat_ticks:
            self._heartbeat()
        if self._transfer_elapsed >= state.settings.election_ticks:
            self.transferee = 0
        if state.elapsed < state.settings.election_ticks:
            return True
        state.elapsed = 0
        heard = {state.member} | {member for member, progress in self.progress.items() if progress.active}
        for progress in self.progress.values():
            progress.active = False
        return has_majority(state.members.voters, heard)

    # Entries

    def propose(self, data: bytes, kind: Kind) -> int:
        """Append an entry of the own term."""
        if self.transferee:
            raise TransferError("the lead is being handed over")
        state = self._state
        entry = Entry(state.log.last_index + 1, state.term, kind, data)
        state.append(entry)
        self.uncommitted_bytes += len(data) + ENTRY_BYTES
        return entry.index

    def withdraw(self, entries: Sequence[Entry]) -> None:
        """They are not in the log any more, nor what they changed."""
        self.forget(entries)
        self._follow_members()

    def forget(self, entries: Sequence[Entry]) -> None:
        """They wait no more to be applied."""
        for entry in entries:
            if entry.index >= self.term_start:
                self.uncommitted_bytes -= len(entry.data) + ENTRY_BYTES

    def change(self, member: int, standing: Standing, context: bytes) -> int:
        """Append a change of the members, or only of what is kept of one of them."""
        state = self._state
        if not self.established:
            raise ChangeRefusedError("the leader has not committed an entry of its term yet")
        if state.membership.changed_at > state.commit:
            raise ChangeRefusedError("another change of the members is under way")
        members = state.members
        stays = context and standing is not Standing.NONE and members.standing(member) is standing
        if not stays:
            members = members.changed(member, standing)
        index = self.propose(encode(members, context), Kind.MEMBERSHIP)
        self._follow_members()
        if member in self.progress:
            self.progress[member].active = True  # it has until the check of the quorum after the next to be heard
        return index

    def advance_commit(self) -> None:
        """Commit what a quorum has durably, if it is of the own term (section 3.6.2)."""
        index = majority_index(self._state.members.voters, self._match)
        if index > self._state.commit and index >= self.term_start:
            self._state.commit = index

    def _match(self, member: int) -> int:
        """End of what is known to be durable at `member`."""
        if member == self._state.member:
            return self._state.log.saved_index
        return self.progress[member].match

    def _follow_members(self) -> None:
        """Serve whom the log names, from now on."""
        state = self._state
        others = [member for member in state.members.all if member != state.member]
        window = state.settings.window
        self.progress = {
            member: self.progress.get(member) or Progress(state.log.last_index + 1, window) for member in others
        }

    # To the followers

    def flush(self, *, news: bool) -> None:
        """Send what there is to send: once a turn, so that what came together leaves together. Word of a commit leaves
        without entries only if it is asked for (`news`)."""
        if self.reads.waiting:
            began = self.reads.begin(self._state.commit)
            if not self._finish_reads() and began:
                self._heartbeat()
        made: dict[int, Append] = {}
        for member, progress in self.progress.items():
            self._send(member, progress, made, news=news)

    @property
    def has_news(self) -> bool:
        """Whether a follower could be told of a commit."""
        commit = self._state.commit
        return any(
            progress.told < commit and progress.mode is Mode.REPLICATE and progress.may_send
            for progress in self.progress.values()
        )

    def _heartbeat(self) -> None:
        state = self._state
        self._heartbeat_elapsed = 0
        for member, progress in self.progress.items():
            commit = min(progress.match, state.commit)
            state.outbox.append((member, Heartbeat(state.term, commit, self.reads.current)))

    def _send(
        self,
        member: int,
        progress: Progress,
        made: dict[int, Append],
        *,
        news: bool = True,
        even_nothing: bool = False,
    ) -> None:
        """Send entries as far as the window allows, or at least word of a commit (`news`), or a question
        (`even_nothing`).

        `made` are the messages of this moment by the place before their entries: members that are equally far get one
        and the same, which can be encoded once.
        """
        state = self._state
        log = state.log
        while progress.may_send:
            previous = progress.next - 1
            told = not news or progress.told >= state.commit
            if previous >= log.last_index and told and not (even_nothing or progress.mode is Mode.PROBE):
                return
            if previous < log.floor:
                self._send_snapshot(member, progress)
                return
            append = made.get(previous) or made.setdefault(previous, self._append(previous))
            state.outbox.append((member, append))
            progress.sent(previous + len(append.entries), state.commit)
            even_nothing = False

    def _append(self, previous: int) -> Append:
        """The entries behind a place, as many as one message carries."""
        state, log = self._state, self._state.log
        entries: tuple[Entry, ...] = ()
        if previous < log.last_index:
            entries = tuple(log.read(previous + 1, log.last_index, state.settings.message_bytes))
        return Append(state.term, previous, log.term(previous), state.commit, entries)

    def _send_snapshot(self, member: int, progress: Progress) -> None:
        """Ask the driver to bring the state."""
        state = self._state
        index = state.applied
        snapshot = Snapshot(index, state.log.term(index), state.membership.at(index))
        state.outbox.append((member, InstallSnapshot(state.term, snapshot)))
        progress.await_snapshot(index)

    # From the followers

    def on_append_reply(self, sender: int, reply: AppendReply) -> None:
        progress = self.progress.get(sender)
        if progress is None:
            return
        log = self._state.log
        if not reply.rejected and reply.index > log.last_index:
            raise ValueError(
                f"member {sender:x} has the log up to entry {reply.index}, its leader only to {log.last_index}: the"
                " leader's disk has lost entries"
            )
        if reply.rejected:
            hint, _ = log.agreement(reply.hint_index, reply.hint_term)
            if progress.rejected(reply.index, hint) and progress.mode is Mode.REPLICATE:
                progress.probe()
            return
        news = progress.accepted(reply.index)
        enough = progress.match if progress.mode is Mode.PROBE else log.floor
        if progress.mode is not Mode.REPLICATE and reply.index >= enough:
            progress.replicate()
        if news:
            self.advance_commit()
            self._hand_over_if_ready()

    def on_heartbeat_reply(self, sender: int, reply: HeartbeatReply) -> None:
        progress = self.progress.get(sender)
        if progress is None:
            return
        progress.answered()
        if progress.match < self._state.log.last_index:
            self._send(sender, progress, {}, even_nothing=True)
        if reply.round:
            self.reads.acknowledge(sender, reply.round)
            self._finish_reads()

    def snapshot_done(self, member: int, arrived: bool) -> None:
        """The driver's word on a snapshot it was to bring."""
        progress = self.progress.get(member)
        if progress is not None and progress.mode is Mode.SNAPSHOT:
            progress.snapshot_ended(arrived)

    # Reads

    def read(self, member: int, token: int) -> None:
        """A member asks from which index on it may read; refused before this leader knows what is committed."""
        if self.established:
            self.reads.ask(member, token)
        else:
            self._answer(Asked(member, token), 0)

    def _finish_reads(self) -> bool:
        """Answer the round under way, if a quorum of those who are members now has acknowledged it."""
        state = self._state
        if not has_majority(state.members.voters, self.reads.acknowledge(state.member, self.reads.current)):
            return False
        index, answered = self.reads.finish()
        for asked in answered:
            self._answer(asked, index)
        return True

    def _answer(self, asked: Asked, index: int) -> None:
        state = self._state
        if asked.member == state.member:
            state.answers.append(Read(asked.token, index))
        else:
            state.outbox.append((asked.member, ReadReply(state.term, asked.token, index)))

    def retire(self) -> None:
        """The lead is over: refuse what waits here. Others ask anew."""
        for asked in self.reads.give_up():
            if asked.member == self._state.member:
                self._state.answers.append(Read(asked.token, 0))

    # Transfer

    def transfer(self, member: int) -> None:
        """Hand the lead to a voter as soon as it has the whole log; given up after an election's time."""
        state = self._state
        if member == state.member:
            return
        if state.members.standing(member) is not Standing.VOTER:
            raise ChangeRefusedError(f"member {member:x} is no voter and cannot lead")
        if member != self.transferee:
            self.transferee = member
            self._transfer_elapsed = 0
            self._hand_over_if_ready()

    def _hand_over_if_ready(self) -> None:
        state = self._state
        if self.transferee in self.progress and self.progress[self.transferee].match == state.log.last_index:
            state.outbox.append((self.transferee, TimeoutNow(state.term)))

    def take_leave(self) -> None:
        """This leader is a voter no more: tell what is committed, and let who has most of the log go on at once."""
        state = self._state
        made: dict[int, Append] = {}
        for member, progress in self.progress.items():
            self._send(member, progress, made)
        successor = max(state.members.voters, key=self._match)
        state.outbox.append((successor, TimeoutNow(state.term)))
