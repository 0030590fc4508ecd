"""Watches: every change to whoever waits for it, in order, none twice, none left out.

`Hub.publish` is called by the node in the same synchronous step that applies the changes; opening a watch is
synchronous with it, so nothing falls between history and live. Very many changes are published in steps
(`Hub.publish_many`) before anything else is applied: a watch opened meanwhile begins behind all of them.

Watches are of a path and its index (`path`, v2) or of a key or range of keys and their revision (`key`, v3; the
changes of one revision come together). Both are `watcher.Watcher`, which is in one of two states:

- live: matching events are put into its buffer as they happen, up to a weight of BUFFER;
- behind: it reads history from the number it has come to, in slices, and becomes live in the same step in which it
  reaches the end. A live watcher whose buffer is full is put behind: it loses its buffer, not its place.

So a slow reader costs a bounded buffer and its own reads; applying never waits, and nothing is dropped. The memory of
a watcher is its buffer (events are shared by all who wait for them); one that waits has none.

Whom an event concerns is found in dicts, and for ranges in `index`: the cost of an event is that of its watchers,
however many others are open. A watch that is behind reads the rows of its own keys, if they are few, instead of all
that happened (`core.kv.trail`).

A crowd on one range is offered an event in turns by `Hub.run`, so that ten thousand watches hold nobody up; `settled`
says whether all have it.

`Hub.reset` is for a keyspace that came to a later state otherwise than by events: a snapshot was installed. Every
watch then reads history from where it was.

A cancelled wait leaves the watcher as it was: the events it would have returned are returned by the next one. Closing
forgets it at once.

Refused: a ring of recent events (etcd v2's 1000: clients that fell behind had to start anew), and an await in the
publishing path.
"""
