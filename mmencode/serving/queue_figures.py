"""Figures of services' queues in the format of Prometheus, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from .counts import Spread
from .service import Services


class QueueFigures(Collector):
    """The queues of services, as a registry collects them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        """Read the figures of all services as they are now."""
        labels = ["space", "modality"]
        waiting = GaugeMetricFamily("mmencode_queue_items", "Items that wait for their batch.", labels=labels)
        batches = HistogramMetricFamily("mmencode_batch_items", "Items of a batch.", labels=labels)
        seconds = HistogramMetricFamily(
            "mmencode_item_seconds", "Seconds from an item's arrival to its answer.", labels=labels
        )
        refused = CounterMetricFamily(
            "mmencode_refused_requests", "Requests refused as a whole.", labels=["space", "kind"]
        )
        for name in self._services.names:
            service = self._services[name]
            counts = service.counts
            for modality, length in service.lengths.items():
                waiting.add_metric([name, modality], length)
            for family, spreads in ((batches, counts.batches), (seconds, counts.seconds)):
                for modality, spread in spreads.copy().items():
                    family.add_metric([name, modality], _buckets(spread), spread.total)
            for kind, count in counts.refused.copy().items():
                refused.add_metric([name, kind], count)
        yield from (waiting, batches, seconds, refused)


def _buckets(spread: Spread) -> list[tuple[str, float]]:
    """The numbers of values up to each bound, as a histogram of Prometheus has them."""
    bounds = [*(str(float(bound)) for bound in spread.bounds), "+Inf"]
    return list(zip(bounds, accumulate(spread.counts), strict=True))
