from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmencode.engine.lane import EmbeddingLane
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, InputError
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, fake_specs, sample_items

BAD = [None, "", 3, "\ud800", b"bytes"]


def space_of(encoder, **options):
    """A space whose text encoder is the class given; a target may be any importable attribute."""
    globals()["_target"] = encoder
    spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:_target", dim=8)
    return Space("test", [spec], runtime=Runtime("cpu", batch_size=4, workers=2), **options)


texts = st.lists(
    st.one_of(st.text("abcdef ", min_size=1).filter(str.strip), st.sampled_from(BAD)), max_size=40
)


@settings(deadline=None, max_examples=60)
@given(texts, st.integers(1, 9), st.integers(1, 4), st.sampled_from([1, 5, 1024]))
def test_any_batch_equals_one_by_one_and_bad_items_shift_nothing(items, batch_size, workers, window):
    runtime = Runtime("cpu", batch_size=batch_size, workers=workers)
    runtime.window_items = window
    with Space("fake", fake_specs(), runtime=runtime) as space:
        found = space.encode("text", items, on_error="skip")
        good = [index for index, item in enumerate(items) if isinstance(item, str) and item not in BAD]
        assert found.positions.tolist() == good
        assert [error.index for error in found.errors] == [i for i in range(len(items)) if i not in good]
        for row, index in enumerate(good):
            alone = space.encode("text", [items[index]]).vectors[0]
            np.testing.assert_allclose(found.vectors[row], alone, atol=1e-6)
        if len(good) < len(items):
            with pytest.raises(InputError) as caught:
                space.encode("text", items)
            assert caught.value.index == min(set(range(len(items))) - set(good))


def test_workers_preprocess_and_the_caller_forwards():
    seen = {"preprocess": set(), "forward": set()}

    class Watched(FakeText):
        def preprocess(self, item):
            seen["preprocess"].add(threading.current_thread().name)
            return super().preprocess(item)

        def forward(self, tensors):
            seen["forward"].add(threading.current_thread().name)
            return super().forward(tensors)

    space_of(Watched).encode("text", sample_items("text", 30))
    assert all(name.startswith("mmencode") for name in seen["preprocess"])
    assert seen["forward"] == {threading.current_thread().name}


def test_batches_are_bounded_and_of_like_length():
    shapes = []

    class Watched(FakeText):
        def forward(self, tensors):
            shapes.append(tuple(tensors["hidden"].shape[:2]))
            return super().forward(tensors)

    lengths = [1, 50, 2, 60, 3, 70, 4, 80]
    space_of(Watched).encode("text", ["x" * length for length in lengths])
    assert shapes == [(4, 4), (4, 80)]


def test_automatic_batches_are_bounded_by_elements_and_given_ones_are_not():
    class Watched(FakeText):
        def forward(self, tensors):
            sizes.append(len(tensors["hidden"]))
            return super().forward(tensors)

    globals()["_target"] = Watched
    spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:_target", dim=8)
    for batch_size, expected in (("auto", [3, 3, 2]), (8, [8])):
        sizes = []
        runtime = Runtime("cpu", batch_size=batch_size)
        if batch_size == "auto":
            runtime.batch_elements = 3 * 10 * 8
        Space("test", [spec], runtime=runtime).encode("text", ["x" * 10] * 8)
        assert sizes == expected


def test_crash_in_preprocess_is_that_items_error():
    class Picky(FakeText):
        def preprocess(self, item):
            if "x" in item:
                raise KeyError("x")
            return super().preprocess(item)

    with pytest.raises(InputError, match=r"encoder 'test' can't preprocess it: KeyError") as caught:
        space_of(Picky).encode("text", ["a", "bx"])
    assert caught.value.index == 1
    assert isinstance(caught.value.__cause__, KeyError)
    assert space_of(Picky).encode("text", ["a", "bx", "c"], on_error="skip").positions.tolist() == [0, 2]


def test_crash_in_forward_names_the_encoder_and_the_items():
    class Broken(FakeText):
        def forward(self, tensors):
            raise RuntimeError("out of memory")

    with pytest.raises(EncoderError, match=r"encoder 'test' failed on each of a batch of 2(.|\n)*\[0, 1\]"):
        space_of(Broken).encode("text", ["a", "b"])


@pytest.mark.parametrize("shape", [(4,), (2, 7), (3, 8), (2, 1, 8)])
def test_wrong_shape_is_the_encoders_error(shape):
    class Broken(FakeText):
        def forward(self, tensors):
            return torch.ones(shape)

    with pytest.raises(EncoderError, match="gave features of shape"):
        space_of(Broken).encode("text", ["a", "b"])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_vector_without_a_direction_is_that_items_error(value):
    class Broken(FakeText):
        def forward(self, tensors):
            features = super().forward(tensors)
            features[0] = value
            return features

    space = space_of(Broken)
    with pytest.raises(InputError, match="no direction") as caught:
        space.encode("text", ["a", "bb"])
    assert caught.value.index == 0
    assert space.encode("text", ["a", "bb"], on_error="skip").positions.tolist() == [1]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_no_numbers_are_that_items_error(value):
    class Broken(FakeText):
        def forward(self, tensors):
            features = super().forward(tensors)
            features[0] = value
            return features

    space = space_of(Broken)
    with pytest.raises(InputError, match="features that aren't finite") as caught:
        list(space.features("text", ["a", "bb"]))
    assert caught.value.index == 0
    (part,) = space.features("text", ["a", "bb"], on_error="skip")
    assert part.positions.tolist() == [1]
    assert [error.index for error in part.errors] == [0]


def test_features_of_a_wrong_shape_are_the_encoders_error():
    class Broken(FakeText):
        def forward(self, tensors):
            return torch.ones(1, 7)

    with pytest.raises(EncoderError, match=r"gave features of shape \(1, 7\), not \(1, 8\)"):
        list(space_of(Broken).features("text", ["a"]))


@pytest.mark.usefixtures("threads_end")
def test_threads_end_soon_after_the_call_even_when_it_fails():
    space = space_of(FakeText)
    space.encode("text", sample_items("text", 50))
    with pytest.raises(InputError):
        space.encode("text", [None, *sample_items("text", 50)])


def test_one_space_may_be_used_from_eight_threads():
    items = sample_items("text", 40)
    with space_of(FakeText) as space, ThreadPoolExecutor(8) as pool:
        expected = space_of(FakeText).encode("text", items).vectors
        for found in pool.map(lambda _: space.encode("text", items).vectors, range(16)):
            np.testing.assert_allclose(found, expected, atol=1e-6)


def test_window_is_bounded_by_bytes(monkeypatch):
    sizes = []
    real = EmbeddingLane.compute

    def watched(self, window, **options):
        sizes.append(len(window.items))
        return real(self, window, **options)

    monkeypatch.setattr(EmbeddingLane, "compute", watched)
    space = space_of(FakeText)
    space.runtime.window_bytes = 100
    space.encode("text", ["abc"] * 5)  # of 32 bytes for each character
    assert sizes == [2, 2, 1]


class Large(FakeText):
    """A text of which each item takes as much memory as a picture; later ones wait for a forward pass."""

    begun: threading.Event
    late = "late"

    def preprocess(self, item):
        if item == self.late:
            assert self.begun.wait(20), "no forward pass began before all items were prepared"
        return {"numbers": torch.full((50_000,), float(len(item)))}

    def cost(self, tensors):
        return tensors["numbers"].numel()

    def collate(self, items):
        return {"numbers": torch.stack([item["numbers"] for item in items])}

    def forward(self, tensors):
        type(self).begun.set()
        return tensors["numbers"][:, : self.width]


def test_forward_passes_begin_while_later_items_are_prepared():
    Large.begun = threading.Event()
    items = ["early"] * 4 + [Large.late] * 4  # four of these fill a batch
    with space_of(Large) as space:
        assert len(space.encode("text", items)) == 8


def test_windows_of_items_that_differ_hold_several_batches_so_that_like_ones_meet(monkeypatch):
    batches = []
    real = EmbeddingLane.forward

    def watched(self, batch):
        batches.append([item.cost for item in batch])
        return real(self, batch)

    class Unlike(Large):
        def preprocess(self, item):
            return {"numbers": torch.ones(50_000 + len(item))}

        def collate(self, items):
            return {"numbers": torch.ones(len(items), self.width)}

    monkeypatch.setattr(EmbeddingLane, "forward", watched)
    Unlike.begun = threading.Event()
    with space_of(Unlike) as space:
        space.encode("text", ["ab", "a"] * 8)
    assert batches == [[50_001] * 4] * 2 + [[50_002] * 4] * 2


def test_bfloat16_vectors_stay_close_and_come_back_as_float32():
    runtime = Runtime("cpu", "bfloat16")
    items = sample_items("text")
    with Space("fake", fake_specs(), runtime=runtime) as half, Space("fake", fake_specs()) as full:
        found = half.encode("text", items)
        assert found.vectors.dtype == np.float32
        assert found.space == full.id
        assert (found.vectors * full.encode("text", items).vectors).sum(axis=1).min() > 0.999


@pytest.mark.gpu
def test_gpu_gives_the_vectors_of_the_cpu():
    for modality in ("text", "image", "audio"):
        items = sample_items(modality)
        vectors = [
            Space("fake", fake_specs(), runtime=Runtime(device)).encode(modality, items).vectors
            for device in ("cpu", "cuda")
        ]
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-5)


def test_crash_on_every_item_is_the_encoders_error_even_when_items_are_skipped():
    class Broken(FakeText):
        def forward(self, tensors):
            raise RuntimeError("broken")

    space = space_of(FakeText)
    space.tower("text").encoder.__class__ = Broken
    with pytest.raises(
        EncoderError, match=r"on each of a batch of 3: RuntimeError: broken(.|\n)*\[0, 1, 2\]"
    ):
        space.encode("text", ["a", "bb", "ccc"], on_error="skip")
