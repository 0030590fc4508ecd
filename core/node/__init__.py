"""The node: drives raft against disk, peers and state machine, one turn after another.

A turn (`Node._turn`) takes what waits: time, messages of the other members, reads, and commands of at most
BATCH_OPERATIONS or BATCH_BYTES. A leader makes these one log entry with one cluster time; a follower hands them to the
leader. Then it does what raft's rules ask for, in the order of their contract (`core.raft`): a leader's messages
leave, one durable commit, the other messages leave, what became committed is applied, waiting requests are answered,
watchers told. Whoever proposes during a turn is in the next one: the longer a commit takes, the larger the next batch.

Who owns what. The drive loop alone touches raft, writes the log, the state and the keyspace; other tasks leave it what
they want (`receive`, `propose`, `confirm`, orders) and wake it. Everybody reads the keyspace between entries, on the
same thread, and sees whole batches. Snapshots go out and come in as tasks beside the loop, which begins and ends them.

Order on the disk. An entry is durable in the log before it is applied; the state is flushed behind, never ahead. A
crash before the log commit loses only what was not acknowledged; after it the entry is applied at the next start. A
crash between log commit and flush costs a replay of FLUSH_SECONDS of work, or FLUSH_ROWS rows; while a flush is under
way of what it takes along and at most twice as many rows behind it; and of the whole of an entry that has more. A
snapshot that comes in is whole, checked and durable before one log commit puts it in the place of the state.

Outcomes (decision 14). A refusal says that nothing was proposed. What was proposed, or handed to the leader, and is
not applied when the lead changes has an unknown outcome, and that is what the request is told; nobody repeats it. A
follower answers its requests when it has applied them itself: whoever wrote through it reads there what he wrote.

Full. Queue, inbox, what is proposed, forwarded or to be confirmed, each has its bound in number and bytes: about
QUEUE_BYTES + INBOX_BYTES + flight.BYTES + FORWARDED_BYTES, 320 MiB at the very worst, and beside it what raft keeps in
memory for each follower. A full queue refuses (OverloadedError); a full inbox drops, which raft survives. Below the
low-water mark of the disk, or above the quota, commands that add data are refused before they are proposed
(NoSpaceError); deletes and compaction go on, at last from the reserve. A member of many that cannot save for want of
room gives up the lead, is silent, and goes on from there when it can.

Safety nets. The members compare their states at entries that the leader proposes (`comparing`); who differs from most
is accused through the log and serves nothing any more (`fence`). A kind of command that not all members know yet is
refused where it is queued (`gating`).

Cancelled, or told to stop: what is queued is still carried out, the lead handed over, the state flushed, then `run`
returns. A disk that fails in any other way than for want of space ends the process: nothing is tried twice.

Commits are made in line while the disk answers within IN_LINE_SECONDS (`pace`): a hop to a thread costs a lone
writer some 0.25 ms. On slower disks they are made in a thread, and requests are read meanwhile. The state is flushed
by a thread of its own, which pauses after every few rows, so that the loop gets the interpreter's lock back.
"""
