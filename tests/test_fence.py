"""The caller's torch: nothing of it reaches a vector, and all of it is as it was afterwards."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager, nullcontext

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch._subclasses import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torchvision.transforms.functional import to_tensor

from mmencode.engine.building import build_tower
from mmencode.engine.runtime import Runtime
from mmencode.engine.towers import load_tower
from mmencode.isolation.fence import own_numbers, plain_torch
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeAudio, FakeImage, FakeText, sample_items

MODALITIES = ("text", "image", "audio")


class Made:
    """What an encoder makes without saying of which dtype, on which device, and by which numbers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(7)
        self.linear = nn.Linear(8, 8)
        self.register_buffer("scale", torch.tensor([1.5, 0.1, 3, 4, 5, 6, 7, 8]))

    def forward(self, tensors):
        features = super().forward(tensors)
        places = torch.arange(8) / 7 + torch.zeros(8) + torch.linspace(0, 1, 8)
        return self.linear(features) * self.scale + places + torch.matmul(features, torch.eye(8))


class Text(Made, FakeText):
    pass


class Image(Made, FakeImage):
    def preprocess(self, item):
        pixels = to_tensor(item.resize((8, 8)))  # asks torch what the default dtype is
        return {"stripes": pixels.mean(dim=(0, 1)) + torch.tensor(0.01)}


class Audio(Made, FakeAudio):
    def preprocess(self, item):
        changes = super().preprocess(item)["changes"]
        return {"changes": changes + torch.hann_window(8) + torch.arange(8) * 0.1}


def space_of_all():
    specs = [
        EncoderSpec(
            name=f"all/{modality}", modality=modality, target=f"{__name__}:{kind}", space="all", dim=8
        )
        for modality, kind in (("text", "Text"), ("image", "Image"), ("audio", "Audio"))
    ]
    return Space("all", specs, runtime=Runtime("cpu", "float32", batch_size=3, workers=2))


def vectors(space):
    return np.concatenate(
        [space.encode(modality, sample_items(modality, 5)).vectors for modality in MODALITIES]
    )


class Doubling(TorchFunctionMode):
    """A mode of the caller's own, which changes what it sees."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        doubled = isinstance(result, torch.Tensor) and result.is_floating_point() and func is torch.cat
        return result * 2 if doubled else result


@contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)
        vars(torch._GLOBAL_DEVICE_CONTEXT).clear()  # torch 2.8 can't say what the default is after that


@contextmanager
def deterministic():
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextmanager
def grad(enabled):
    before = torch.is_grad_enabled()
    torch.set_grad_enabled(enabled)
    try:
        yield
    finally:
        torch.set_grad_enabled(before)


STATES = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference mode": torch.inference_mode,
    "no grad": lambda: grad(False),
    "grad": lambda: grad(True),
    "a device context": lambda: torch.device("meta"),
    "a default device": lambda: default_device("meta"),
    "float64": lambda: default_dtype(torch.float64),
    "bfloat16": lambda: default_dtype(torch.bfloat16),
    "float16": lambda: default_dtype(torch.float16),
    "deterministic": deterministic,
    "a function mode": Doubling,
    "fake tensors": FakeTensorMode,
}


def state():
    """What torch says of the thread's and the process's settings."""
    return (
        torch.get_default_dtype(),
        str(torch.get_default_device()),
        torch.is_autocast_enabled("cpu"),
        torch.get_autocast_dtype("cpu"),
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.are_deterministic_algorithms_enabled(),
        torch.get_num_threads(),
        torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(),
        torch.get_rng_state().tolist(),
    )


@pytest.fixture(scope="module")
def plain():
    with space_of_all() as space:
        return vectors(space)


@pytest.mark.parametrize("name", STATES)
@pytest.mark.parametrize("loaded", ["before", "within"])
def test_no_state_of_the_caller_changes_a_vector_nor_is_changed(name, loaded, plain):
    with space_of_all() as space:
        if loaded == "before":
            vectors(space)
        with STATES[name]():
            with plain_torch():  # what reads the state must not be under it
                pass
            before = state()
            found = vectors(space)
            assert state() == before
        np.testing.assert_allclose(found, plain, atol=1e-6)
        np.testing.assert_allclose(vectors(space), plain, atol=1e-6)
        assert space.id == space_of_all().id


@settings(deadline=None, max_examples=15)
@given(st.permutations(sorted(STATES)).map(lambda names: names[:3]))
def test_states_within_states_change_nothing_either(names):
    with space_of_all() as space, ExitStack() as stack:
        expected = vectors(space_of_all())
        for name in names:
            stack.enter_context(STATES[name]())
        np.testing.assert_allclose(vectors(space), expected, atol=1e-6)


@pytest.mark.parametrize("verb", ["stream", "encode_tokens", "features"])
@pytest.mark.parametrize("name", ["autocast", "a default device", "bfloat16"])
def test_every_verb_is_fenced(verb, name):
    items = sample_items("text", 5)
    with space_of_all() as space:
        calls = {
            "stream": lambda: [part.vectors for part in space.stream("text", iter(items), chunk=2)],
            "features": lambda: [part.rows for part in space.features("text", items, chunk=2)],
            "encode_tokens": lambda: list(space.encode_tokens("text", items)),
        }
        expected = calls[verb]()
        with STATES[name]():
            found = calls[verb]()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_what_the_iterable_computes_is_computed_in_its_own_state():
    seen = []

    def items():
        for item in sample_items("text", 4):
            seen.append(
                (torch.is_autocast_enabled("cpu"), torch.zeros(1).dtype, torch.is_inference_mode_enabled())
            )
            yield item

    with space_of_all() as space, torch.autocast("cpu", torch.bfloat16), default_dtype(torch.float64):
        list(space.stream("text", items(), chunk=1))
    assert seen == [(True, torch.float64, False)] * 4


def test_default_dtype_of_other_threads_is_never_another():
    seen, done = set(), threading.Event()

    def watch():
        while not done.is_set():
            seen.add((torch.get_default_dtype(), torch.zeros(1).dtype))

    with default_dtype(torch.float64):
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            with space_of_all() as space:
                vectors(space)
        finally:
            done.set()
            watcher.join(60)
    assert seen == {(torch.float64, torch.float64)}


def test_weights_made_in_the_callers_inference_mode_are_ordinary_ones():
    spec = space_of_all().specs["text"]
    with torch.inference_mode():
        tower = load_tower(spec, Runtime("cpu", "float32"))
        encoder, _, _ = build_tower(spec)
    for module in (tower.encoder, encoder):
        assert not any(tensor.is_inference() for tensor in module.state_dict().values())
    encoder.linear.requires_grad_(True)
    encoder(encoder.collate([encoder.preprocess("a")])).sum().backward()
    assert encoder.linear.weight.grad is not None


def made_in_inference_mode():
    with torch.inference_mode():
        return Text()


def test_encoder_whose_weights_were_made_in_inference_mode_is_loaded():
    spec = EncoderSpec(name="inference", modality="text", target=f"{__name__}:made_in_inference_mode", dim=8)
    items = sample_items("text", 5)
    with Space("inference", [spec], runtime=Runtime("cpu")) as space, space_of_all() as plain_space:
        np.testing.assert_allclose(
            space.encode("text", items).vectors, plain_space.encode("text", items).vectors, atol=1e-6
        )


def drawn(seed):
    """Numbers as modules draw them, after a seed that some encoders set themselves."""
    if seed is not None:
        torch.manual_seed(seed)
    modules = [nn.Linear(3, 3), nn.LSTM(3, 4), nn.Embedding(5, 3), nn.Conv1d(2, 2, 3)]
    tensors = [nn.init.trunc_normal_(torch.empty(5)), nn.init.orthogonal_(torch.empty(3, 3)), torch.rand(3)]
    tensors += [torch.randn(3), torch.randperm(5).float(), torch.randint(0, 9, (4,)).float()]
    return torch.cat(
        [p.detach().flatten() for m in modules for p in m.parameters()] + [t.flatten() for t in tensors]
    )


@pytest.mark.parametrize("seed", [None, 0, 5])
@pytest.mark.parametrize("before", [0, 5, None])
def test_what_is_built_draws_the_same_numbers_apart_from_the_callers(seed, before):
    if before is not None:
        torch.manual_seed(before)
    at = torch.get_rng_state()
    expected = drawn(seed)
    torch.set_rng_state(at)
    with own_numbers():
        found = drawn(seed)
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), at)


def test_functions_in_the_place_of_those_that_initialise_draw_apart_too(monkeypatch):
    real = nn.init.normal_
    monkeypatch.setattr(
        nn.init,
        "normal_",
        lambda tensor, mean=0.0, std=1.0, generator=None: real(tensor, mean, std, generator),
    )
    torch.manual_seed(3)
    at = torch.get_rng_state()
    with own_numbers(8):
        found = nn.init.normal_(torch.empty(4))
    assert torch.equal(found, torch.empty(4).normal_(generator=torch.Generator().manual_seed(8)))
    assert torch.equal(torch.get_rng_state(), at)


def test_numbers_of_a_seed_are_those_that_it_gives_the_process():
    torch.manual_seed(8)
    expected = drawn(None)
    torch.manual_seed(3)
    at = torch.get_rng_state()
    with own_numbers(8):
        found = drawn(None)
    assert torch.equal(found, expected)
    assert torch.equal(torch.get_rng_state(), at)


def slow_to_build():
    for _ in range(300):
        nn.Linear(30, 30)
        nn.Dropout()(torch.ones(3))  # draws where no generator can be named
    return FakeText()


def test_loading_gives_no_other_thread_a_number_twice():
    numbers, done = [], threading.Event()

    def draw():
        while not done.is_set():
            numbers.append(torch.randint(2**62, ()).item())

    spec = EncoderSpec(name="slow", modality="text", target=f"{__name__}:slow_to_build", dim=8)
    torch.manual_seed(1)
    drawing = threading.Thread(target=draw)
    drawing.start()
    try:
        for _ in range(3):
            build_tower(spec)
    finally:
        done.set()
        drawing.join(60)
    assert len(numbers) > 100
    assert len(set(numbers)) == len(numbers)


def test_state_is_plain_within_the_fence_and_back_behind_it():
    with ExitStack() as stack:
        for name in ("autocast", "a device context", "float64", "a function mode"):
            stack.enter_context(STATES[name]())
        before = state()
        with plain_torch():
            made = torch.tensor([0.5])
            assert (made.dtype, made.device.type) == (torch.float32, "cpu")
            assert not torch.is_autocast_enabled("cpu")
            with torch.device("meta"):
                assert torch.zeros(2).device.type == "meta"
            assert torch.zeros(2).device.type == "cpu"
        assert state() == before
    with nullcontext():
        assert torch.zeros(1).dtype is torch.float32
