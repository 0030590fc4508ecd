"""What reaches a process beside the messages of raft."""

from typing import NamedTuple

from core.raft.members import Standing
from core.raft.messages import InstallSnapshot
from tests.raft.simulator.state import State


class Parcel(NamedTuple):
    """A snapshot with its state, whole."""

    message: InstallSnapshot
    state: State


class Outcome(NamedTuple):
    """How the sending of a snapshot ended."""

    receiver: int
    arrived: bool


class Miss(NamedTuple):
    """The connection to a member broke."""

    member: int


class Write(NamedTuple):
    """A client's write, or one that another member passes on."""

    number: int
    """Not 0, and never used again."""
    forwarded: bool = False


class Query(NamedTuple):
    """A client's linearizable read."""

    token: int


class Change(NamedTuple):
    """An operator changes the members."""

    member: int
    standing: Standing
    joins: bool = False
    """Whether it was never a member before."""


class HandOver(NamedTuple):
    """An operator moves the lead."""

    member: int
