"""What ends a request as a whole has a status that tells clients whether to ask again, and when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from servers import run_server

import mmencode
from mmencode.errors import InputError, MmencodeError
from mmencode.serving.beside import serve_beside
from mmencode.serving.refusals import (
    BatchError,
    NotReadyError,
    QueueFullError,
    StoppedError,
    TooLateError,
)
from mmencode.serving.service import Answer, Service
from mmencode.testing import fake_specs

SECRET = "a secret of the server"


@pytest.fixture(scope="module")
def running(small_space):
    with run_server(small_space) as served, served.client() as client:
        yield client


@pytest.fixture
def ask(running, monkeypatch):
    """Ask a server whose service does this in place of embedding."""

    def do(found):
        async def embed(self, asks, **options):
            if isinstance(found, BaseException):
                raise found
            return found

        monkeypatch.setattr(Service, "embed", embed)
        return running.post("/v1/embeddings", json={"input": "cat"})

    return do


@pytest.mark.parametrize(
    ("error", "status", "code", "again"),
    [
        (QueueFullError("too many wait", retry_after=2.4), 429, "queue_full", "2"),
        (QueueFullError("too many wait", retry_after=0.01), 429, "queue_full", "1"),
        (TooLateError("too late"), 504, "too_late", None),
        (NotReadyError("not yet", retry_after=1.0), 503, "not_ready", "1"),
        (StoppedError("it stops", retry_after=1.0), 503, "stopped", "1"),
        (BatchError("the batch failed"), 500, "batch", None),
    ],
)
def test_a_refusal_has_its_status_and_when_to_ask_again(ask, error, status, code, again):
    answer = ask(error)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.headers.get("retry-after") == again


@pytest.mark.parametrize("error", [MmencodeError(SECRET), RuntimeError(SECRET), MemoryError(SECRET)])
def test_a_fault_of_the_server_tells_nothing_of_it(ask, error):
    answer = ask(error)
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "server_error")
    assert answer.headers["x-request-id"]
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("fault", "status"),
    [("content", 422), ("limit", 422), ("encoder", 422), ("access", 422), ("time", 504), ("process", 503)],
)
def test_an_items_fault_has_a_status(ask, fault, status):
    answer = ask([Answer(None, InputError("it failed on 'secret'", source=SECRET, fault=fault), 0)])
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, f"item_{fault}")
    assert "secret" not in answer.text


def test_a_space_that_cant_be_loaded_ends_the_server_with_its_error():
    specs = [replace(spec, target="mmencode.no_such_module:build") for spec in fake_specs()]
    broken = mmencode.Space("fake", specs)
    with pytest.raises(MmencodeError, match="no_such_module"), serve_beside(broken):
        pass
