"""Whoever watches a server finds its state, its figures and its spans."""

from __future__ import annotations

import re

import pytest
from sent_items import png, uri
from servers import run_server


def figures(client):
    text = client.get("/metrics").text
    return {
        match[1]: float(match[2])
        for match in re.finditer(r"^(mmencode\S*(?:\{.*\})?) (\S+)$", text, re.MULTILINE)
    }


@pytest.fixture
def fresh(small_space):
    with run_server(small_space) as served, served.client() as client:
        yield client


def test_the_state_says_which_spaces_are_loaded(fresh, small_space):
    found = fresh.get("/ready").json()
    assert found["status"] == "ready"
    assert found["spaces"]["fake"]["space"] == small_space.id
    assert found["spaces"]["fake"]["modalities"] == {"text": True, "image": True, "audio": True}
    assert fresh.get("/health").json() == {"status": "ok"}


def test_requests_are_counted_by_route_and_status(fresh):
    fresh.post("/v1/embeddings", json={"input": "cat"})
    fresh.post("/v1/embeddings", json={"input": []})
    fresh.get("/secret/path")
    found = figures(fresh)
    route = 'mmencode_requests_total{method="POST",route="/v1/embeddings",status='
    assert found[route + '"200"}'] == found[route + '"422"}'] == 1
    assert found['mmencode_requests_total{method="GET",route="other",status="404"}'] == 1
    assert found['mmencode_request_errors_total{code="invalid_input",route="/v1/embeddings"}'] == 1
    assert found['mmencode_request_errors_total{code="not_found",route="other"}'] == 1
    assert found['mmencode_request_seconds_count{route="/v1/embeddings"}'] == 2


def test_items_and_their_errors_are_counted_by_modality(fresh):
    fresh.post("/v1/embeddings", json={"input": ["cat", "dog"]})
    fresh.post("/v1/embeddings", json={"input": [uri(png()), uri(b"nonsense")], "modality": "image"})
    found = figures(fresh)
    assert found['mmencode_items_total{modality="text",space="fake"}'] == 2
    assert found['mmencode_items_total{modality="image",space="fake"}'] == 1
    assert found['mmencode_item_errors_total{kind="content",modality="image",space="fake"}'] == 1


def test_queues_batches_and_latencies_are_measured_by_modality(fresh):
    fresh.post("/v1/embeddings", json={"input": ["cat", "dog", "hare"]})
    fresh.post("/v1/embeddings", json={"input": [uri(png())], "modality": "image"})
    found = figures(fresh)
    for modality, items in (("text", 3), ("image", 1)):
        labels = f'modality="{modality}",space="fake"'
        assert found[f"mmencode_batch_items_sum{{{labels}}}"] == items
        assert found[f"mmencode_item_seconds_count{{{labels}}}"] == items
        assert found[f'mmencode_item_seconds_bucket{{le="+Inf",{labels}}}'] == items
    assert found['mmencode_healthy{space="fake"}'] == 1
    assert sum(value for name, value in found.items() if name.startswith("mmencode_queue_items")) == 0


def test_no_figure_is_written_twice(fresh):
    """Prometheus refuses a page with two samples of one name and labels."""
    fresh.post("/v1/embeddings", json={"input": ["cat", "dog"]})
    lines = [line for line in fresh.get("/metrics").text.splitlines() if line.startswith("mmencode_")]
    names = [line.rpartition(" ")[0] for line in lines]
    assert len(names) > 50
    assert len(set(names)) == len(names)


def test_requests_in_work_are_counted(fresh):
    assert figures(fresh)["mmencode_requests_in_flight"] == 1


def test_a_span_has_the_names_of_the_conventions(small_space, spans):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with run_server(small_space) as served, served.client() as client:
        client.post("/v1/embeddings", json={"input": ["cat", "dog"]}, headers={"traceparent": trace})
    (span,) = ours(spans)
    found = dict(span.attributes)
    assert span.name == "embeddings fake"
    assert span.kind.name in ("SERVER", "INTERNAL")
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert found["gen_ai.operation.name"] == "embeddings"
    assert found["gen_ai.provider.name"] == "mmencode"
    assert found["gen_ai.request.model"] == "fake"
    assert found["gen_ai.embeddings.dimension.count"] == small_space.dim
    assert found["gen_ai.usage.input_tokens"] > 0
    assert found["mmencode.space"] == small_space.id
    assert found["mmencode.items"] == 2
    assert "cat" not in str(span.to_json())


def test_a_span_of_a_refused_request_has_the_kind_of_its_error(small_space, spans):
    with run_server(small_space, items=5) as served, served.client() as client:
        client.post("/v1/embeddings", json={"input": ["cat", " "]})
    (span,) = ours(spans)
    assert span.attributes["mmencode.items.failed"] == 1


def ours(spans):
    """The spans without those that FastAPI makes by itself."""
    return [
        span for span in spans.get_finished_spans() if span.instrumentation_scope.name == "mmencode.serving"
    ]


@pytest.fixture(scope="session")
def exporter():
    sdk = pytest.importorskip("opentelemetry.sdk.trace", reason="needs opentelemetry-sdk")
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider, found = sdk.TracerProvider(), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(found))
    trace.set_tracer_provider(provider)
    return found


@pytest.fixture
def spans(exporter):
    exporter.clear()
    return exporter


def test_metrics_have_the_queue_the_sizes_of_batches_and_seconds_by_modality(served, http):
    assert http.post("/v1/embeddings", json={"input": ["a dog", "rain"]}).status_code == 200
    text = http.get("/metrics").text
    name = served.space.name
    assert f'mmencode_queue_items{{modality="text",space="{name}"}} 0.0' in text
    assert f'mmencode_batch_items_bucket{{le="+Inf",modality="text",space="{name}"}}' in text
    assert f'mmencode_item_seconds_count{{modality="text",space="{name}"}}' in text
