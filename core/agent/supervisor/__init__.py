"""The embedded supervisor: runs units on hosts where systemd is not init, and in demonstrations on one machine.

`executor.Supervisor` is the `core.agent.executor.Executor`. It translates a unit's text (`translation`) into a job, and
gives each unit that runs a shim (`shim`), a small process that is its parent, keeps its log and its result, restarts
it, and outlives the daemon. The daemon knows of units by files and FIFOs in its directory, one a unit, and by a pidfd
for each shim; the docstring of `shim` is the protocol.

Promises. Units behave as systemd.service(5), systemd.exec(5) and systemd.kill(5) say, to the states, results and exit
codes, for the options `translation` lists; an option that has no effect here is named once when the unit is loaded, in
the daemon's log and in the unit's own. The daemon's end, by whatever signal, changes nothing about what runs. A unit
that is stopped is gone with all it forked, by its cgroup where the host gives us cgroups (`cgroups`), and by descent
from its shim. A shim that is killed takes its unit's main process with it; the rest is found by cgroup and invocation
id, and killed; the unit is failed, and the agent decides what to do.

Refused: units other than services and targets (timers, sockets, mounts and paths need systemd), Type=dbus, ordering and
requirements between units (their names are warned of), sandboxes (ProtectSystem= and its kin: warned of), a rate limit
on logs. A unit that is unloaded takes its log with it.

Who owns what: the daemon owns `unit` and `job`, a living shim the rest of its unit's directory. Cancelled, a call may
have had its effect or not, as the executor's contract says. Full: logs are bounded in bytes, the channel of changes by
CHANGES, FIFOs by the kernel, and each says what to do when there is no room.
"""
