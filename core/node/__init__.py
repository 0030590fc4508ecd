"""The node: drives raft against the disk and the state machine, one turn after another.

A turn (`Node._turn`) takes what waits, at most BATCH_COMMANDS commands or BATCH_BYTES of them, makes them one log
entry with one cluster time, saves it in one durable commit, applies what became committed, answers the waiting
requests and tells the watchers. Whoever proposes during a turn is in the next one: the longer a commit takes, the
larger the next batch (group commit).

Who owns what. The node alone writes the log, the state and the keyspace; everybody else reads the keyspace between
turns, on the same thread, and sees whole batches. There is no await between reading and answering.

Order on the disk. An entry is durable in the log before it is applied; the state is flushed behind, never ahead. A
crash before the log commit loses only what was not acknowledged; after it the entry is applied at the next start. A
crash between log commit and flush costs a replay of at most FLUSH_ROWS rows or FLUSH_SECONDS of work.

Full. The queue holds at most QUEUE_COMMANDS commands and QUEUE_BYTES bytes; beyond, a proposal is refused
(OverloadedError) and nothing waits. Below the low-water mark of the disk, or above the quota, commands that add data
are refused before they are proposed (NoSpaceError); deletes and compaction go on, at last from the reserve. Memory of
the node: the queue, one batch twice (objects and bytes), and what waits for a flush.

Cancelled, or told to stop: what is queued is still carried out, the state flushed, then `run` returns. A disk that
fails in any other way than for want of space ends the process: nothing is tried twice.

Commits are made in line while the disk answers within IN_LINE_SECONDS (`pace`): a hop to a thread costs a lone
writer some 0.25 ms. On slower disks they are made in a thread, and requests are read meanwhile. The state is always
flushed in line, in slices: beside a busy interpreter each put of a flush would wait for the interpreter's lock.
"""
