"""Raft as a pure set of rules: the same inputs give the same outputs.

`Raft` (`machine.py`) owns the rules of one member. It does no I/O and knows no clock: time arrives as `tick`, what the
world must do leaves as a `Ready`. It is driven by one loop, which owns it:

    while True:
        feed it: tick(), propose(...), later step(message)
        ready = raft.ready()
        1. save ready.entries and ready.hard_state in ONE durable commit of the log
        2. raft.saved(ready)
        3. committed = raft.committed(): apply these entries in order, answer whoever waits

The contract: what must be durable before what
1. An entry is saved before this member counts itself towards its commit. `committed` never returns an entry of which
   a quorum, this member included only after `saved`, does not have it on disk. So nothing is applied, acknowledged
   or shown to a reader before it is durable.
2. Term and vote are saved before any message that tells of them leaves.
3. The commit index may be lost: it is found again. It is saved along with entries, never by a commit of its own.
4. The applied state is never ahead of the durable log: apply only what `committed` returned.
5. If saving fails for want of space, `withdraw(ready)` takes the entries back: they were never sent nor counted. Any
   other failure of the disk ends the process; what is on the disk then is found at the next start.

A crash between 1 and 2 or 2 and 3 loses nothing: at the start the log is read, and the entries behind the applied
index are committed anew (by a quorum of one, at once, after an entry of the new term).

Today the members are a quorum of one: election is won at once and there is no message to send. The seams are those
of a larger cluster: a hard state with a vote, terms, a commit rule that counts matches over voters and only commits
entries of the current term by count, entries apart from their commit.

Refused: callbacks into storage and timers within the rules (they cannot be simulated from a seed).
"""
