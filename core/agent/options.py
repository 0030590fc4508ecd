"""What an agent is told about its host and itself."""

from typing import Literal

import msgspec

from core.sched.records import Machine

OnStop = Literal["leave", "move"]


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one agent. Times in seconds."""

    machine: Machine
    """The host as others are to see it; the agent fills in `session`."""
    on_stop: OnStop = "leave"
    """What becomes of units when the agent is asked to end: they stay, or move to other hosts."""
    ttl: int = 30
    """How long the host counts as present without a word from it."""
    listing: float = 60.0
    """How often all units are listed, in case a change was missed."""
    stop_patience: float = 5.0
    """How long a round waits for units to be unloaded before it goes on with the others."""
