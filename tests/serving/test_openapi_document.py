"""The OpenAPI document is true: requests that are made of it get the answers that it says."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from servers import run_server

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis")


@pytest.fixture(scope="module")
def running(small_space):
    with run_server(small_space, items=20) as served:
        yield served


def test_the_document_lists_the_fields_of_a_request(running):
    with running.client() as client:
        document = client.get("/openapi.json").json()
    fields = document["components"]["schemas"]["EmbeddingRequest"]["properties"]
    assert {"model", "input", "messages", "modality", "encoding_format", "dimensions"} <= fields.keys()


@pytest.mark.slow
def test_requests_made_of_the_document_find_no_error_of_the_server(running):
    """Everything that schemathesis checks: no 5xx, and no status, type or body that the document lacks."""
    from hypothesis import HealthCheck, settings
    from schemathesis import checks

    schema = schemathesis.openapi.from_url(f"{running.url}/openapi.json")
    left_out = [checks.CHECKS.get_one("positive_data_acceptance")]  # a picture of random letters isn't one
    found = []
    for result in schema.get_all_operations():
        operation = result.ok()
        found.append(operation.label)
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            _try(operation, mode, left_out, settings, HealthCheck)
    assert "POST /v1/embeddings" in found
    with running.client() as client:
        asked = re.findall(
            r'requests_total.method="POST",route="/v1/embeddings",status="(\d+)". (\S+)',
            client.get("/metrics").text,
        )
    assert dict(asked).keys() >= {"200", "422"}
    assert sum(float(count) for _, count in asked) > 150


def _try(operation, mode, left_out, settings, health):
    from hypothesis import given
    from hypothesis.errors import Unsatisfiable

    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(
        max_examples=150, deadline=None, suppress_health_check=list(health), derandomize=True, database=None
    )
    def ask(case):
        if isinstance(case.body, dict) and mode is schemathesis.GenerationMode.POSITIVE:
            for name in ("model", "space", "modality", "dimensions", "messages"):  # rarely what is there
                case.body.pop(name, None)
            for name in ("role", "task", "input_type", "output_dimension", "return_multivector"):  # or agree
                case.body.pop(name, None)
        case.call_and_validate(excluded_checks=left_out, timeout=30)

    with suppress(Unsatisfiable):  # an operation without parameters can't be asked wrongly
        ask()
