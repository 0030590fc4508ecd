"""What a room tells about itself in numbers, for `/metrics`."""

from collections.abc import Callable, Iterable, Mapping

import msgspec

from core.node.latency import Latency


class Figure(msgspec.Struct, frozen=True):
    """One number. Figures of one name have the same help, kind and label names."""

    name: str
    """With its unit, such as `corenode_store_bytes`; counters without `_total`, which is added."""
    help: str
    value: float | Latency
    """A Latency is shown as a histogram in seconds."""
    counter: bool = False
    """It only grows until the process ends."""
    labels: Mapping[str, str] = {}


Source = Callable[[], Iterable[Figure]]
"""Asked at each scrape, on the loop: it must be quick."""
