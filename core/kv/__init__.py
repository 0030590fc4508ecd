"""The replicated keyspace: one revisioned map seen by two dialects, as a pure state machine.

Purpose. `Keyspace` applies the commands of `commands` to the ordered maps of `transaction`, in the order of the log,
and answers reads from them. Same commands, same outcome, on every member and at every replay: no clock, no randomness,
no I/O of its own. Time is the cluster time each batch carries.

Promises
- A command either takes effect whole or is refused (`errors`) and changes nothing.
- A command with n visible changes consumes n indexes. Each v2 event has its own; v3 sees all of them at the last one.
- A deletion leaves a record; history is readable back to the compaction floor, and waits are answered from it.
- No Python object per key: what is kept in memory is a handful of numbers.

Refused: a tree of its own for v2 (etcd split the two keyspaces, and its users still suffer), sessions that make
commands repeatable (whoever wants to repeat uses a compare).
"""
