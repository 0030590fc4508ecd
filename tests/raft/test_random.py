"""Random interleavings of proposals, saves, full disks and crashes, against what a log on paper holds."""

from collections.abc import Callable, Sequence
from random import Random

import pytest

from core.raft.machine import NotLeaderError, Raft, Ready, Role
from core.raft.members import Members
from core.raft.messages import Entry, HardState
from tests.raft.memory import MemoryLog, Place


class Member:
    """A member with its disk. Checks after each step what must hold; AssertionError if it does not."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.log: list[Entry] = []
        self.hard_state = HardState()
        self.applied: list[Entry] = []
        self.flushed = 0
        """How much of `applied` survives a crash."""
        self.pending: list[Ready] = []
        self.promised: set[int] = set()
        self.count = 0
        self.restart()

    def restart(self) -> None:
        """Find the disk as the crash left it."""
        del self.applied[self.flushed :]
        self.pending.clear()
        self.storage = MemoryLog(Place(0, 0), self.log)
        self.raft = Raft(1, Members((1,)), self.hard_state, len(self.applied), self.storage, Random(1))
        assert self.raft.role is Role.FOLLOWER
        self.raft.campaign()
        assert self.raft.term == self.hard_state.term + 1

    def propose(self) -> None:
        self.count += 1
        try:
            index = self.raft.propose(b"%d" % self.count)
        except NotLeaderError:
            assert self.raft.role is not Role.LEADER
            self.raft.campaign()
        else:
            assert index == self.raft.last_index

    def take(self) -> None:
        ready = self.raft.ready()
        if ready:
            self.pending.append(ready)

    def save(self) -> None:
        """The disk takes the oldest batch, whole, and says so."""
        if self.pending:
            ready = self.pending.pop(0)
            self._write(ready)
            self.raft.saved(ready)

    def save_and_crash(self) -> None:
        """The disk takes it, and nobody hears of it."""
        if self.pending:
            self._write(self.pending.pop(0))
        self.restart()

    def _write(self, ready: Ready) -> None:
        assert ready.hard_state.commit <= len(self.log), "a commit index ahead of the durable log"
        for entry in ready.entries:
            assert entry.index == len(self.log) + 1, "a hole in the log"
            assert not self.log or entry.term >= self.log[-1].term
            self.log.append(entry)
            self.storage.entries.append(entry)
        self.hard_state = ready.hard_state

    def full(self) -> None:
        """The disk is full: the newest batch is withdrawn, if nothing follows it."""
        self.take()
        if len(self.pending) == 1:
            self.raft.withdraw(self.pending.pop())

    def apply(self) -> None:
        while entries := self.raft.committed():
            for entry in entries:
                assert entry.index <= len(self.log), "committed before it was saved"
                assert entry == self.log[entry.index - 1], "committed what is not in the log"
                assert entry.index == len(self.applied) + 1, "out of order"
                self.applied.append(entry)
        assert self.raft.commit <= len(self.log)

    def flush(self) -> None:
        self.flushed = len(self.applied)


STEPS = {
    Member.propose: 8, Member.take: 6, Member.save: 6, Member.apply: 5, Member.flush: 1, Member.full: 1,
    Member.restart: 1, Member.save_and_crash: 1,
}  # fmt: skip


def run(seed: int, steps: int = 600) -> int:
    """One run; how many entries were applied at its end, when the disk is well again."""
    random = Random(seed)
    member = Member(random)
    seen: dict[int, Entry] = {}
    for step in random.choices(list(STEPS), list(STEPS.values()), k=steps):
        step(member)
        for entry in member.applied:
            assert seen.setdefault(entry.index, entry) == entry, "what was applied once was another entry later"
    if member.raft.role is not Role.LEADER:
        member.raft.campaign()
    member.take()
    while member.pending:
        member.save()
    member.apply()
    assert member.applied == member.log, "a healthy disk, and yet not all is committed"
    return len(member.applied)


SEEDS = range(1, 31)


@pytest.mark.parametrize("seed", SEEDS)
def test_random_run(seed: int) -> None:
    assert run(seed) > 50


def run_all() -> None:
    for seed in SEEDS:
        run(seed)


def commits_before_saved(raft: type[Raft], patch: pytest.MonkeyPatch) -> None:
    """Counts itself towards a commit when it hands an entry out."""
    ready = raft.ready

    def bad(self: Raft) -> Ready:
        found = ready(self)
        if found.entries:
            self.commit = self.log.saved_index = found.entries[-1].index
        return found

    patch.setattr(raft, "ready", bad)


def commits_again(raft: type[Raft], patch: pytest.MonkeyPatch) -> None:
    """Returns committed entries every time."""

    def bad(self: Raft) -> Sequence[Entry]:
        return self.log.read(1, self.commit, 1 << 20) if self.commit else ()

    patch.setattr(raft, "committed", bad)


def withdrawn_index_not_freed(raft: type[Raft], patch: pytest.MonkeyPatch) -> None:
    """Goes on counting behind an entry that is not in the log."""
    withdraw = raft.withdraw

    def bad(self: Raft, ready: Ready) -> None:
        last = self.last_index
        withdraw(self, ready)
        self.log.last_index = last

    patch.setattr(raft, "withdraw", bad)


def withdrawn_entry_counted(raft: type[Raft], patch: pytest.MonkeyPatch) -> None:
    """Takes a withdrawn entry for saved."""
    patch.setattr(raft, "withdraw", raft.saved)


def term_not_raised(raft: type[Raft], patch: pytest.MonkeyPatch) -> None:
    """Leads again in a term that is over."""
    campaign = raft.campaign

    def bad(self: Raft) -> None:
        campaign(self)
        self.term -= 1

    patch.setattr(raft, "campaign", bad)


@pytest.mark.parametrize(
    "mistake",
    [commits_before_saved, commits_again, withdrawn_index_not_freed, withdrawn_entry_counted, term_not_raised],
    ids=lambda mistake: mistake.__name__,
)
def test_a_mistake_is_noticed(
    mistake: Callable[[type[Raft], pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mistake(Raft, monkeypatch)
    with pytest.raises((AssertionError, ValueError)):
        run_all()
