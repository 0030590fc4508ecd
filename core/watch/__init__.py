"""Watches: every change to whoever waits for it, in order, none twice, none left out.

`Hub.publish` is called by the node in the same synchronous step that applies the changes; opening a watch is
synchronous with it, so nothing falls between history and live. A watcher is in one of two states:

- live: matching events are put into its buffer as they happen, at most BUFFER of them;
- behind: it reads history from the index it has come to, in slices, and becomes live in the same step in which it
  reaches the end. A live watcher whose buffer is full is put behind: it loses its buffer, not its place.

So a slow reader costs a bounded buffer and its own reads; applying never waits, and nothing is dropped. The memory of
a watcher is its buffer (events are shared by all who wait for them).

A cancelled wait leaves the watcher as it was: the events it would have returned are returned by the next one. Closing
forgets it at once.

Refused: a ring of recent events (etcd v2's 1000: clients that fell behind had to start anew), and an await in the
publishing path.
"""
