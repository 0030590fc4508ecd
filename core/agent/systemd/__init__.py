"""Units carried out by the systemd of this host, over D-Bus.

`executor` is the `Executor`; `files` the unit files in our directory; `bus` a connection to D-Bus; `manager` systemd's
own calls; `facts` what is known of one unit and how that reads as an `Actual`; `journal` what units wrote.

Promises. Our units are the files in one directory below /run, byte for byte as they were submitted, linked into
systemd's; a unit that the host has of its own is never replaced by one of the same name. What happens is told by
systemd's signals, nothing is polled. Jobs to stop are waited for, jobs to start are watched, so that a start that came
to nothing says why. Loads and unloads in any number cost one daemon-reload. When D-Bus is restarted or systemd executes
itself anew, calls raise ExecutorGone, the connection is made again, and the agent is told to list.

Refused: writing below /etc or anything that outlives a reboot, drop-ins, and doing without the bus (systemd's private
socket is its own).

Owns: its directory, the connection, one task that reads it. Cancelled, a call may have had its effect. A crash between
writing files and daemon-reload is made good at the next `adopt`: a mark in the directory says so. Full queues: at most
CALLS calls are on their way, the others wait; changes as `core.agent.executor` says.
"""
