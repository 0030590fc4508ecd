"""What a seed decides before the run begins."""

from dataclasses import dataclass, fields
from random import Random

from core.raft.state import Settings


@dataclass(frozen=True)
class Plan:
    """How a cluster is made and treated. Times in seconds, chances from 0 to 1."""

    voters: int
    """How many found the cluster."""
    target: int
    """How many voters the operator wants on average."""
    founded: int
    """The index of the state they begin with; 0: none, only the founding entry."""
    tick: float
    settings: Settings
    kept_bytes: int
    """Saved entries a member keeps in memory."""
    delay: float
    """The least a message takes."""
    jitter: float
    """How much longer it may take."""
    loss: float
    duplicate: float
    late: float
    """Chance to be overtaken by seconds."""
    save: float
    """A durable commit."""
    flush_every: int
    """Entries applied before the state is flushed, at most."""
    keep: int
    """Entries that stay in the log behind the flushed state."""
    snapshot_failure: float
    tied: bool
    """Whether all wait about as long for a leader, so that votes are split more often than chance would have it."""
    down: float
    """How long a member is down after a crash, on average."""
    between_faults: float
    between_requests: float
    between_changes: float
    removed_live_on: bool
    """Whether a removed member goes on running, as if it had never heard of it."""
    faults: frozenset[int]
    """Which kinds of faults this run has: fewer kinds go deeper (swarm testing)."""

    def __str__(self) -> str:
        return " ".join(f"{field.name}={getattr(self, field.name)}" for field in fields(self))


PACES = ((0.1, 10), (0.15, 8), (0.2, 5), (0.25, 5))
"""Seconds of a tick, ticks of an election's patience."""


def draw(random: Random, kinds: int) -> Plan:
    """A plan; `kinds` is how many kinds of faults there are."""
    changing = random.random() < 0.4
    voters = random.choice((1, 2, 3, 3, 4, 5)) if changing else random.choice((3, 3, 5))
    tick, election_ticks = random.choice(PACES)
    quiet = random.random() < 0.3
    return Plan(
        voters=voters,
        target=random.choice((1, 2, 3, 3, 4, 5)) if changing else voters,
        founded=random.choice((0, 7)),
        tick=tick,
        settings=Settings(
            election_ticks=election_ticks,
            message_bytes=random.choice((1, 40, 1000, 1 << 20)),
            window=random.choice((1, 2, 8, 64)),
            apply_bytes=random.choice((1, 100, 4 << 20)),
        ),
        kept_bytes=random.choice((300, 2000, 4 << 20)),
        delay=random.choice((0.0002, 0.001, 0.01)),
        jitter=random.choice((0.0005, 0.005, 0.05)),
        loss=0.0 if quiet else random.choice((0.0, 0.01, 0.05, 0.15)),
        duplicate=0.0 if quiet else random.choice((0.0, 0.02, 0.1)),
        late=0.0 if quiet else random.choice((0.0, 0.02, 0.1, 0.3)),
        save=random.choice((0.0003, 0.003, 0.02)),
        flush_every=random.choice((1, 5, 30)),
        keep=random.choice((0, 0, 3, 30)),
        snapshot_failure=random.choice((0.0, 0.1, 0.4)),
        tied=random.random() < 0.3,
        down=random.choice((0.1, 2.0)),
        between_faults=random.uniform(0.5, 3.0),
        between_requests=random.uniform(0.15, 0.5),
        between_changes=random.uniform(0.5, 3.0) if changing else random.uniform(5.0, 20.0),
        removed_live_on=random.random() < 0.4,
        faults=frozenset(kind for kind in range(kinds) if random.random() < 0.6),
    )
