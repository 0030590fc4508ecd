"""What is measured: the rows of the table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

CONNECTIONS = (1, 16, 64, 256, 1000)
VALUES = (64, 1 << 10, 16 << 10)
OPERATIONS = {
    "v2 PUT": "put2",
    "v2 GET local": "get2",
    "v2 GET quorum": "quorum2",
    "v2 mixed 1:9": "mixed2",
    "v3 put": "put3",
    "v3 range": "range3",
    "v3 range local": "local3",
    "v3 range of 10": "ten3",
    "v3 mixed 1:9": "mixed3",
    "v3 txn": "txn3",
    "v3 txn of 100 puts": "batch3",
    "v3 lease keep-alive": "renew3",
    "v3 watch fan-out": "fan-out",
    "v3 watch of many keys": "fan-out of many keys",
    "v3 watch on one connection": "fan-out on one connection",
}


@dataclass(frozen=True)
class Workload:
    """What is asked of a cluster, and over how many connections."""

    name: str
    connections: int
    value_bytes: int = 64
    members: int = 1
    tls: bool = False
    through: str = "leader"
    """Where the connections go in a cluster: `leader`, `follower`, or `all`."""

    @property
    def operation(self) -> str:
        """What load.lua calls it, or fanout."""
        return OPERATIONS[self.name]

    @property
    def keys(self) -> int:
        """Fewer of great ones, so that what is stored at the beginning stays below 20 MB."""
        return {64: 100_000, 1 << 10: 10_000}.get(self.value_bytes, 1_000)

    @property
    def place(self) -> tuple[int, bool, int]:
        """Workloads with the same place share servers and keys."""
        return self.members, self.tls, self.value_bytes

    def __str__(self) -> str:
        """As `--only` finds it: `v2 PUT, 64 conn., 1 KiB, 3 members, TLS, follower`."""
        parts = [self.name, f"{self.connections} conn."]
        if self.value_bytes != VALUES[0]:
            parts.append(f"{self.value_bytes >> 10} KiB")
        if self.members > 1:
            parts.append(f"{self.members} members")
        if self.tls:
            parts.append("mutual TLS")
        if self.through != "leader":
            parts.append({"follower": "via a follower", "all": "via all"}[self.through])
        return ", ".join(parts)


def usual() -> Iterator[Workload]:
    """Every row that has a goal, and each dimension by itself."""
    put = Workload("v2 PUT", 64)
    yield from (replace(put, connections=count) for count in CONNECTIONS)
    yield from (replace(put, value_bytes=size) for size in VALUES[1:])
    yield from (Workload(name, 64) for name in ("v2 GET local", "v2 GET quorum", "v2 mixed 1:9"))
    yield from (Workload("v3 put", count) for count in (1, 64, 256))
    yield from (Workload(name, 64) for name in ("v3 range", "v3 mixed 1:9"))
    yield Workload("v3 txn of 100 puts", 16)
    yield Workload("v3 watch fan-out", 1000)
    yield from (Workload(name, 64, tls=True) for name in ("v2 PUT", "v2 GET local", "v3 put"))
    for name in ("v2 PUT", "v3 put"):
        yield Workload(name, 64, members=3)
    yield from (replace(put, connections=count, members=3) for count in (1, 256))
    yield replace(put, members=3, through="all")
    yield Workload("v2 GET quorum", 64, members=3)


def full() -> Iterator[Workload]:
    """Every combination. Values differ only for what carries one, and watches are never over TLS."""
    for members in (1, 3):
        for tls in (False, True):
            for name, operation in OPERATIONS.items():
                if operation.startswith("fan-out"):
                    if members == 1 and not tls:
                        yield Workload(name, 1000)
                    continue
                # A batch of 100 of the greatest values is more than either takes in one request.
                sizes = VALUES[:2] if operation == "batch3" else VALUES
                for size in sizes if operation != "renew3" else VALUES[:1]:
                    for count in CONNECTIONS:
                        for through in ("leader",) if members == 1 else ("leader", "follower", "all"):
                            yield Workload(name, count, size, members, tls, through)


def chosen(only: Sequence[str], workloads: Iterator[Workload]) -> list[Workload]:
    """Those of which some text of `only` is a part, without regard to case; all, if there is none."""
    found = [each for each in workloads if not only or any(text.lower() in str(each).lower() for text in only)]
    return sorted(found, key=lambda each: (each.members, each.tls, each.value_bytes))
