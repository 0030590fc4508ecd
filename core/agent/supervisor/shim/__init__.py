"""The shim: one small process a running unit, its parent, which goes on when the daemon does not.

It uses the standard library alone, and little of it: what is imported here is paid for once a unit. `main` is started
by `python -I -S` with the unit's directory as argument, and lives from the start of the unit to the end of its last
automatic restart. It is a subreaper: whatever the unit forks, however often it forks and whatever session it makes,
ends up as a child of the shim, so `no child left` is exact. It has a session of its own and reads signals as requests:
SIGTERM is `stop`.

The protocol is a directory a unit, which only the daemon's user can enter. Who writes what:

    unit        daemon   the unit's text as it came
    job         daemon   what is to be done, already parsed: `fields` is its form, `job` its words. Replaced by rename;
                         read at the start and at each automatic restart, so new text holds from the next start on
    lock        shim     locked by flock as long as it lives: there are never two
    control     shim     a FIFO of requests, a line each: `stop`, `reload N`. Made before the shim says that it is there
    status      shim     one page, written in place by one call, with a checksum (`status`): who the shim is (pid, start
                         time, boot), the unit's state, its result, its processes, the number of the last reload
    log.N       shim     what the unit wrote, numbered upwards, the oldest removed: bounded in size and number (`log`)
    ../events   daemon   a FIFO into which each shim writes its unit's name when its status has changed. Nobody reads:
                         nothing is lost, the status stands. Full: the shim says it again a second later

The daemon finds a shim again by the boot's id, pid and start time (field 22 of /proc/PID/stat), opens a pidfd first and
compares afterwards, so a pid that was used again deceives nobody. It opens `events` before it reads any status: what
changes between the two is told twice rather than not at all.

What happens at each line where somebody is killed:
- daemon, before the shim has its lock: the shim goes on, and the next daemon meets it by its status. Should both start
  one, the second finds the lock taken and leaves, and its daemon adopts the first.
- daemon, at any other time: nothing. Restart= goes on, the result waits in `status`.
- shim: the main process is killed by the kernel (PR_SET_PDEATHSIG), so nothing runs on unwatched; the daemon sees the
  pidfd, kills what else bears the unit's invocation id or sits in its cgroup, and calls the unit failed.
- the host: status and job name another boot; nothing runs; the daemon says `inactive`.
- between the unit's end and its status: the shim is the only witness; it writes the status before it ends, and a
  full disk does not hinder it, since the page is there already.

Nothing here waits without a limit of the unit's own: start, stop and restart have their timeouts, and whoever ignores
SIGTERM gets SIGKILL. A full disk loses log lines, says how many bytes when there is room again, and never stops the
unit; a reader that is slow does not exist, since logs are read from the files.
"""
