"""`/metrics`: the figures of all rooms as Prometheus text."""

from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from core.api.figures import Figure, Source
from core.api.http.message import Reply, Request, Response
from core.api.plain import method_not_allowed
from core.node.latency import Latency

_TEXT = b"Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"


class Metrics(Collector):
    """The handler of `/metrics`. Each scrape asks every source; what the process itself uses is added."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.method not in (b"GET", b"HEAD"):
            reply.send(method_not_allowed((b"GET", b"HEAD")))
            return
        reply.send(Response(200, _TEXT, generate_latest(self._registry)))

    def describe(self) -> Iterable[Metric]:
        """Nothing beforehand: the sources decide at each scrape."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """The figures of all sources, those of one name together."""
        families: dict[str, list[Figure]] = {}
        for source in self._sources:
            for figure in source():
                families.setdefault(figure.name, []).append(figure)
        for figures in families.values():
            yield _family(figures)


def _family(figures: list[Figure]) -> Metric:
    first = figures[0]
    names = list(first.labels)
    if isinstance(first.value, Latency):
        histogram = HistogramMetricFamily(first.name, first.help, labels=names)
        for figure in figures:
            if isinstance(figure.value, Latency):
                histogram.add_metric(list(figure.labels.values()), figure.value.buckets(), figure.value.total_ns / 1e9)
        return histogram
    family = (CounterMetricFamily if first.counter else GaugeMetricFamily)(first.name, first.help, labels=names)
    for figure in figures:
        if not isinstance(figure.value, Latency):
            family.add_metric(list(figure.labels.values()), figure.value)
    return family
