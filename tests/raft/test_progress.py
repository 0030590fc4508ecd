"""What a leader knows of a follower, against a follower that is a plain number."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from core.raft.progress import Mode, Progress

WINDOW = 3


class Line(RuleBasedStateMachine):
    """A leader's log of `last` entries, a follower that has the first `has`, and a line that loses and delays.

    The follower's log agrees with the leader's as far as it goes. Everything the leader ever believes must be true of
    it: `match` never beyond what it has.
    """

    def __init__(self) -> None:
        super().__init__()
        self.last = 5
        self.floor = 0
        self.has = 2
        self.progress = Progress(self.last + 1, WINDOW)
        self.sent: list[tuple[int, int]] = []
        """Messages under way: the place before, and the last entry."""
        self.answers: list[tuple[int, bool, int]] = []
        """Index, whether accepted, hint."""
        self.snapshots: list[int] = []

    def turn(self) -> None:
        """As the leader's `_send` does."""
        progress = self.progress
        while progress.may_send:
            previous = progress.next - 1
            if previous >= self.last and progress.mode is not Mode.PROBE:
                return
            if previous < self.floor:
                self.snapshots.append(self.last)
                progress.await_snapshot(self.last)
                return
            last = min(previous + 2, self.last)
            self.sent.append((previous, last))
            progress.sent(last, self.last)

    @rule(count=st.integers(1, 4))
    def propose(self, count: int) -> None:
        self.last += count
        self.turn()

    @rule()
    def compact(self) -> None:
        self.floor = self.last

    @precondition(lambda self: self.sent)
    @rule(data=st.data(), keep=st.booleans())
    def arrive(self, data: st.DataObject, keep: bool) -> None:
        """Any message arrives, perhaps again later."""
        at = data.draw(st.integers(0, len(self.sent) - 1))
        previous, last = self.sent[at] if keep else self.sent.pop(at)
        if previous <= self.has:
            self.has = max(self.has, last)
            self.answers.append((last, True, 0))
        else:
            self.answers.append((previous, False, self.has))

    @precondition(lambda self: self.answers)
    @rule(data=st.data(), keep=st.booleans())
    def hear(self, data: st.DataObject, keep: bool) -> None:
        """Any answer arrives, perhaps again later."""
        at = data.draw(st.integers(0, len(self.answers) - 1))
        self.take(self.answers[at] if keep else self.answers.pop(at))

    def take(self, answer: tuple[int, bool, int]) -> None:
        index, accepted, hint = answer
        progress = self.progress
        if accepted:
            progress.accepted(index)
            enough = progress.match if progress.mode is Mode.PROBE else self.floor
            if progress.mode is not Mode.REPLICATE and index >= enough:
                progress.replicate()
        elif progress.rejected(index, hint) and progress.mode is Mode.REPLICATE:
            progress.probe()
        self.turn()

    @rule()
    def lose(self) -> None:
        self.sent.clear()
        self.answers.clear()

    @rule()
    def heartbeat(self) -> None:
        self.progress.answered()
        if self.progress.match < self.last and self.progress.may_send:
            previous = self.progress.next - 1
            if previous >= self.floor:
                last = min(previous + 2, self.last)
                self.sent.append((previous, max(last, previous)))
                self.progress.sent(max(last, previous), self.last)
        self.turn()

    @precondition(lambda self: self.snapshots)
    @rule(arrives=st.booleans())
    def end_snapshot(self, arrives: bool) -> None:
        index = self.snapshots.pop(0)
        if arrives:
            self.has = max(self.has, index)
            self.answers.append((index, True, 0))
        if self.progress.mode is Mode.SNAPSHOT:
            self.progress.snapshot_ended(arrives)

    @invariant()
    def what_is_believed_is_true(self) -> None:
        assert self.progress.match <= self.has

    @invariant()
    def it_stays_in_bounds(self) -> None:
        progress = self.progress
        assert progress.match < progress.next <= self.last + 1
        assert progress.in_flight <= WINDOW
        assert progress.mode is Mode.REPLICATE or not progress.in_flight
        assert progress.told <= self.last

    def teardown(self) -> None:
        """On a line that loses nothing the follower gets everything, in few rounds."""
        self.lose()
        for _ in range(3 * self.last + 12):
            self.heartbeat()
            while self.snapshots:
                self.end_snapshot(True)
            while self.sent:
                previous, last = self.sent.pop(0)
                accepted = previous <= self.has
                self.has = max(self.has, last) if accepted else self.has
                self.answers.append((last, True, 0) if accepted else (previous, False, self.has))
            while self.answers:
                self.take(self.answers.pop(0))
        assert (self.progress.match, self.has) == (self.last, self.last)


def test_against_a_number() -> None:
    run_state_machine_as_test(Line, settings=settings(max_examples=150, stateful_step_count=30, deadline=None))


@given(st.lists(st.integers(1, 3), min_size=1, max_size=20))
def test_the_window_is_freed_in_order(sizes: Sequence[int]) -> None:
    progress = Progress(1, WINDOW)
    progress.replicate()
    ends: list[int] = []
    for size in sizes:
        if not progress.may_send:
            progress.accepted(ends[-WINDOW])
        assert progress.may_send
        ends.append(progress.next + size - 1)
        progress.sent(ends[-1], 0)
    progress.accepted(ends[-1])
    assert (progress.in_flight, progress.next) == (0, ends[-1] + 1)


def _replicating(match: int) -> Progress:
    progress = Progress(match + 1, WINDOW)
    progress.accepted(match)
    progress.replicate()
    return progress


def test_an_old_rejection_does_not_stop_the_stream() -> None:
    progress = _replicating(5)
    assert not progress.rejected(5, 2)
    assert (progress.mode, progress.next) == (Mode.REPLICATE, 6)


def test_a_rejection_always_leads_further_down() -> None:
    """Even if the hint is the very place that was rejected, as at the floor of a compacted log."""
    progress = _replicating(2)
    progress.sent(9, 0)
    assert progress.rejected(9, 9)
    assert progress.next == 9
    progress.probe()
    assert progress.rejected(8, 8)
    assert progress.next == 8


def test_the_stream_begins_behind_what_is_known() -> None:
    """After a snapshot was expected to bring more than what is confirmed."""
    progress = _replicating(2)
    progress.await_snapshot(9)
    progress.snapshot_ended(True)
    assert progress.next == 10
    progress.accepted(5)
    progress.replicate()
    assert progress.next == 6
