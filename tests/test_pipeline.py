"""A pipeline is `encode` in two steps: items prepared in any thread, and embedded together, bit for bit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from mmencode import Limits, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import ClosedError, EncoderError, InputError, UnknownModalityError
from mmencode.testing import FakeText, fake_multi_specs, fake_specs

TEXTS = ["a dog", "rain", "the sea at night, and no wind", "b", "a dog barks"]


@pytest.fixture
def space():
    with Space("fake", fake_specs(), runtime=Runtime("cpu", workers=1)) as made:
        yield made


def test_vectors_are_those_of_encode_bit_for_bit(space):
    pipeline = space.pipeline("text")
    part = pipeline.embed([pipeline.prepare(text) for text in TEXTS])
    assert np.array_equal(part.rows, space.encode("text", TEXTS).vectors)
    assert part.positions.tolist() == [0, 1, 2, 3, 4]
    assert part.errors == []


def test_items_of_many_vectors_have_those_of_encode_multi():
    with Space("fake-multi", fake_multi_specs()) as many:
        pipeline = many.pipeline("text")
        part = pipeline.embed([pipeline.prepare(text) for text in TEXTS])
        arrays = many.encode_multi("text", TEXTS).arrays
        assert all(np.array_equal(rows, array) for rows, array in zip(part.rows, arrays, strict=True))


def test_items_are_prepared_in_any_threads(space):
    pipeline = space.pipeline("image")
    pictures = [np.full((9, 9, 3), shade, np.uint8) for shade in range(40)]
    with ThreadPoolExecutor(8) as pool:
        prepared = list(pool.map(pipeline.prepare, pictures))
    assert np.array_equal(pipeline.embed(prepared).rows, space.encode("image", pictures).vectors)


@pytest.mark.parametrize("item", [b"no picture", object(), None, "/no/such/file.jpg"])
def test_preparing_gives_an_error_and_raises_none(space, item):
    prepared = space.pipeline("image").prepare(item)
    assert prepared.tensors is None
    assert isinstance(prepared.error, InputError)


def test_preparing_honours_the_limits_of_the_space():
    with Space("fake", fake_specs(), limits=Limits(pixels=100, characters=3)) as strict:
        error = strict.pipeline("image").prepare(Image.new("RGB", (11, 10))).error
        assert (error.fault, strict.pipeline("text").prepare("four").error.fault) == ("limit", "limit")


def test_item_is_named_as_its_source_says(space):
    pipeline = space.pipeline("image")
    prepared = pipeline.prepare(b"no picture", "input[3]")
    assert (prepared.source, prepared.error.source) == ("input[3]", "input[3]")
    assert pipeline.give_up(b"no picture", "input[4]").error.source == "input[4]"


def test_ctrl_c_while_preparing_is_not_the_items_error(space, monkeypatch):
    def interrupt(self, item):
        raise KeyboardInterrupt

    monkeypatch.setattr(FakeText, "preprocess", interrupt)
    with pytest.raises(KeyboardInterrupt):
        space.pipeline("text").prepare("a dog")


class Brittle(FakeText):
    """Fails on a batch with an item of three characters, and gives nothing but zeros for one of four."""

    def forward(self, tensors):
        lengths = tensors["mask"].sum(dim=1)
        if (lengths == 3).any():
            raise ValueError("three")
        return super().forward(tensors) * (lengths != 4)[:, None]


def test_items_that_fail_cost_no_other_its_vector(space):
    good = space.encode("text", ["a dog", "a kitten", "b"]).vectors
    space.tower("text").encoder.__class__ = Brittle
    pipeline = space.pipeline("text")
    part = pipeline.embed([pipeline.prepare(text) for text in ("a dog", "cat", "a kitten", "", "rain", "b")])
    assert part.positions.tolist() == [0, 2, 5]
    assert [error.index for error in part.errors] == [1, 3, 4]
    assert np.array_equal(part.rows, good)


def test_what_was_prepared_can_be_embedded_again_in_another_place(space):
    pipeline = space.pipeline("text")
    dog, bad = pipeline.prepare("a dog"), pipeline.prepare(object())
    first, second = pipeline.embed([dog, bad]), pipeline.embed([bad, dog])
    assert np.array_equal(first.rows, second.rows)
    assert (first.errors[0].index, second.errors[0].index) == (1, 0)


def test_encoder_at_fault_is_blamed_and_no_item(space):
    class Broken(FakeText):
        def forward(self, tensors):
            raise ValueError("broken")

    space.tower("text").encoder.__class__ = Broken
    pipeline = space.pipeline("text")
    with pytest.raises(EncoderError, match="broken"):
        pipeline.embed([pipeline.prepare("a dog"), pipeline.prepare("rain")])


def test_one_thread_embeds_at_a_time_on_a_device(space):
    at_once, most = [], []

    class Watched(FakeText):
        def forward(self, tensors):
            at_once.append(1)
            most.append(len(at_once))
            threading.Event().wait(0.005)
            at_once.pop()
            return super().forward(tensors)

    space.tower("text").encoder.__class__ = Watched
    pipeline = space.pipeline("text")
    prepared = [pipeline.prepare("a dog")]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(pipeline.embed, [prepared] * 8))
    assert (pipeline.lanes, max(most), len(most)) == (1, 1, 8)


def test_gathered_items_say_when_more_would_only_wait(space):
    pipeline = space.pipeline("text")
    gathering, item = pipeline.gather(), pipeline.prepare("a dog")
    count = 0
    while not gathering.fills_batches():
        gathering.add(item)
        count += 1
    assert count == space.runtime.batch_size


def test_cost_of_a_text_is_its_tokens():
    import mmencode

    pytest.importorskip("mmencode_offline", reason="the default space: pip install mmencode-offline")
    with mmencode.load("default") as default:
        pipeline = default.pipeline("text")
        short, long = pipeline.prepare("a dog"), pipeline.prepare("a dog " * 20)
        assert (short.cost, long.cost) == (2 + 2, 2 * 20 + 2)  # with those that begin and end it


def test_closed_space_embeds_nothing(space):
    pipeline = space.pipeline("text")
    prepared = pipeline.prepare("a dog")
    space.close()
    with pytest.raises(ClosedError):
        pipeline.embed([prepared])


def test_unknown_modality_is_an_error_at_once(space):
    with pytest.raises(UnknownModalityError):
        space.pipeline("smell")


def test_warming_takes_the_probes_through_each_encoder(space):
    seen = []

    class Watched(FakeText):
        def forward(self, tensors):
            seen.append(len(tensors["mask"]))
            return super().forward(tensors)

    space.warm("text", "audio")
    assert space._members.loaded == ("text", "audio")
    space.tower("text").encoder.__class__ = Watched
    space.warm("text")
    assert seen
    assert seen[0] == 1


def test_warming_shows_an_encoder_that_fails_on_everything(space):
    class Broken(FakeText):
        def forward(self, tensors):
            raise ValueError("broken")

    space.tower("text").encoder.__class__ = Broken
    with pytest.raises(EncoderError, match="broken"):
        space.warm("text")
