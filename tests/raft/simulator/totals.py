"""What the runs came to, and how much they must have come to for their silence to mean anything."""

from dataclasses import asdict, dataclass, fields


@dataclass
class Totals:
    """Figures of one run, or of many. Each but `seeds` and `seconds` is a number of events."""

    seeds: int = 0
    seconds: float = 0.0
    """Simulated."""
    steps: int = 0
    elections: int = 0
    """Leaders that were elected."""
    snapshots: int = 0
    """Installed and durable."""
    changes: int = 0
    """Of the members, committed."""
    transfers: int = 0
    """Of the lead, asked for."""
    crashes: int = 0
    lossy_crashes: int = 0
    """Those that lost something that was not saved, or had to be applied again."""
    pauses: int = 0
    partitions: int = 0
    full_disks: int = 0
    """Saves that found no room."""
    withdrawn: int = 0
    """Saves that were taken back for want of room."""
    writes: int = 0
    """Acknowledged."""
    unknown: int = 0
    """Writes that were taken, and of which the client never heard."""
    reads: int = 0
    """Answered."""

    def add(self, other: "Totals") -> None:
        for name, value in asdict(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        parts = [f"{self.seeds:,} seeds", f"{self.seconds / 3600:,.1f} simulated hours"]
        names = [field.name for field in fields(self)][2:]
        return ", ".join(parts + [f"{getattr(self, name):,} {name.replace('_', ' ')}" for name in names])


LEAST = {
    "seconds": 60.0, "elections": 5.0, "snapshots": 3.0, "changes": 3.0, "transfers": 2.0, "crashes": 10.0,
    "lossy_crashes": 5.0, "pauses": 1.2, "partitions": 6.0, "full_disks": 4.0, "withdrawn": 0.01, "writes": 50.0,
    "unknown": 4.0, "reads": 30.0,
}  # fmt: skip
"""Each a seed, on average of many."""

ENOUGH_SEEDS = 50
"""Fewer say nothing about averages."""


def shortfalls(totals: Totals) -> list[str]:
    """What was exercised less than it must be."""
    if totals.seeds < ENOUGH_SEEDS:
        return []
    return [
        f"{name}: {getattr(totals, name) / totals.seeds:.2f} a seed, at least {least:g} wanted"
        for name, least in LEAST.items()
        if getattr(totals, name) < least * totals.seeds
    ]
