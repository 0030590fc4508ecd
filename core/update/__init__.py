"""Updates of hosts that take turns, and can go back.

Purpose. `semaphore` is the lock under which hosts reboot, as a value; `reboot_lock` keeps it in the store, in the keys
and words of locksmith, whose tools may work on it at the same time, and `lock_keys` says which; `voters` is what a
voting member needs beside it; `windows` says when a host may reboot. `records` and `keys` are what operators want,
hosts report and the cluster offers; `plan` decides from them who goes next, and `conductor` is the elected task that
plans from its `mirror` of them and writes. `host` is the updater of one host.

Promises
- Taking what one holds already succeeds, so a host that does not know whether it got the lock may ask again.
- A holder is let go by itself, by an operator, or, where the group has an expiry, because the cluster's clock says that
  it has been away for so long: the mark of its being there ends with a lease, and no host's clock is asked.
- Every change is one transaction that compares what was read. Several locks are had together or not at all.
- A conductor's changes compare its election and what its plan has seen, so one that was deposed, or whose world has
  changed, changes nothing. Plans are made in slices and take at most a tenth of a processor.

Refused: waiting in a queue at the server; who wants the lock asks again, with growing pauses.

It owns nothing but the conductor's lead: cancelled, it resigns, and a dead one is replaced in ten seconds. A cancelled
or interrupted call has had its effect or not, and may be repeated. Crashes leave the lock held by who holds it: that is
its purpose.
"""
