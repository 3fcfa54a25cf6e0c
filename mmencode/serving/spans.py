"""Spans of OpenTelemetry, by the semantic names of its conventions for GenAI, where its API is installed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from starlette.requests import HTTPConnection

from .exchange import Exchange
from .faults import RequestError
from .service import Answer

PROVIDER = "mmencode"


class Span:
    """The span of one request for embeddings; this one notes nothing."""

    def finish(self, answers: Sequence[Answer]) -> None:
        """Note the sizes of an answer."""


class Spans:
    """Makes a span for each request for embeddings, or nothing without OpenTelemetry.

    Names are those of the conventions for GenAI: `embeddings {model}`, `gen_ai.operation.name`,
    `gen_ai.provider.name`, `gen_ai.request.model`, `gen_ai.usage.input_tokens`,
    `gen_ai.embeddings.dimension.count`, `error.type`. A span is below that of the request where the
    framework makes one, as FastAPI does since 0.165, and else below the client's, by its `traceparent`. It
    holds nothing of the items.
    """

    def __init__(self) -> None:
        self._tracer: Any = None
        try:
            from opentelemetry import propagate, trace
        except ImportError:
            return
        self._trace, self._propagate = trace, propagate
        self._tracer = trace.get_tracer("mmencode.serving")

    @contextmanager
    def embeddings(self, request: HTTPConnection, model: str) -> Iterator[Span]:
        """Span the block that embeds the items of a request."""
        if self._tracer is None or isinstance(
            self._trace.get_tracer_provider(), self._trace.ProxyTracerProvider
        ):  # nobody collects spans yet, and to make one that nobody sees takes a twentieth of the request
            yield Span()
            return
        server = request.scope.get("server") or (None, None)
        attributes = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.provider.name": PROVIDER,
            "gen_ai.request.model": model,
            "mmencode.space": Exchange.of(request.scope).space,
            "mmencode.request.id": Exchange.of(request.scope).request_id,
            **({"server.address": server[0]} if server[0] else {}),
            **({"server.port": server[1]} if server[1] else {}),
        }
        below = (
            self._trace.get_current_span().get_span_context().is_valid
        )  # the framework's span of the request
        kinds = self._trace.SpanKind
        with self._tracer.start_as_current_span(
            f"embeddings {model}",
            context=None if below else self._propagate.extract(dict(request.headers)),
            kind=kinds.INTERNAL if below else kinds.SERVER,
            attributes=attributes,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield _Recorded(span)
            except Exception as error:
                span.set_attribute("error.type", error.code if isinstance(error, RequestError) else "_OTHER")
                span.set_status(self._trace.StatusCode.ERROR)
                raise


class _Recorded(Span):
    """A span that OpenTelemetry records."""

    def __init__(self, span: Any) -> None:
        self._span = span

    def finish(self, answers: Sequence[Answer]) -> None:
        """Note the sizes of an answer."""
        self._span.set_attribute("gen_ai.usage.input_tokens", sum(answer.cost for answer in answers))
        widths = {answer.vector.shape[-1] for answer in answers if answer.vector is not None}
        if len(widths) == 1:
            self._span.set_attribute("gen_ai.embeddings.dimension.count", widths.pop())
        self._span.set_attribute("mmencode.items", len(answers))
        failed = sum(answer.error is not None for answer in answers)
        if failed:
            self._span.set_attribute("mmencode.items.failed", failed)
