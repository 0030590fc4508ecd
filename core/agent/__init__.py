"""The agent: it makes what runs on this host match what is placed here, and tells the cluster what came of it.

Every host has one, member or worker. It holds one lease, under which lie the host's presence (`machines/<id>`) and the
states of its units; it watches only its own placements, and never reads other hosts' keys: cordons, drains and metadata
are the engine's business. What it finds placed it carries out through an `Executor` (`core.agent.executor`), of which
there are two: systemd over D-Bus and the embedded supervisor.

Promises. Nothing that runs is stopped without a reason that somebody gave: while the store is away, is another
cluster's, tells an older story (its generation went back) or tells of no units at all where there were some, everything
is kept as it is. An agent that starts anew, after a crash or an upgrade, takes over what runs and restarts none of it.
A unit that fails holds up no other; it is tried again with growing pauses. Only changes are written, several of them in
one transaction, nothing while nothing changes. Of two agents with one machine id the first goes on and the second ends
with a sentence that says so. What another machine may still have is loaded and not started, and a host whose lease may
have ended starts nothing that it had not started before: its units may be elsewhere by now. A unit with a health check
is not called running before the check says so.

When the store went back to an older snapshot, the machine record says so (`Machine.follows`), and the engine begins a
new generation after it has heard what runs.

Refused: deciding where anything runs (`core.engine` does), expanding templates, waiting for a unit before telling of
the next.

Owns: the executor while it runs, its lease, its keys under `machines/`, `states/`, and a small file in the data
directory with its session, the generation it believes in and the operator's restarts it has carried out. Cancelled, it
leaves units running and its lease to end by itself; `leave` and `move` at the end say which. A crash loses nothing that
the next start does not find again. Queues: the executor's changes are bounded, and when they overflow all is listed
again; states to be written are one slot a unit, the newest wins.
"""
