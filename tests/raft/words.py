"""Short words for what raft says and is, the same every time: the scenario files consist of them."""

from collections.abc import Sequence

from core.raft.leader import Leader
from core.raft.machine import Raft, Role
from core.raft.members import Members, context, decode
from core.raft.messages import (
    Append,
    AppendReply,
    Entry,
    Heartbeat,
    HeartbeatReply,
    InstallSnapshot,
    Kind,
    Message,
    PreVote,
    PreVoteReply,
    ReadReply,
    ReadRequest,
    TimeoutNow,
    Vote,
    VoteReply,
)
from core.raft.progress import Mode


def letter(sender: int, receiver: int, message: Message) -> str:
    """Who says what to whom, in which term."""
    return f"{sender}>{receiver} {type(message).__name__} t{message.term}{_body(message)}"


def _body(message: Message) -> str:
    match message:
        case PreVote() | Vote():
            invited = " invited" if isinstance(message, Vote) and message.transfer else ""
            return f" log {message.last_index}/{message.last_term}{invited}"
        case PreVoteReply() | VoteReply():
            return " yes" if message.granted else " no"
        case Append():
            return f" after {message.index}/{message.log_term}{_entries(message.entries)} commit {message.commit}"
        case AppendReply(rejected=True):
            return f" rejects {message.index}, try {message.hint_index}/{message.hint_term}"
        case AppendReply():
            return f" has {message.index}"
        case Heartbeat():
            return f" commit {message.commit}" + (f" round {message.round}" if message.round else "")
        case HeartbeatReply():
            return f" round {message.round}" if message.round else ""
        case InstallSnapshot(snapshot=snapshot):
            return f" of {snapshot.index}/{snapshot.term} members {members(snapshot.members)}"
        case ReadRequest():
            return f" {message.token}"
        case ReadReply():
            return f" {message.token} at {message.index}"
        case TimeoutNow():
            return ""


def _entries(entries: Sequence[Entry]) -> str:
    return "".join(f" +{entry.index}/{entry.term} {content(entry)}" for entry in entries)


def content(entry: Entry) -> str:
    """The data of an entry in a word or two."""
    if entry.kind == Kind.MEMBERSHIP:
        try:
            found, kept = decode(entry.data), context(entry.data).decode()
        except ValueError:
            return "[garbage]"
        return f"[{members(found)}{' ' + repr(kept) if kept else ''}]"
    if len(entry.data) > 20:
        return f"({len(entry.data)} bytes)"
    return entry.data.decode() or "-"


def members(found: Members) -> str:
    """Voters, and learners with a question mark."""
    return " ".join([str(member) for member in found.voters] + [f"{member}?" for member in found.learners]) or "nobody"


def role(raft: Raft) -> str:
    if raft.role is Role.FOLLOWER and raft.leader:
        return f"follows {raft.leader} in term {raft.term}"
    return f"is {raft.role.value} in term {raft.term}"


def summary(raft: Raft) -> str:
    """Who it is, and its role."""
    return f"{raft.member} {role(raft)}"


def state(raft: Raft) -> list[str]:
    """What a member is and has; of a leader also what it knows of the others."""
    log = raft.log
    unsaved = f" (saved to {log.saved_index})" if log.saved_index < log.last_index else ""
    line = (
        f"{summary(raft)}, vote {raft.vote or '-'}, log {log.floor + 1}..{log.last_index}{unsaved} of {terms(raft)},"
        f" commit {raft.commit}, members {members(raft.members)}"
    )
    return [line, *(progress(raft.lead) if raft.lead is not None else [])]


def terms(raft: Raft) -> str:
    """The term of each entry that is here."""
    log = raft.log
    return "".join(f"t{log.term(index)} " for index in range(log.floor + 1, log.last_index + 1)).strip() or "nothing"


def progress(lead: Leader) -> list[str]:
    """How a leader serves each of the others."""
    lines = []
    for member, known in lead.progress.items():
        more = f", {known.in_flight} under way" if known.in_flight else ""
        if known.mode is Mode.SNAPSHOT:
            more += f", snapshot of {known.snapshot}"
        silent = "" if known.active else ", not heard"
        lines.append(f"  {member} {known.mode.value}, has {known.match}, next {known.next}{more}{silent}")
    return lines
