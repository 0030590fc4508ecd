"""What a member does with the words of its leader (sections 3.5 and 7). Every answer waits for the save."""

from core.raft.messages import Append, AppendReply, Heartbeat, HeartbeatReply, InstallSnapshot, Snapshot
from core.raft.state import State


def on_append(state: State, sender: int, message: Append) -> None:
    """Take the entries, if the log has the place before them."""
    log = state.log
    if message.index < state.commit:
        reply = AppendReply(state.term, state.commit)
    elif log.matches(message.index, message.log_term):
        _take(state, message)
        last = message.index + len(message.entries)
        state.commit_to(min(message.commit, last))
        reply = AppendReply(state.term, last)
    else:
        hint, term = log.agreement(message.index, message.log_term)
        reply = AppendReply(state.term, message.index, True, hint, term)
    state.held.append((sender, reply))


def _take(state: State, message: Append) -> None:
    """Replace what contradicts, keep what agrees: the message may be old, and the log longer than it."""
    for entry in message.entries:
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
