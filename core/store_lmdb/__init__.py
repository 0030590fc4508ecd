"""The disk of one member: its log and its state, each an LMDB environment in the data directory.

Purpose. `LogStore` keeps entries and hard state, `StateStore` what they came to, `DataDirectory` holds both together.
All of it is plain synchronous code for one thread; a call that writes has written when it returns, but for
`StateStore.begin_flush`, which has a thread of its own.

What is durable before what
1. `LogStore.append` is one record of the journal or one commit of the log. When it returns, entries and hard state are
   on the disk; before, none of them counts. Nothing may be answered, and no vote or acknowledgement sent, on the
   strength of it earlier. What the journal holds goes to the log's environment in one commit with the mark that makes
   the journal begin anew.
2. `StateStore.put` and `delete` go to memory, where reads see them at once. A flush brings all of them to the disk in
   one commit: data, history and the applied position together. What is written while one is under way waits for the
   next.
3. So the state on the disk is that after some whole batch, and never ahead of the durable log: the node applies only
   what is committed, and flushes after the log. What the state lacks after a crash is replayed from the log.
4. The log forgets entries only when a flushed state (or an installed snapshot) contains them.
5. A snapshot that replaces the state is written and synced as `state-N` first; then one commit of the log records it
   and drops the entries; then the old state goes. A crash in between leaves one of the two whole.
6. A commit writes its pages where no live page is, syncs, then writes and syncs one meta page. A crash leaves the
   commit before or the commit itself, whatever reached the disk of it, in whatever order.
7. Every row carries a checksum, written at its commit and checked at every read of it from the disk.

Refused: `sync=False`, `metasync=False` and `writemap` (each gives up 6), a second open of a file. In a thread beside a
busy one, many puts are slow, since py-lmdb lets go of the interpreter at each; a flush there writes a few at a time,
and gives the others theirs in between.

When it fails. No room is `DiskFullError`: all is as before and may be tried again. Anything else the disk refuses is
`DiskFailedError`, and the process must end. What was never written there is `CorruptError`.
"""
