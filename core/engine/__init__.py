"""The engine: it decides which unit runs on which machine, and writes that down for the agents.

One engine in the cluster works at a time, elected through `core.client.Election` under the key `leader`, so that it
works on any store, an etcd that somebody already has included. The leader keeps a mirror of all the cluster's records
(one paged reading at one revision, one watch from there), lets `core.sched.planner` decide, slice by slice, and writes
each task in a transaction of its own.

Promises. Each transaction compares the election key's create and last revision, the unit's revision and those of the
placements it replaces: the late word of a deposed engine changes nothing, and neither does a decision on something that
has changed meanwhile. What became of a write whose answer is lost is found out, never guessed: the election key is
written again, after which the lost write can no longer come, and then the mirror is caught up. A task carries its
reason. Nothing is planned on a mirror that has not been read whole. A registry that was emptied, or went back to an
older snapshot, makes the engine hold or settle (`story`) before any agent is told to believe it.

Refused: deciding anything but by the planner; being asked to decide (the API writes what is wanted, and the engine
finds it there; `sight` shows others what there is); running beside another engine by agreement.

Owns: its lease, the election key, every key under `placements/`, the key `generation` where nobody else wrote it, and
the deletion of `texts/` that nobody refers to. Cancelled, it resigns; in a crash its lease ends and the next engine
reads everything anew: there is nothing else to lose. At most IN_FLIGHT transactions are under way; planning waits
for them.
"""
