"""The path by a CUDA device: on any machine by stand-ins of torch's own parts, and with one for real."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from mmencode import EncoderSpec, Runtime, Space
from mmencode.engine import lane, runtime, streams
from mmencode.errors import DeviceError, InputError
from mmencode.errors.causes import device_broke, out_of_memory
from mmencode.testing import FakeText, fake_multi_specs, fake_specs, sample_items

CUDA = torch.device("cuda", 0)
ASSERT = "CUDA error: device-side assert triggered\nCUDA kernel errors might be asynchronously reported"


class Stream:
    """A stream that notes what it waits for and what is recorded on it."""

    def __init__(self, device):
        self.noted = []

    def wait_event(self, event):
        self.noted.append(("wait", event))

    def record_event(self):
        event = object()
        self.noted.append(("record", event))
        return event


@pytest.fixture
def turns(monkeypatch):
    """Turns on a device whose current stream is that of each thread."""
    here = threading.local()
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: here.stream)
    made = streams.Turns(CUDA)
    made.here = here
    return made


def test_pass_waits_for_the_one_before_on_another_stream_also_when_that_failed(turns):
    first, second = turns.streams
    turns.here.stream = first
    with pytest.raises(ValueError, match="odd"), turns.take():
        raise ValueError("odd")
    turns.here.stream = second
    with turns.take():
        assert second.noted == [("wait", first.noted[-1][1])]
    turns.here.stream = first
    with turns.take():
        assert first.noted[-1] == ("wait", second.noted[-1][1])


def test_passes_of_two_threads_never_overlap(turns):
    at_once, most = [], []

    def compute(stream):
        turns.here.stream = stream
        for _ in range(5):
            with turns.take():
                at_once.append(stream)
                most.append(len(at_once))
                time.sleep(0.001)
                at_once.pop()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compute, turns.streams))
    assert max(most) == 1
    assert len(most) == 10


def test_calls_share_two_streams_of_a_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(streams, "_turns", streams.functools.cache(streams.Turns))
    assert streams.streams(CUDA) == streams.streams(torch.device("cuda:0"))
    assert len({*streams.streams(CUDA), *streams.streams(torch.device("cuda:1"))}) == 4
    assert streams.streams(torch.device("cpu")) == (None,)


def test_only_dense_tensors_of_the_cpu_are_pinned_whatever_their_strides(monkeypatch):
    plain, asked = torch.empty_like, []

    def empty_like(tensor, *, pin_memory):
        asked.append(pin_memory)
        return plain(tensor)

    monkeypatch.setattr(torch, "empty_like", empty_like)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda tensor: False)
    wide = torch.arange(3.0)[:, None].expand(3, 4)
    images = torch.rand(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    for tensor in (wide, images, torch.arange(6).reshape(2, 3).T):
        assert torch.equal(runtime._pin(tensor), tensor)
    assert runtime._pin(images).is_contiguous(memory_format=torch.channels_last)
    assert asked == [True] * 4
    for tensor in (torch.empty(2, device="meta"), torch.eye(3).to_sparse()):
        assert runtime._pin(tensor) is tensor


class Broken(FakeText):
    """Fails on one text as a GPU does on a number that no table has."""

    def preprocess(self, item):
        return {**super().preprocess(item), "odd": torch.tensor(item == "x")}

    def collate(self, items):
        return {**super().collate(items), "odd": torch.stack([item["odd"] for item in items])}

    def forward(self, tensors):
        if tensors["odd"].any():
            raise RuntimeError(ASSERT)
        return super().forward(tensors)


def broken_space():
    spec = EncoderSpec(name="broken", modality="text", target=f"{__name__}:Broken", dim=8)
    return Space("broken", [spec], runtime=Runtime("cpu", batch_size=2, workers=1))


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_device_that_broke_is_the_fault_of_no_item(on_error):
    with broken_space() as space:
        space.encode("text", ["a", "b"])
        with pytest.raises(DeviceError, match=r"device cpu failed(.|\n)*CUDA_LAUNCH_BLOCKING") as caught:
            space.encode("text", ["a", "b", "c", "x", "d"], on_error=on_error)
        assert not isinstance(caught.value, InputError)


def test_device_that_says_only_in_the_end_that_it_broke_is_named_as_well(monkeypatch):
    def fail(*arguments):
        raise RuntimeError(ASSERT)

    with broken_space() as space:
        monkeypatch.setattr(lane, "_to_cpu", fail)
        with pytest.raises(DeviceError, match="encoder 'broken'"):
            space.encode("text", ["a", "b"], on_error="skip")


@pytest.mark.parametrize(
    ("said", "broke", "memory"),
    [
        (ASSERT, True, False),
        ("CUDA error: an illegal memory access was encountered", True, False),
        ("CUDA error: out of memory", False, True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", False, True),
        ("cuDNN error: CUDNN_STATUS_ALLOC_FAILED", False, True),
        ("MPS backend out of memory (MPS allocated: 9 GB)", False, True),
        ("CUDA error: invalid configuration argument", False, False),
        ("no illegal memory access at all", False, False),
    ],
)
def test_words_of_devices_are_told_apart(said, broke, memory):
    assert device_broke(RuntimeError(said)) == broke
    assert out_of_memory(RuntimeError(said)) == memory


@pytest.fixture
def both():
    """Spaces of the same fakes on the CPU and on the GPU."""
    with (
        Space("fake", fake_specs(), runtime=Runtime("cpu", "float32")) as slow,
        Space("fake", fake_specs(), runtime=Runtime("cuda", "float32", batch_size=4)) as quick,
    ):
        yield slow, quick


@pytest.mark.gpu
def test_gpu_fuses_parts_as_the_cpu_does(both):
    items = [
        (Image.new("RGB", (20 + n, 16), (9 * n, 40, 7)), f"{n} in red" if n % 3 else None) for n in range(9)
    ]
    expected, found = (space.fuse("image+text", (1, 2)).encode("image+text", items).vectors for space in both)
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.gpu
def test_gpu_gives_tokens_and_many_vectors_as_the_cpu_does(both):
    texts = [f"text {'long ' * (n % 7)}{n}" for n in range(40)]
    expected, found = (space.encode_tokens("text", texts) for space in both)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    many = []
    for device in ("cpu", "cuda"):
        with Space("many", fake_multi_specs(), runtime=Runtime(device, "float32", batch_size=4)) as space:
            many.append(space.encode_multi("text", texts))
    assert many[0].ends.tolist() == many[1].ends.tolist()
    np.testing.assert_allclose(many[0].vectors, many[1].vectors, atol=1e-5)


@pytest.mark.gpu
def test_gpu_keeps_no_more_memory_for_many_calls_than_for_few(both):
    texts = sample_items("text") * 300
    expected = both[0].encode("text", texts).vectors
    reserved = []
    for _ in range(20):
        np.testing.assert_allclose(both[1].encode("text", texts).vectors, expected, atol=1e-5)
        reserved.append(torch.cuda.memory_reserved())
    assert reserved[-1] == reserved[3]


@pytest.mark.gpu
def test_threads_that_share_a_gpu_get_their_own_vectors(both):
    batches = [[f"{thread} and {n}" for n in range(200)] for thread in range(6)]
    expected = [both[0].encode("text", batch).vectors for batch in batches]
    with ThreadPoolExecutor(len(batches)) as pool:
        found = list(pool.map(lambda batch: both[1].encode("text", batch).vectors, batches))
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.gpu
def test_device_without_a_number_stays_the_one_that_was_current():
    assert Runtime("cuda").device == torch.device("cuda", torch.cuda.current_device())
