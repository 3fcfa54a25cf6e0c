"""Figures of a server in the format of Prometheus: requests, items, queues, batches and errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from .exchange import Exchange
from .figures import ServiceFigures
from .service import Answer, Services

CONTENT_TYPE = CONTENT_TYPE_LATEST
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Answered(Protocol):
    """An answer on its way, as far as its figures are counted."""

    status: int


class Metrics:
    """The figures of one server, in a registry of their own."""

    registry: CollectorRegistry

    def __init__(self, services: Services) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(ServiceFigures(services))
        make: dict[str, Any] = {"registry": self.registry}
        self._requests = Counter(
            "mmencode_requests", "Requests that were answered.", ("route", "method", "status"), **make
        )
        self._seconds = Histogram(
            "mmencode_request_seconds",
            "Seconds from a request's first byte to the end of its answer.",
            ("route",),
            buckets=_SECONDS,
            **make,
        )
        self._refused = Counter(
            "mmencode_request_errors", "Requests that were answered by an error.", ("route", "code"), **make
        )
        self._in_flight = Gauge("mmencode_requests_in_flight", "Requests in work.", **make)
        self._sizes = Histogram("mmencode_request_items", "Items of a request.", buckets=_COUNTS, **make)
        self._items = Counter("mmencode_items", "Items that were encoded.", ("space", "modality"), **make)
        self._errors = Counter(
            "mmencode_item_errors", "Items that couldn't be encoded.", ("space", "modality", "kind"), **make
        )

    @contextmanager
    def request(self, scope: Any, answer: Answered, exchange: Exchange) -> Iterator[None]:
        """Count a request, whose route is known once it was found."""
        started = monotonic()
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._requests.labels(route, method, str(answer.status or 499)).inc()
            self._seconds.labels(route).observe(monotonic() - started)
            if exchange.error:
                self._refused.labels(route, exchange.error).inc()

    def count_items(self, space: str, modalities: Sequence[str], answers: Sequence[Answer]) -> None:
        """Count the items of an answered request, those with a vector and those with an error."""
        self._sizes.observe(len(answers))
        for modality, answer in zip(modalities, answers, strict=True):
            if answer.error is None:
                self._items.labels(space, modality).inc()
            else:
                kind = getattr(answer.error, "fault", "encoder")
                self._errors.labels(space, modality, kind).inc()

    def write(self) -> bytes:
        """Write all figures as text."""
        return generate_latest(self.registry)
