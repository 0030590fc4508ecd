"""The updater of one host: from an order of the cluster to a new slot that has proved itself, or back.

Purpose. `updater` is the state machine, `course` says where it goes on after a crash, `journal` is the file it goes by;
`ports` is what it asks of its surroundings. `place` finds the disk and the slot in use; `slots` installs an image
(`releases` has it verified, `core.images` writes, `core.partitions.boot` tells the boot loader), `fetching` gets chunks
ahead of that, no faster than allowed; `turns` is the reboot lock, `orders` is the cluster's word and the host's report,
`machine` is the host: its units, its health, its restart.

Promises
- Each step may be said again. Killed at any moment, the next start goes on, or finds that another slot runs.
- The slot in use is never written to. The new one may start only when all of it was durable, read back and compared.
- The host restarts only while its order stands, inside its window, and under the strategy `lock` while it holds the
  lock, which it lets go when it is healthy again: in the new slot, or in the old one.
- An order that failed is not tried again under the same number.

Refused: deltas against one version (chunks that are in either slot are not fetched, whichever version they came from);
restarting a host for any other reason; giving up the lock because time has passed.

The journal belongs to one process at a time, the disk to who holds it open for an install. Cancelled or killed: nothing
is lost but what was fetched and not yet written. A full disk keeps the step from being entered, and the whole begins
again after a while, as after a crash: going on without a journal could restart a host for ever.
"""
