"""Each check of the conformance suite catches the encoder that breaks what it protects."""

from __future__ import annotations

import itertools
import random
import socket
import time
import unittest
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from mmencode.encoder import identify
from mmencode.errors import IdentityError, InputError
from mmencode.spec import EncoderSpec
from mmencode.testing import EncoderConformance, FakeAudio, FakeImage, FakeText, sample_items

SPEC = EncoderSpec(name="zoo", modality="text", target=f"{__name__}:ZOO.built", dim=8)


class ZOO:
    """Where the encoder under test is put, so that a spec's target can name it."""

    built = FakeText


class MeanOverPadding(FakeText):
    def forward(self, tensors):
        return (tensors["hidden"] + 0.5).mean(dim=1)


class TrainMode(FakeText):
    def eval(self):
        return self.train()


class RandomCrop(FakeText):
    def preprocess(self, item):
        start = random.randrange(max(1, len(item) // 2))
        return super().preprocess(item[start:])


class GlobalSeed(FakeText):
    def forward(self, tensors):
        torch.manual_seed(0)
        return super().forward(tensors)


class RandomWeights(FakeText):
    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(8, 8)

    def forward(self, tensors):
        return self.head(super().forward(tensors))


class ShiftedRows(FakeText):
    def forward(self, tensors):
        return super().forward(tensors).roll(1, dims=0)


class LeakyGradient(FakeText):
    def requires_grad_(self, needed=True):
        return self

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(8))


class NetworkCall(FakeText):
    def forward(self, tensors):
        with socket.socket() as connection:
            connection.connect(("127.0.0.1", 9))
        return super().forward(tensors)


class Deaf(FakeText):
    def forward(self, tensors):
        return torch.ones(len(tensors["hidden"]), 8)


class Unworded(FakeText):
    preprocessing = ""


class SharedBuffer(FakeText):
    def __init__(self):
        super().__init__()
        self.last = None

    def preprocess(self, item):
        self.last = item
        time.sleep(0.001)
        return super().preprocess(self.last)


class Free(FakeText):
    def cost(self, tensors):
        return 0


class MaskOfAnotherShape(FakeText):
    def forward_tokens(self, tensors):
        return tensors["hidden"], tensors["mask"][:, :1]

    def forward(self, tensors):
        return super().forward_tokens(tensors)[0][:, 0]


class AcceptsNothingness(FakeText):
    """Counts its batches: a different vector on the second call."""

    counter = itertools.count()

    def forward(self, tensors):
        return super().forward(tensors) + next(self.counter)


CAUGHT_BY = {
    MeanOverPadding: "test_vector_does_not_depend_on_neighbours",
    TrainMode: "test_encoder_is_in_eval_mode",
    RandomCrop: "test_same_items_give_same_vectors",
    GlobalSeed: "test_encoding_leaves_global_state_alone",
    RandomWeights: "test_reloading_changes_nothing",
    ShiftedRows: "test_vector_does_not_depend_on_batch_size",
    LeakyGradient: "test_parameters_need_no_gradient",
    Deaf: "test_different_items_have_different_vectors",
    Unworded: "test_target_builds_an_encoder",
    Free: "test_cost_is_a_positive_number",
    MaskOfAnotherShape: "test_tokens_come_with_a_mask",
    AcceptsNothingness: "test_same_items_give_same_vectors",
    SharedBuffer: "test_preprocess_is_thread_safe",
}


@pytest.fixture
def conformance(monkeypatch):
    def make(encoder, spec=SPEC, items=None):
        monkeypatch.setattr(ZOO, "built", encoder)
        name = f"{SPEC.name}-{encoder.__name__}"
        return type("Suite", (EncoderConformance,), {"spec": replace(spec, name=name), "items": items})()

    yield make
    EncoderConformance.teardown_class()


@pytest.mark.parametrize("encoder", CAUGHT_BY, ids=lambda encoder: encoder.__name__)
def test_broken_encoder_is_caught_by_the_check_that_should(conformance, encoder):
    check = CAUGHT_BY[encoder]
    getattr(conformance(FakeText), check)()
    with pytest.raises((AssertionError, RuntimeError)):
        getattr(conformance(encoder), check)()


def test_network_call_is_caught(conformance, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: None)
    with pytest.raises(Exception, match="opened a connection"):
        conformance(NetworkCall).test_encoding_needs_no_network()


def test_wrong_declarations_are_caught(conformance):
    with pytest.raises(RuntimeError, match="shape"):
        conformance(FakeText, replace(SPEC, dim=9)).test_vectors_are_finite_float32_of_the_declared_width()
    lying = replace(SPEC, identity=replace(identify(FakeText()), pooling="cls"))
    with pytest.raises(IdentityError, match="pooling"):
        conformance(FakeText, lying).test_declared_identity_is_the_real_one()


def test_plugin_that_imports_torch_is_caught(conformance, monkeypatch):
    suite = conformance(FakeText)
    monkeypatch.setattr("subprocess.run", lambda *_, **__: type("Done", (), {"stdout": "True\n"}))
    with pytest.raises(AssertionError, match="put that in the target"):
        suite.test_declaring_imports_no_torch()


def test_encoder_that_swallows_bad_items_is_caught(conformance, monkeypatch):
    monkeypatch.setattr("mmencode.inputs._READERS", {})
    tolerant = type(
        "Tolerant", (FakeText,), {"preprocess": lambda self, item: FakeText.preprocess(self, str(item))}
    )
    with pytest.raises(AssertionError, match="without an error"):
        conformance(tolerant).test_bad_item_is_named()


def test_suite_finds_an_installed_encoder_by_name(monkeypatch, make_registry):
    from mmencode.testing.conformance import suite as module

    monkeypatch.setattr(module, "registry", lambda: make_registry(zoo=(SPEC,)))
    suite = type("Suite", (EncoderConformance,), {"name": "zoo"})
    assert suite.declared() == SPEC


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_sample_items_are_readable_different_and_the_same_every_time(space, modality):
    first, second = (space.encode(modality, sample_items(modality, 5)).vectors for _ in range(2))
    assert (first == second).all()
    assert len({vector.tobytes() for vector in first}) == 5


def test_sample_items_of_another_modality_are_for_the_plugin_to_name():
    with pytest.raises(ValueError, match="give your own"):
        sample_items("smell")


def test_bad_item_still_raises_input_error(conformance):
    with pytest.raises(InputError):
        conformance(FakeText).encode([None])


def test_image_fake_conforms_under_another_name(conformance):
    spec = replace(SPEC, modality="image")
    conformance(FakeImage, spec).test_vector_does_not_depend_on_neighbours()


def test_there_are_thirty_checks_and_each_says_what_it_protects():
    checks = [name for name in dir(EncoderConformance) if name.startswith("test_")]
    assert len(checks) >= 30
    assert all(getattr(EncoderConformance, name).__doc__ for name in checks)


class SilentlyShort(FakeText):
    def preprocess(self, item):
        return super().preprocess(item[:50])


class Leaky(FakeText):
    kept: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.kept.append(self)


class StaysBehind(FakeText):
    def __init__(self):
        super().__init__()
        self.scale = torch.ones(8)


class LosesPrecision(FakeText):
    def forward(self, tensors):
        features = super().forward(tensors)
        return features.flip(1) if features.dtype == torch.bfloat16 else features


class WritesIntoItems(FakeAudio):
    def preprocess(self, item):
        item.samples[0] += 1
        return super().preprocess(item)


class IgnoresRate(FakeAudio):
    def preprocess(self, item):
        spectrum = np.abs(np.fft.rfft(item.samples, 4096))[:64].reshape(8, 8).mean(axis=1)
        return {"changes": torch.from_numpy(spectrum).float()}


class NeedsLength(FakeAudio):
    def preprocess(self, item):
        if len(item.samples) < 400:
            raise ValueError("too short")
        return super().preprocess(item)


CAUGHT_TOO = {
    SilentlyShort: ("text", "test_over_long_text_is_taken_or_warned_of"),
    Leaky: ("text", "test_closing_lets_the_encoder_go"),
    StaysBehind: ("text", "test_moving_the_encoder_leaves_nothing_behind"),
    LosesPrecision: ("text", "test_bfloat16_stays_close"),
    WritesIntoItems: ("audio", "test_preprocess_leaves_its_item_alone"),
    IgnoresRate: ("audio", "test_another_sample_rate_is_nearly_the_same_recording"),
    NeedsLength: ("audio", "test_one_sample_and_silence_are_recordings"),
}


@pytest.mark.parametrize("encoder", CAUGHT_TOO, ids=lambda encoder: encoder.__name__)
def test_encoder_that_breaks_a_promise_about_items_is_caught(conformance, encoder):
    modality, check = CAUGHT_TOO[encoder]
    spec = replace(SPEC, modality=modality)
    getattr(conformance(FakeAudio if modality == "audio" else FakeText, spec), check)()
    with pytest.raises((AssertionError, InputError)):
        getattr(conformance(encoder, spec), check)()


def test_checks_that_do_not_apply_skip_with_the_reason(conformance):
    suite = conformance(FakeText)
    for check in (
        "test_one_pixel_is_an_image",
        "test_a_minute_is_a_recording",
        "test_works_in_another_process",
    ):
        with pytest.raises(unittest.SkipTest, match="only"):
            getattr(suite, check)()
    unsupported = conformance(FakeText, replace(SPEC, bf16_cosine=None))
    with pytest.raises(unittest.SkipTest, match="bfloat16"):
        unsupported.test_bfloat16_stays_close()
