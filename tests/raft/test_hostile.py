"""Whatever a peer may put on the wire, in whatever state it arrives: never an exception that explains nothing."""

from collections.abc import Callable
from typing import Any, get_args

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from core.raft import messages
from core.raft.machine import Raft
from core.raft.members import Members, encode
from core.raft.messages import Append, Entry, Kind, Message, MessageError, Snapshot
from tests.raft.scenarios import Interpreter
from tests.raft.stage import Actor

SMALL = st.integers(0, 9)
SETS = st.sampled_from([Members((1,)), Members((1, 2, 3)), Members((1, 2), (3,)), Members((2, 3)), Members()])
SNAPSHOTS = st.builds(Snapshot, SMALL, SMALL, SETS)


def _entry(index: int, term: int, members: Members | None) -> Entry:
    return Entry(index, term, Kind.MEMBERSHIP, encode(members)) if members else Entry(index, term, Kind.COMMANDS, b"z")


@st.composite
def _appends(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Append:
    """Mostly with entries that follow one another: others are refused at once."""
    term, index = draw(st.integers(1, 9)), draw(SMALL)
    terms = sorted(draw(st.lists(st.integers(0 if draw(st.booleans()) else 1, term), max_size=4)))
    entries = [_entry(index + at, each, draw(st.none() | SETS)) for at, each in enumerate(terms[1:], 1)]
    return Append(term, index, terms[0] if terms and index else 0, draw(SMALL), tuple(entries))


def _any_of(kind: type[Message]) -> st.SearchStrategy[Message]:
    if kind is Append:
        return _appends()
    known: dict[Any, st.SearchStrategy[Any]] = {bool: st.booleans(), Snapshot: SNAPSHOTS}
    return st.builds(kind, *(known.get(field.type, SMALL) for field in msgspec.structs.fields(kind)))


ANY = st.one_of(_appends(), *map(_any_of, get_args(messages.Message)))
WIRE = st.lists(st.tuples(st.integers(1, 4), ANY, st.none() | st.integers(0, 3)), min_size=1, max_size=12)
COMMANDS = st.lists(
    st.sampled_from(
        ["campaign 1", "campaign 2", "tick 1 12", "tick 2 5", "propose 1 a b", "change 1 3 none", "change 1 4 learner",
         "change 1 2 learner", "read 1 5", "transfer 1 2", "compact 1 3", "compact 2 2", "slow 1", "slow 2", "save 1",
         "fast 2", "drop 1>2", "keep 2>1", "release", "settle", "settle", "crash 3", "resign 1"]
    ),
    max_size=12,
)  # fmt: skip


def _fitting(raft: Raft, message: Message, back: int) -> Message:
    """The entries of a message moved to where the log ends, `back` entries before that: they are taken there."""
    if not isinstance(message, Append):
        return message
    index = max(raft.log.last_index - back, raft.log.floor)
    terms = [raft.log.term(index), *(entry.term for entry in message.entries)]
    highest = max(terms)
    entries = [
        Entry(index + at, highest if at > 1 else max(entry.term, terms[0]), entry.kind, entry.data)
        for at, entry in enumerate(message.entries, 1)
    ]
    return Append(max(highest, raft.term), index, terms[0], message.commit, tuple(entries))


def _turn(actor: Actor, raft: Raft) -> None:
    """The driver's turn, without a look at what others apply: a peer that lies makes members differ."""
    while actor.waiting or (ready := raft.ready()):
        ready = actor.waiting.popleft() if actor.waiting else ready
        if ready.must_save:
            actor.disk.save(ready)
        raft.saved(ready)
    while raft.committed():
        pass
    raft.reads()


def _fingerprint(raft: Raft) -> object:
    log = raft.log
    return (
        *(raft.role, raft.term, raft.vote, raft.leader, raft.commit, raft.elapsed, raft.members, raft.applied),
        *(log.floor, log.last_index, log.saved_index, log.last_term, len(raft.held), len(raft.outbox)),
    )


@given(COMMANDS, st.integers(1, 2), WIRE)
@settings(max_examples=200)
def test_any_message_in_any_state(
    commands: list[str], member: int, wire: list[tuple[int, Message, int | None]]
) -> None:
    """A MessageError changes nothing; another ValueError ends the member; the rest it survives with its order kept."""
    interpreter = Interpreter()
    for command in ["members 1 2 3", "elect 1", *commands]:
        interpreter.carry_out(command)
    stage = interpreter.stage
    raft = stage.raft(member)
    _turn(stage.actors[member], raft)
    for sender, sent, back in wire:
        message = sent if back is None else _fitting(raft, sent, back)
        before, commit = _fingerprint(raft), raft.commit
        try:
            raft.step(sender, message)
        except MessageError:
            assert _fingerprint(raft) == before
            continue
        except ValueError as error:
            if "disk" not in str(error):  # all of these say whose disk forgot what
                raise
            return
        _turn(stage.actors[member], raft)
        log = raft.log
        assert raft.applied <= raft.commit <= log.last_index
        assert log.saved_index <= log.last_index
        assert raft.commit >= commit
        assert raft.term >= log.last_term
