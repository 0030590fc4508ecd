"""Raft as a pure set of rules: the same inputs give the same outputs.

`Raft` (`machine.py`) is the face of one member; `state.py` is what it knows in every role, `election.py`, `follower.py`
and `leader.py` the rules of the roles, `progress.py` what a leader knows of a follower, `reads.py` the rounds behind
linearizable reads, `members.py` and `quorum.py` who counts, `founding.py` the first entry of a cluster, `log.py` the
log over a storage that the rules only read, `messages.py` what travels. No I/O and no clock: time arrives as `tick`,
chance as a generator, messages as `step`; what the world must do leaves as a `Ready`. One loop drives it and owns it:

    while True:
        feed it: tick(), step(sender, message), propose(...), read(token), change(...), transfer(...)
        ready = raft.ready()
        1. send ready.messages
        2. install ready.snapshot, if there is one; save ready.entries and ready.hard_state in ONE durable commit of the
           log, if ready.must_save
        3. raft.saved(ready)
        4. send ready.held
        5. while entries := raft.committed(): apply them in order, answer whoever waits
        6. for read in raft.reads(): answer it once read.index is applied; index 0 is a refusal

Saving may be slow and apart: more Readys may be taken meanwhile, but they are saved, reported by `saved`, and their
held messages sent, in the order in which they were taken. A receiver may be unknown to the driver, for example removed
by now: what is for it is dropped.

The contract: what must be durable before what
1. An entry is saved before this member counts itself towards its commit, and before it says that it has it. `committed`
   never returns an entry that is not durable here: the applied state is never ahead of the durable log.
2. Term and vote are saved before any message that tells of them leaves. All but a leader's own messages are `held`; so
   are these while the term it leads in is not durable, which happens only where its own vote is a quorum.
3. A leader sends entries before it has saved them itself (section 10.2.1): `messages` needs no save.
4. The commit index may be lost: it is found again. It is saved along with entries, never by a commit of its own, and
   never ahead of the log that is saved with it.
5. A snapshot's state is durable before the log begins anew behind it, and that before `saved`. Where the log begins
   anew in a commit of its own, the hard state in it is `ready.hard_state` with the snapshot's index as its commit. An
   `InstallSnapshot` is stepped only when its state has come whole; it is of no use if no Ready asks for it then. Its
   sender may replace the `snapshot` in it by a newer one, and tells the leader once by `snapshot_done` how it ended.
6. Entries may be dropped from the storage up to the applied and flushed one, at any time between turns.
7. If saving fails for want of space: the only member, which `may_withdraw` tells, takes it back by `withdraw(ready)`,
   as nothing was sent; others keep the Ready and those after it, call `resign`, and save them when there is room. What
   is held meanwhile stays held, so such a member neither votes nor acknowledges, and a leader's window bounds what it
   is sent. Any other failure of the disk ends the process; what is on the disk then is found at the next start.
8. `MessageError` from `step` is the sender's fault: nothing was changed, its link is closed. Any other ValueError is
   proof that a promise was broken, here or elsewhere: the process ends, with that line as its last.

A crash between any two steps loses nothing that was promised: at the start the log is read, and what is behind the
applied index is committed anew.

Bounded: messages under way to a follower (`Settings.window`, `message_bytes`), saved entries in memory (`KEPT_BYTES`),
what `committed` returns (`apply_bytes`), one round of reads at a time. Not bounded here: entries that no quorum took
yet (`uncommitted_bytes`), and reads that wait; the driver refuses more, it has their callers.

Cannot be detected here: a member that comes back without its disk, or with an old copy of it, under its old id. It may
vote a second time in a term and confirm a log without what it once acknowledged. Some of it is noticed and ends a
member (rule 8: a heartbeat above the end of the log, two leaders in a term, a hard state that does not fit the log),
but only an id that is made with the disk and dies with it prevents it. Nor can a term be told from an invented one: a
peer that lies about its term forces elections. Peers are authenticated members; none is believed to lie.

Refused: callbacks into storage and timers within the rules (they cannot be simulated from a seed); leases for reads (a
paused process would answer from a stale lease); joint consensus (`members.py` says why); members that forward
proposals (whoever forwards must know that the outcome is unknown when the answer does not come: the node does).
"""
