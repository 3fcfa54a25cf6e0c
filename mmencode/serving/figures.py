"""Figures that services keep themselves, such as those of queues and batches, as Prometheus collects them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

from .counts import Spread
from .service import Services

Family = CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily


class ServiceFigures(Collector):
    """Collects the figures of all services when they are asked for; they are never reset."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Family]:
        """Give each figure with the name of its space, and its modality or kind."""
        waiting = GaugeMetricFamily(
            "mmencode_queue_items", "Items that wait for a batch.", labels=("space", "modality")
        )
        healthy = GaugeMetricFamily(
            "mmencode_healthy", "Whether the threads that compute still answer.", labels=("space",)
        )
        batches = HistogramMetricFamily(
            "mmencode_batch_items", "Items of a batch.", labels=("space", "modality")
        )
        seconds = HistogramMetricFamily(
            "mmencode_item_seconds",
            "Seconds from a request's arrival to the answer of an item.",
            labels=("space", "modality"),
        )
        refused = CounterMetricFamily(
            "mmencode_refused", "Requests that a space refused as a whole.", labels=("space", "kind")
        )
        for name in self._services.names:
            service = self._services[name]
            counts = service.counts
            healthy.add_metric((name,), float(service.is_healthy()))
            for modality, items in list(service.lengths.items()):
                waiting.add_metric((name, modality), items)
            for modality, spread in list(counts.batches.items()):
                _add(batches, (name, modality), spread)
            for modality, spread in list(counts.seconds.items()):
                _add(seconds, (name, modality), spread)
            for kind, requests in list(counts.refused.items()):
                refused.add_metric((name, kind), requests)
        yield from (waiting, healthy, batches, seconds, refused)


def _add(family: HistogramMetricFamily, labels: tuple[str, ...], spread: Spread) -> None:
    bounds = [*(f"{bound:g}" for bound in spread.bounds), "+Inf"]
    buckets = list(zip(bounds, map(float, accumulate(spread.counts)), strict=True))
    family.add_metric(labels, buckets, spread.total)
