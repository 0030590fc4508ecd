"""The operation counters of `/v2/stats/store`: what this node answered since it started."""

from collections.abc import Iterator
from enum import IntEnum

import msgspec

from core.api.figures import Figure
from core.node.latency import Latency


class Operation(IntEnum):
    """The kinds of operation etcd counts, in its order."""

    GETS = 0
    SETS = 1
    DELETE = 2
    UPDATE = 3
    CREATE = 4
    COMPARE_AND_SWAP = 5
    COMPARE_AND_DELETE = 6

    @property
    def word(self) -> str:
        """The name in the statistics, such as `compareAndSwap`."""
        first, *rest = self.name.lower().split("_")
        return first + "".join(part.capitalize() for part in rest)


class Counters:
    """Successes and failures by operation, and how long reads and writes took."""

    def __init__(self) -> None:
        self.reads = Latency()
        self.writes = Latency()
        self.succeeded = [0] * len(Operation)
        self.failed = [0] * len(Operation)

    def body(self, *, expired: int, watchers: int) -> bytes:
        """The JSON of `/v2/stats/store`."""
        counts: dict[str, int] = {}
        for operation in Operation:
            counts[f"{operation.word}Success"] = self.succeeded[operation]
            counts[f"{operation.word}Fail"] = self.failed[operation]
        return msgspec.json.encode(counts | {"expireCount": expired, "watchers": watchers})

    def figures(self) -> Iterator[Figure]:
        """The same for `/metrics`."""
        for kind, latency in (("read", self.reads), ("write", self.writes)):
            yield Figure(
                "corenode_v2_request_duration_seconds",
                "Time from parsing a request of the v2 dialect to its answer.",
                latency,
                labels={"kind": kind},
            )
        for outcome, counts in (("success", self.succeeded), ("failure", self.failed)):
            for operation in Operation:
                yield Figure(
                    "corenode_v2_operations",
                    "Operations of the v2 dialect this node answered.",
                    counts[operation],
                    counter=True,
                    labels={"operation": operation.word, "outcome": outcome},
                )
