"""Requests of all clients share batches, in a fair order, and nobody's fault is another one's."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import torch

from mmencode import Limits, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, InputError
from mmencode.serving import queue
from mmencode.serving.refusals import BatchError, GoneError, QueueFullError, StoppedError, TooLateError
from mmencode.serving.service import Ask, Service, ServingLimits
from mmencode.testing import FakeImage, FakeText, fake_specs

BOOM = "boom"


class Watched(FakeText):
    """Notes the texts of each batch, by their lengths, and waits in its pass until it may go on."""

    def forward(self, tensors):
        self.begun.set()
        assert self.may_go.wait(20)
        self.batches.append([int(length) for length in tensors["mask"].sum(dim=1)])
        self.threads.append(torch.get_num_threads())
        if self.failure and len(BOOM) in self.batches[-1]:
            raise self.failure
        return super().forward(tensors)


@pytest.fixture
def space():
    with Space("fake", fake_specs(), runtime=Runtime("cpu", batch_size=4)) as made:
        yield made


@pytest.fixture
def encoder(space):
    """The texts' encoder, watched; it goes on when it may."""
    found = space.tower("text").encoder
    found.__class__ = Watched
    vars(found).update(
        begun=threading.Event(), may_go=threading.Event(), batches=[], threads=[], failure=None
    )
    found.may_go.set()
    return found


def serve(space, work, **limits):
    """What `work` gives, a coroutine function that is called with a service that runs."""

    async def do():
        service = Service(space, limits=ServingLimits(**limits))
        await service.start("text", "image")
        try:
            return await asyncio.wait_for(work(service), 120)
        finally:
            await service.stop()

    return asyncio.run(do())


async def hold(service, encoder):
    """Keep the thread that computes at a first batch, of one character, until the encoder may go on."""
    encoder.may_go.clear()
    encoder.begun.clear()
    first = asyncio.create_task(service.embed([Ask("text", "a")]))
    while not encoder.begun.is_set():
        await asyncio.sleep(0.001)
    encoder.batches.clear()
    return first


async def prepared(service, count):
    """Wait until so many items lie prepared."""
    while sum(stage.ready.count for stage in service._queue._stages.values()) < count:
        await asyncio.sleep(0.001)


def asks(*texts):
    return [Ask("text", text) for text in texts]


def test_requests_of_several_clients_share_batches(space, encoder):
    async def ask(service):
        first = await hold(service, encoder)
        others = [asyncio.create_task(service.embed(asks("ab"), client=f"client {n}")) for n in range(4)]
        await prepared(service, 4)
        encoder.may_go.set()
        await asyncio.gather(first, *others)

    serve(space, ask)
    assert encoder.batches == [[1], [2, 2, 2, 2]]


def test_item_waits_for_no_other(space, encoder):
    async def ask(service):
        encoder.batches.clear()
        await service.embed(asks("ab"))
        await service.embed(asks("abc"))

    serve(space, ask)
    assert encoder.batches == [[2], [3]]


def test_memory_that_batches_freed_is_given_back_now_and_then(space, encoder, monkeypatch):
    given = []
    monkeypatch.setattr(queue, "trim", lambda: given.append(len(encoder.batches)))

    async def ask(service):
        encoder.batches.clear()
        monkeypatch.setattr(queue, "_TRIM", 3600.0)
        await service.embed(asks("a"))
        monkeypatch.setattr(queue, "_TRIM", 0.0)
        await service.embed(asks("ab"))
        await service.embed(asks("abc"))

    serve(space, ask)
    assert given == [2, 3]


def test_vectors_are_those_of_the_library_whoever_else_is_in_the_batch(space):
    texts = [f"text {number} " * (number % 5 + 1) for number in range(60)]
    alone = {text: space.encode("text", [text]).vectors[0] for text in texts}

    async def ask(service):
        return await asyncio.gather(*(service.embed(asks(*texts[n::12]), client=str(n)) for n in range(12)))

    for n, answers in enumerate(serve(space, ask)):
        for text, answer in zip(texts[n::12], answers, strict=True):
            assert np.allclose(answer.vector, alone[text], atol=1e-6)


def test_items_of_a_request_share_a_batch_however_long_they_take_to_prepare(space, encoder, monkeypatch):
    preprocess = FakeText.preprocess

    def slowly(self, item):
        time.sleep(0.02)
        return preprocess(self, item)

    monkeypatch.setattr(FakeText, "preprocess", slowly)
    texts = ["ab", "abc", "a", "abcd"]

    async def ask(service):
        encoder.batches.clear()
        return await service.embed(asks(*texts))

    answers = serve(space, ask)
    assert encoder.batches == [[1, 2, 3, 4]]
    assert np.array_equal([answer.vector for answer in answers], space.encode("text", texts).vectors)


def test_clients_have_their_turns_one_item_each(space, encoder):
    async def ask(service):
        first = await hold(service, encoder)
        many = asyncio.create_task(service.embed(asks(*["ab"] * 40), client="many"))
        await prepared(service, 40)
        few = asyncio.create_task(service.embed(asks("abc", "abc"), client="few"))
        await prepared(service, 42)
        encoder.may_go.set()
        await asyncio.gather(first, many, few)

    serve(space, ask)
    assert [length for batch in encoder.batches[1:5] for length in batch].count(3) == 2  # the first window


def test_oldest_item_decides_which_modality_has_its_turn(space, encoder, monkeypatch):
    order = []
    forward = FakeImage.forward
    monkeypatch.setattr(
        FakeImage, "forward", lambda self, tensors: order.append("image") or forward(self, tensors)
    )

    async def ask(service):
        first = await hold(service, encoder)
        order.clear()
        picture = asyncio.create_task(service.embed([Ask("image", np.zeros((4, 4, 3), np.uint8))]))
        await prepared(service, 1)
        text = asyncio.create_task(service.embed(asks("ab")))
        await prepared(service, 2)
        text.add_done_callback(lambda _: order.append("text"))
        encoder.may_go.set()
        await asyncio.gather(first, picture, text)

    serve(space, ask)
    assert order == ["image", "text"]


@pytest.mark.parametrize("limits", [{"items": 6}, {"bytes": 1000}])
def test_full_queue_refuses_with_the_time_to_ask_again(space, encoder, limits):
    text = "ab" * 100 if "bytes" in limits else "ab"

    async def ask(service):
        first = await hold(service, encoder)
        others = asyncio.create_task(service.embed(asks(*[text] * 4)))
        await asyncio.sleep(0.01)
        with pytest.raises(QueueFullError) as caught:
            await service.embed(asks(*[text] * 4))
        assert (caught.value.status, caught.value.retry_after >= 1) == (429, True)
        encoder.may_go.set()
        await asyncio.gather(first, others)
        assert (service._queue.items, service._queue.nbytes) == (0, 0)
        assert len(await service.embed(asks("ab"))) == 1
        assert service.counts.refused == {"QueueFullError": 1}

    serve(space, ask, **limits)


def test_expired_items_are_dropped_before_they_are_computed(space, encoder):
    async def ask(service):
        first = await hold(service, encoder)
        with pytest.raises(TooLateError):
            await service.embed(asks("abcde"), wait=0.05)
        encoder.may_go.set()
        await asyncio.gather(first, service.embed(asks("ab")))
        assert service._queue.items == 0

    serve(space, ask)
    assert [2] in encoder.batches
    assert not any(5 in batch for batch in encoder.batches)


def test_items_of_a_client_that_left_are_dropped_before_they_are_computed(space, encoder):
    async def ask(service):
        first = await hold(service, encoder)
        gone = asyncio.create_task(service.embed(asks("abcde"), is_gone=lambda: True))
        cancelled = asyncio.create_task(service.embed(asks("abcdef")))
        await asyncio.sleep(0.05)
        cancelled.cancel()
        with suppress(asyncio.CancelledError):
            await cancelled
        encoder.may_go.set()
        with pytest.raises(GoneError):
            await gone
        await asyncio.gather(first, service.embed(asks("ab")))
        assert service._queue.items == 0

    serve(space, ask)
    assert not any({5, 6} & set(batch) for batch in encoder.batches)


def test_exception_fails_its_batch_and_the_next_one_is_computed(space, encoder):
    encoder.failure = EncoderError("the device is on fire")

    async def ask(service):
        with pytest.raises(BatchError) as caught:
            await service.embed(asks(BOOM))
        assert (caught.value.status, caught.value.__cause__) == (500, encoder.failure)
        return await service.embed(asks("a dog"))

    assert serve(space, ask)[0].error is None


def test_item_that_fails_costs_no_other_one_whoever_sent_it(space, encoder):
    encoder.failure = ValueError(f"no {BOOM}")
    good = space.encode("text", ["ab", "abc"]).vectors

    async def ask(service):
        first = await hold(service, encoder)
        bad = asyncio.create_task(service.embed(asks(BOOM, "ab"), client="bad"))
        other = asyncio.create_task(service.embed(asks("abc"), client="other"))
        await prepared(service, 3)
        encoder.may_go.set()
        _, (broken, ab), (abc,) = await asyncio.gather(first, bad, other)
        assert isinstance(broken.error, InputError)
        assert (broken.error.index, broken.vector) == (0, None)
        assert np.allclose([ab.vector, abc.vector], good, atol=1e-6)
        assert service.counts.errors == {("text", "encoder"): 1}

    serve(space, ask)


def test_service_is_unhealthy_while_the_thread_that_computes_does_not_answer(space, encoder):
    async def ask(service):
        assert service.is_healthy()
        first = await hold(service, encoder)
        await asyncio.sleep(0.2)
        assert not service.is_healthy()
        encoder.may_go.set()
        await first
        assert service.is_healthy()

    serve(space, ask, stall=0.1)


def test_dead_thread_is_unhealthy(space):
    async def ask(service):
        service._queue._threads[0] = threading.Thread()
        healthy = service.is_healthy()
        del service._queue._threads[0]
        return healthy

    assert not serve(space, ask)


@pytest.mark.parametrize(("cores", "set_by_caller"), [(1, 2), (2, 2), (2, 1)])
def test_torch_has_as_many_threads_as_there_are_cores_or_fewer_where_the_caller_says(
    space, encoder, cores, set_by_caller
):
    before = torch.get_num_threads()
    torch.set_num_threads(set_by_caller)
    try:
        space.runtime.cores = cores
        serve(space, lambda service: service.embed(asks("ab")))
    finally:
        torch.set_num_threads(before)
    assert encoder.threads[-1] == min(cores, set_by_caller)


def test_idle_service_uses_less_than_a_hundredth_of_a_core(space):
    async def rest():
        began = time.process_time()
        await asyncio.sleep(2)
        return time.process_time() - began

    async def ask(service):
        await service.embed(asks("ab"))
        return await rest()

    without = asyncio.run(rest())  # what servers of other tests take
    assert serve(space, ask) - without < 0.02


def test_stopping_finishes_what_is_in_work_and_refuses_what_comes(space, encoder):
    async def ask(service):
        first = await hold(service, encoder)
        second, threads = asyncio.create_task(service.embed(asks("ab", "abc"))), service._queue._threads
        await prepared(service, 2)
        stopping = asyncio.create_task(service.stop())
        await asyncio.sleep(0.02)
        with pytest.raises(StoppedError):
            await service.embed(asks("abcd"))
        encoder.may_go.set()
        await stopping
        assert not any(thread.is_alive() for thread in threads)
        return [*await first, *await second]

    assert all(answer.error is None for answer in serve(space, ask))


def test_stopping_gives_up_what_hangs_after_the_grace(space, encoder):
    async def ask(service):
        first = await hold(service, encoder)
        waiting = asyncio.create_task(service.embed(asks("ab")))
        await prepared(service, 1)
        await service.stop()
        with pytest.raises(StoppedError):
            await waiting
        encoder.may_go.set()
        await first

    serve(space, ask, grace=0.1)


def test_service_starts_again_after_it_stopped(space):
    async def do():
        service = Service(space)
        for _ in range(2):
            await service.start("text")
            (answer,) = await service.embed(asks("ab"))
            await service.stop()
        return answer.error

    assert asyncio.run(do()) is None


class SlowImage(FakeImage):
    """Takes long to preprocess the wide pictures of these tests, until it may go on."""

    def preprocess(self, item):
        if item.size in {(9, 4), (900, 700)}:
            assert self.may_go.wait(20)
        return super().preprocess(item)


@pytest.fixture
def slow(space):
    found = space.tower("image").encoder
    found.__class__, found.may_go = SlowImage, threading.Event()
    yield found
    found.may_go.set()


WIDE, HIGH = np.zeros((4, 9, 3), np.uint8), np.zeros((9, 4, 3), np.uint8)


@pytest.mark.parametrize("wide", [WIDE, np.zeros((700, 900, 3), np.uint8)], ids=["small", "of many bytes"])
def test_expensive_items_hold_up_no_cheap_ones(space, slow, wide):
    count = space.runtime.cores + 1

    async def ask(service):
        expensive = [asyncio.create_task(service.embed([Ask("image", wide)])) for _ in range(count)]
        await asyncio.sleep(0.1)
        cheap = await asyncio.wait_for(service.embed([Ask("image", HIGH), *asks("ab")]), 5)
        assert not any(task.done() for task in expensive)
        slow.may_go.set()
        return [*cheap, *(answer for answers in await asyncio.gather(*expensive) for answer in answers)]

    assert all(answer.error is None for answer in serve(space, ask))


def test_expensive_items_take_no_more_threads_than_allowed(space, slow):
    async def ask(service):
        tasks = [asyncio.create_task(service.embed([Ask("image", WIDE)])) for _ in range(100)]
        await asyncio.sleep(0.5)
        found = service._queue._stages["image"]._workers.copy()
        slow.may_go.set()
        await asyncio.gather(*tasks)
        return len(found)

    assert space.runtime.cores < serve(space, ask) <= 5 * space.runtime.cores


def test_item_that_hangs_is_given_up_and_others_are_answered(slow):
    with Space("fake", fake_specs(), limits=Limits(wait=0.2)) as space:
        space.tower("image").encoder.__class__ = SlowImage
        space.tower("image").encoder.may_go = slow.may_go
        (late,), (good,) = serve(
            space,
            lambda service: asyncio.gather(
                service.embed([Ask("image", WIDE, source="the wide one")]),
                service.embed([Ask("image", HIGH)]),
            ),
        )
    assert (late.error.fault, late.error.source, good.error) == ("time", "the wide one", None)


def test_path_of_the_servers_is_not_opened(space, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")

    async def ask(service):
        return await service.embed([Ask("image", str(secret)), Ask("image", secret)])

    for answer in serve(space, ask):
        assert "no path" in answer.error.fact
        assert "secret" not in str(answer.error)


def test_error_of_an_item_does_not_echo_it(space):
    async def ask(service):
        return await service.embed([Ask("text", "secret" * 20_000), Ask("image", b"secret")])

    for answer in serve(space, ask):
        assert "secret" not in str(answer.error)


def test_answers_say_what_items_cost(space):
    short, long = serve(space, lambda service: service.embed(asks("ab", "abcd")))
    assert long.cost == 2 * short.cost > 0


def test_figures_count_batches_and_seconds_by_modality(space):
    async def ask(service):
        await service.embed(asks("ab", "abc"))
        return service.counts, service.lengths

    counts, lengths = serve(space, ask)
    assert sum(counts.batches["text"].counts) >= 1
    assert counts.batches["text"].total == sum(counts.seconds["text"].counts) == 2
    assert lengths == {"text": 0, "image": 0}


def test_text_is_ready_while_pictures_still_load(monkeypatch):
    may_end = threading.Event()
    monkeypatch.setattr(FakeImage, "__init__", _waiting(FakeImage.__init__, may_end))

    async def ask():
        with Space("fake", fake_specs()) as space:
            service = Service(space)
            starting = asyncio.create_task(service.start("text", "image"))
            try:
                while not service.is_ready("text"):
                    await asyncio.sleep(0.005)
                (answer,) = await service.embed(asks("ab"))
                assert not service.is_ready("image")
            finally:
                may_end.set()
            await starting
            assert service.is_ready("image")
            await service.stop()
            return answer.error

    assert asyncio.run(asyncio.wait_for(ask(), 120)) is None


def _waiting(make, may_end):
    def init(self):
        assert may_end.wait(20)
        make(self)

    return init


def test_encoder_that_cannot_be_loaded_is_raised_and_the_others_answer(monkeypatch):
    def fail(self):
        raise ValueError("torn")

    monkeypatch.setattr(FakeImage, "__init__", fail)

    async def ask():
        with Space("fake", fake_specs()) as space:
            service = Service(space)
            with pytest.raises(EncoderError, match="torn"):
                await service.start()
            (answer,) = await service.embed(asks("ab"))
            await service.stop()
            return answer.error

    assert asyncio.run(asyncio.wait_for(ask(), 120)) is None
