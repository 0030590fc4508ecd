"""What a member does with the words of its leader (sections 3.5 and 7). Every answer waits for the save."""

from core.raft.messages import Append, AppendReply, Entry, Heartbeat, HeartbeatReply, InstallSnapshot, Snapshot
from core.raft.state import State


def on_append(state: State, sender: int, message: Append) -> None:
    """Take the entries, if the log has the place before them."""
    log, index, commit = state.log, message.index, state.commit
    last = index + len(message.entries)
    if index < commit:
        shared = min(commit, last)
        term = message.entries[shared - index - 1].term if shared > index else message.log_term
        _check_committed(state, sender, shared, term)
        _take(state, message.entries[commit - index :])
        last = max(commit, last)
    elif log.matches(index, message.log_term):
        _take(state, message.entries)
    else:
        hint, term = log.agreement(index, message.log_term)
        state.held.append((sender, AppendReply(state.term, index, True, hint, term)))
        return
    state.commit_to(min(message.commit, last))
    state.held.append((sender, AppendReply(state.term, last)))


def _check_committed(state: State, leader: int, index: int, term: int) -> None:
    """A leader has what is committed; where its last entry up to there agrees, so do all before it (section 3.6.3)."""
    if index > state.log.floor and term != state.log.term(index):
        raise ValueError(
            f"entry {index} is committed here with term {state.log.term(index)}, the leader {leader:x} has it with term"
            f" {term}: it was elected without a committed entry, by a member that lost its disk or runs from a copy"
        )


def _take(state: State, entries: tuple[Entry, ...]) -> None:
    """Replace what contradicts, keep what agrees: the message may be old, and the log longer than it."""
    for entry in entries:
        if entry.index <= state.log.last_index:
            if state.log.term(entry.index) == entry.term:
                continue
            state.truncate(entry.index)
        state.append(entry)


def on_heartbeat(state: State, sender: int, message: Heartbeat) -> None:
    if message.commit > state.log.last_index:
        raise ValueError(
            f"this member told its leader {sender:x} that it has the log up to entry {message.commit} at least, and has"
            f" it to {state.log.last_index}: its disk has lost entries. Remove it from the cluster and add it anew,"
            " under a new id"
        )
    state.commit_to(message.commit)
    state.held.append((sender, HeartbeatReply(state.term, message.round)))


def on_snapshot(state: State, sender: int, message: InstallSnapshot) -> Snapshot | None:
    """Whether the snapshot is to be installed; not if the log has all of it."""
    snapshot = message.snapshot
    if snapshot.index <= state.commit:
        _check_committed(state, sender, snapshot.index, snapshot.term)
        state.held.append((sender, AppendReply(state.term, state.commit)))
        return None
    state.held.append((sender, AppendReply(state.term, snapshot.index)))
    if state.log.matches(snapshot.index, snapshot.term):
        state.commit_to(snapshot.index)
        return None
    state.log.restore(snapshot)
    state.membership.restore(snapshot.index, snapshot.members)
    state.commit = state.applied = snapshot.index
    return snapshot
