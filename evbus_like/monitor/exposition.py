"""The metrics in the text formats of Prometheus and OpenMetrics, made of a status document when they are asked for."""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from evbus_like.monitor import merge
from evbus_like.monitor.document import Process, Status
from evbus_like.monitor.metrics import METRICS, PORT, Labels, Metric

FAMILIES = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily, "histogram": HistogramMetricFamily}


class StatusCollector(Collector):
    """Collects the metrics of one status document; with several processes, each sample names its worker."""

    def __init__(self, status: Status) -> None:
        self._status = status
        self._by_worker = any(each["worker"] is not None for each in status["processes"])

    def collect(self) -> Iterator[Any]:
        """Yield the families."""
        for each in PORT:
            yield FAMILIES[each.kind](each.name, each.help, value=each.value(self._status))
        info = InfoMetricFamily("evbus", "The application, and the version of evbus_like.", labels=self._labels(()))
        for process in self._status["processes"]:
            about = {"application": process["application"], "version": process["version"]}
            info.add_metric(self._values(process, ()), about)
        yield info
        for metric in METRICS:
            yield self._family(metric)

    def _labels(self, labels: Labels) -> Labels:
        return ("worker", *labels) if self._by_worker else labels

    def _values(self, process: Process, values: Labels) -> Labels:
        return (str(process["worker"] or ""), *values) if self._by_worker else values

    def _family(self, metric: Metric) -> Any:
        """Return the samples of one metric; those with the same labels are one sample, which Prometheus demands."""
        sums: dict[Labels, Any] = {}
        for process in self._status["processes"]:
            for labels, value in metric.find(process):
                values = self._values(process, labels)
                add: Any = merge.added if isinstance(value, dict) else operator.add
                sums[values] = add(sums[values], value) if values in sums else value
        labels = self._labels(metric.labels)
        family: Any = FAMILIES[metric.kind](metric.name, metric.help, labels=labels)
        for values, found in sums.items():
            if metric.kind == "histogram":
                buckets = [*found["buckets"].items(), ("+Inf", found["count"])]
                family.add_metric(values, buckets=buckets, sum_value=found["sum"])
            else:
                family.add_metric(values, found)
        return family


def exposed(status: Status, accept: str) -> tuple[bytes, str]:
    """Return the metrics in the format that a scraper accepts, and the format's content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StatusCollector(status))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
