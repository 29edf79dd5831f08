"""Counters of all services as Prometheus text, names `opq_<counter>[_total]`."""

import re
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from opq_cloud.board import Board

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LABELS = ("service", "of")
"""`of`: the Box, key or plug-in that is counted, or empty."""


class _Counts(Collector):
    def __init__(self, board: Board) -> None:
        self._board = board

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        families: dict[str, CounterMetricFamily | GaugeMetricFamily] = {}
        for service, counter, label, value in self._board.counts():
            family = families.get(counter)
            if family is None:
                name = "opq_" + re.sub(r"[^a-zA-Z0-9_]", "_", counter)
                text = counter.replace("_", " ")
                family = (
                    GaugeMetricFamily(name, text, labels=LABELS)
                    if counter.endswith("_now")
                    else CounterMetricFamily(name, text, labels=LABELS)
                )
                families[counter] = family
            family.add_metric([service, label], value)
        yield from families.values()

    def describe(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
        return ()


class Metrics:
    """The text for one board, with the process's own CPU, memory and descriptors."""

    def __init__(self, board: Board) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Counts(board))
        ProcessCollector(registry=self._registry)

    def text(self) -> bytes:
        return generate_latest(self._registry)
