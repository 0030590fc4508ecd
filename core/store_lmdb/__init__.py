"""The disk of one member: its log and its state, each an LMDB environment in the data directory.

Purpose. `LogStore` keeps entries and hard state, `StateStore` what they came to, `DataDirectory` holds both together.
All of it is plain synchronous code for one thread; a call that writes has written when it returns.

What is durable before what
1. `LogStore.append` is one commit of the log. When it returns, entries and hard state are on the disk; before, none of
   them is. Nothing may be answered, and no vote or acknowledgement sent, on the strength of it earlier.
2. `StateStore.put` and `delete` go to memory, where reads see them at once. `StateStore.flush` brings all of them to
   the disk in one commit: data, history and the applied position together.
3. So the state on the disk is that after some whole batch, and never ahead of the durable log: the node applies only
   what is committed, and flushes after the log. What the state lacks after a crash is replayed from the log.
4. The log forgets entries only when a flushed state (or an installed snapshot) contains them.
5. A snapshot that replaces the state is written and synced as `state-N` first; then one commit of the log records it
   and drops the entries; then the old state goes. A crash in between leaves one of the two whole.
6. A commit writes its pages where no live page is, syncs, then writes and syncs one meta page. A crash leaves the
   commit before or the commit itself, whatever reached the disk of it, in whatever order.
7. Every row carries a checksum, written at its commit and checked at every read of it from the disk.

Refused: `sync=False`, `metasync=False` and `writemap` (each gives up 6), commits in a thread (py-lmdb lets go of the
interpreter at every put, which beside a busy thread made a commit a thousand times slower), a second open of a file.

When it fails. No room is `DiskFullError`: all is as before and may be tried again. Anything else the disk refuses is
`DiskFailedError`, and the process must end. What was never written there is `CorruptError`.
"""
