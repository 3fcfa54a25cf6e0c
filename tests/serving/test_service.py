"""A service answers the items of requests as the library would, and each failing one with its own error."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from mmencode import Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError, UnknownModalityError
from mmencode.serving.refusals import NotReadyError, QueueFullError, StoppedError
from mmencode.serving.service import Ask, Service, Services, ServingLimits
from mmencode.testing import fake_specs


@pytest.fixture
def space():
    with Space("fake", fake_specs(), runtime=Runtime("cpu", workers=1)) as made:
        yield made


def serve(space, work, *modalities, **limits):
    """What `work` gives, a coroutine function that is called with a service that runs."""

    async def do():
        service = Service(space, limits=ServingLimits(**limits))
        await service.start(*modalities)
        try:
            return await asyncio.wait_for(work(service), 120)
        finally:
            await service.stop()

    return asyncio.run(do())


def test_vectors_are_those_of_the_library_in_order(space):
    texts = ["a dog", "a cat on a mat", "rain"]
    answers = serve(space, lambda service: service.embed([Ask("text", text) for text in texts]))
    assert np.array_equal([answer.vector for answer in answers], space.encode("text", texts).vectors)
    assert all(answer.error is None for answer in answers)


def test_item_that_fails_has_an_error_with_its_place_in_the_request(space):
    asks = [Ask("text", "a dog"), Ask("image", b"none", source="part 2"), Ask("text", "a cat")]
    dog, bad, cat = serve(space, lambda service: service.embed(asks))
    assert bad.vector is None
    assert isinstance(bad.error, InputError)
    assert (bad.error.index, bad.error.source) == (1, "part 2")
    assert np.array_equal([dog.vector, cat.vector], space.encode("text", ["a dog", "a cat"]).vectors)


def test_unknown_modality_and_one_that_is_not_loaded_are_told_apart(space):
    async def ask(service):
        with pytest.raises(UnknownModalityError):
            await service.embed([Ask("smell", "rose")])
        with pytest.raises(NotReadyError) as caught:
            await service.embed([Ask("audio", b"")])
        assert caught.value.status == 503
        return service.is_ready("text"), service.is_ready("audio")

    assert serve(space, ask, "text") == (True, False)


def test_full_queue_is_refused_with_the_time_to_ask_again(space):
    async def ask(service):
        with pytest.raises(QueueFullError) as caught:
            await service.embed([Ask("text", "a dog")] * 9)
        assert caught.value.retry_after > 0

    serve(space, ask, items=8)


def test_service_that_stopped_refuses(space):
    async def ask():
        service = Service(space)
        with pytest.raises(StoppedError):
            await service.embed([Ask("text", "a dog")])

    asyncio.run(ask())


def test_first_space_is_the_default(space):
    first, second = Service(space), Service(space)
    services = Services({"one": first, "two": second})
    assert services.default is first
    assert (services["two"], services.names) == (second, ("one", "two"))
    with pytest.raises(ValueError, match="name at least one"):
        Services({})
