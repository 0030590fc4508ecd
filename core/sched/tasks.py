"""What a plan consists of. Each task is one transaction of the engine, and says why it is done."""

import msgspec

from core.sched.records import Placement


class Place(msgspec.Struct, gc=False, frozen=True):
    """Create a placement."""

    unit: str
    machine: str
    placement: Placement
    why: str


class Move(msgspec.Struct, gc=False, frozen=True):
    """Delete the placement on `source` and create one on `machine`, in one transaction."""

    unit: str
    machine: str
    placement: Placement
    why: str
    source: str


class Unplace(msgspec.Struct, gc=False, frozen=True):
    """Delete a placement."""

    unit: str
    machine: str
    why: str


class Update(msgspec.Struct, gc=False, frozen=True):
    """Replace a placement where it stands: another text, desired state or restart counter."""

    unit: str
    machine: str
    placement: Placement
    why: str


Task = Place | Move | Unplace | Update


class Step(msgspec.Struct, gc=False, frozen=True):
    """What one slice of a plan came to."""

    tasks: tuple[Task, ...]
    revision: int
    """The revision of the view it was decided on."""


def outcome(task: Task) -> dict[str, Placement | None]:
    """What is on the machines that a task touches, once it is done."""
    match task:
        case Unplace(machine=machine):
            return {machine: None}
        case Move(machine=machine, placement=placement, source=source):
            return {source: None, machine: placement}
        case Place(machine=machine, placement=placement) | Update(machine=machine, placement=placement):
            return {machine: placement}
