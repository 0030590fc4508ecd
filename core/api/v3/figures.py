"""How long the calls of this dialect took, and how they failed, for `/metrics`."""

from collections import Counter
from collections.abc import Iterable, Iterator

from core.api.figures import Figure, Source
from core.api.http.message import Handler
from core.node.latency import Latency


class Meter:
    """Of one kind of call."""

    __slots__ = ("failed", "latency")

    def __init__(self) -> None:
        self.latency = Latency()
        """From the whole request to its answer; answers in pieces and those without a message are not counted."""
        self.failed: Counter[str] = Counter()
        """By the name of gRPC's code."""


def figures(handlers: Iterable[tuple[str, Handler]]) -> Source:
    """What the meters of handlers show, by path; of calls that were never made there is nothing to show."""
    meters: dict[str, Meter] = {}
    seen: set[int] = set()
    for path, handler in handlers:
        meter = getattr(handler, "meter", None)
        if isinstance(meter, Meter) and id(meter) not in seen:
            seen.add(id(meter))
            meters[path] = meter

    def source() -> Iterator[Figure]:
        for path, meter in meters.items():
            labels = {"call": path}
            if meter.latency.total_ns:
                yield Figure(
                    "corenode_v3_request_duration_seconds",
                    "Time from a request of the v3 dialect to its answer.",
                    meter.latency,
                    labels=labels,
                )
            for code, count in meter.failed.items():
                yield Figure(
                    "corenode_v3_failures",
                    "Requests of the v3 dialect that were refused.",
                    count,
                    counter=True,
                    labels={**labels, "code": code},
                )

    return source
