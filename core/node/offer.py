"""A snapshot that came from another member: whose it is between its arrival and the end of the turn that steps it."""

import trio

from core.node.disk import Snapshots
from core.raft.messages import InstallSnapshot
from core.store_lmdb.reception import Reception


class Offer:
    """The task that received it owns it until the drive loop has taken it, in one step; then the loop does."""

    def __init__(self, sender: int, message: InstallSnapshot) -> None:
        self.sender = sender
        self.message = message
        self.reception: Reception | None = None
        """The state, whole; None if it is not needed."""
        self.taken = False
        self.closed = False
        self.settled = trio.Event()
        """The turn is over: installed, or not wanted."""

    def close(self, snapshots: Snapshots | None) -> None:
        """Let go of it; what was installed of it stays."""
        self.closed = True
        if self.reception is not None and snapshots is not None:
            snapshots.close(self.reception)
        self.settled.set()
