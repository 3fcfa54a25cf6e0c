"""Each check of the conformance suite catches the encoder that breaks what it protects."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import socket
import sys
import time
import unittest
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch

from mmencode.encoder import identify
from mmencode.errors import IdentityError, InputError
from mmencode.plugins.registry import registry
from mmencode.plugins.spec import EncoderSpec
from mmencode.testing import (
    EncoderConformance,
    FakeAudio,
    FakeImage,
    FakeMultiText,
    FakeText,
    sample_items,
)
from mmencode.testing.conformance import elsewhere, manners

SPEC = EncoderSpec(name="zoo", modality="text", target=f"{__name__}:ZOO.built", dim=8)
GOOD = {"text": FakeText, "image": FakeImage, "audio": FakeAudio}


class ZOO:
    """Where the encoder under test is put, so that a spec's target can name it."""

    built = FakeText


class MeanOverPadding(FakeText):
    def forward(self, tensors):
        return (tensors["hidden"] + 0.5).mean(dim=1)


class TrainMode(FakeText):
    def eval(self):
        return self.train()


class BatchNormInTrainMode(FakeText):
    def __init__(self):
        super().__init__()
        self.norm = torch.nn.BatchNorm1d(8)

    def forward(self, tensors):
        features = super().forward(tensors)
        return self.norm.train()(features) if len(features) > 1 else self.norm.eval()(features)


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


class BackwardRows(FakeText):
    def forward(self, tensors):
        return super().forward(tensors).flip(0)


class Positional(FakeText):
    def forward(self, tensors):
        features = super().forward(tensors)
        return features + torch.arange(len(features))[:, None] * torch.eye(8)[0]


class Squeezed(FakeText):
    def forward(self, tensors):
        return super().forward(tensors).squeeze(0)


class NotFinite(FakeText):
    def forward(self, tensors):
        return super().forward(tensors) / 0


class WithoutUnicode(FakeText):
    def preprocess(self, item):
        return super().preprocess(item.encode("ascii").decode())


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


class TriesTheNetwork(FakeText):
    def forward(self, tensors):
        with contextlib.suppress(Exception), socket.socket() as connection:
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


class SharedForward(FakeText):
    def __init__(self):
        super().__init__()
        self.last = None

    def forward(self, tensors):
        self.last = tensors
        time.sleep(0.005)
        return super().forward(self.last)


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


class SilentlyShort(FakeText):
    def preprocess(self, item):
        return super().preprocess(item[:50])


class Leaky(FakeText):
    kept: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.kept.append(self)


class KeepsWeights(FakeText):
    kept: ClassVar[list] = []

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(8))
        self.kept.append(self.state_dict())


class Hoards(FakeText):
    kept: ClassVar[list] = []

    def forward(self, tensors):
        self.kept.append(super().forward(tensors))
        return self.kept[-1]


class StaysBehind(FakeText):
    def __init__(self):
        super().__init__()
        self.scale = torch.ones(8)


class StaysBehindInAList(FakeText):
    def __init__(self):
        super().__init__()
        self.layers = [torch.nn.Linear(8, 8)]


class StaysBehindLater(FakeText):
    """Makes its constants when they are first needed, and keeps them on that device."""

    scales = None

    def forward(self, tensors):
        features = super().forward(tensors)
        if self.scales is None:
            self.scales = [torch.ones(8, device=features.device)]
        return features * self.scales[0]


class ChangesItsWeights(FakeImage):
    def forward(self, tensors):
        self.gain.data.mul_(1.0001)
        return super().forward(tensors)


class ChangesItsWeightsElsewhere(FakeImage):
    """Reaches its owner's network by a name, past whatever copy is encoding."""

    owned = None

    def __init__(self):
        super().__init__()
        type(self).owned = self

    def eval(self):
        self.owned.gain.requires_grad_(False)
        return super().eval()


class LosesItselfOnTheWay(FakeText):
    moves = 0

    def _apply(self, function, recurse=True):
        self.moves += 1
        return super()._apply(function, recurse)

    def forward(self, tensors):
        return super().forward(tensors) + self.moves * torch.eye(8)[0]


class LosesPrecision(FakeText):
    def forward(self, tensors):
        features = super().forward(tensors)
        return features.flip(1) if features.dtype == torch.bfloat16 else features


class UsesFileFormat(FakeImage):
    def preprocess(self, item):
        stripes = super().preprocess(item)["stripes"]
        return {"stripes": stripes.flip(0) if getattr(item, "format", None) == "PNG" else stripes}


class NeedsPixels(FakeImage):
    def preprocess(self, item):
        if item.width < 8:
            raise ValueError("too narrow")
        return super().preprocess(item)


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


class ForgetsTheEnd(FakeAudio):
    def preprocess(self, item):
        return super().preprocess(replace(item, samples=item.samples[: 10 * item.rate]))


class WithoutPolicy(FakeAudio):
    windows = ""


class CountsNothing(FakeMultiText):
    def forward_tokens(self, tensors):
        return tensors["hidden"], tensors["mask"] & False


class CountsPadding(FakeMultiText):
    def forward_tokens(self, tensors):
        hidden, mask = super().forward_tokens(tensors)
        return hidden + 0.1, torch.ones_like(mask)


class LosesPrecisionOfOne(FakeMultiText):
    """Turns one vector of many, which their mean hardly shows."""

    def forward_tokens(self, tensors):
        hidden, mask = super().forward_tokens(tensors)
        if hidden.dtype == torch.bfloat16:
            hidden = torch.cat([hidden[:, :1].flip(2), hidden[:, 1:]], dim=1)
        return hidden, mask


CAUGHT_BY = [
    (Unworded, "text", "target_builds_an_encoder"),
    (TrainMode, "text", "encoder_is_in_eval_mode"),
    (LeakyGradient, "text", "parameters_need_no_gradient"),
    (NotFinite, "text", "vectors_are_finite_float32_of_the_declared_width"),
    (RandomCrop, "text", "same_items_give_same_vectors"),
    (AcceptsNothingness, "text", "same_items_give_same_vectors"),
    (RandomWeights, "text", "reloading_changes_nothing"),
    (MeanOverPadding, "text", "vector_does_not_depend_on_neighbours"),
    (BatchNormInTrainMode, "text", "vector_does_not_depend_on_neighbours"),
    (ShiftedRows, "text", "vector_does_not_depend_on_batch_size"),
    (Positional, "text", "vector_does_not_depend_on_position"),
    (Positional, "text", "duplicates_have_equal_vectors"),
    (ShiftedRows, "text", "order_is_kept"),
    (BackwardRows, "text", "order_is_kept"),
    (Deaf, "text", "different_items_have_different_vectors"),
    (Squeezed, "text", "one_item_is_a_batch"),
    (LosesPrecision, "text", "bfloat16_stays_close"),
    (MaskOfAnotherShape, "text", "tokens_come_with_a_mask"),
    (CountsNothing, "text", "many_vectors_are_unit_float32_of_the_declared_width"),
    (CountsPadding, "text", "many_vectors_do_not_depend_on_neighbours"),
    (LosesPrecisionOfOne, "text", "many_vectors_stay_close_in_bfloat16"),
    (UsesFileFormat, "image", "every_kind_of_image_is_one_image"),
    (NeedsPixels, "image", "one_pixel_is_an_image"),
    (WritesIntoItems, "audio", "every_kind_of_recording_is_one_recording"),
    (IgnoresRate, "audio", "another_sample_rate_is_nearly_the_same_recording"),
    (NeedsLength, "audio", "one_sample_and_silence_are_recordings"),
    (ForgetsTheEnd, "audio", "a_minute_is_a_recording"),
    (WithoutPolicy, "audio", "a_minute_is_a_recording"),
    (SilentlyShort, "text", "over_long_text_is_taken_or_warned_of"),
    (WithoutUnicode, "text", "unicode_is_text"),
    (SharedBuffer, "text", "preprocess_is_thread_safe"),
    (SharedForward, "text", "eight_threads_may_encode_at_once"),
    (Leaky, "text", "closing_lets_the_encoder_go"),
    (KeepsWeights, "text", "closing_lets_the_encoder_go"),
    (Hoards, "text", "encoding_again_keeps_nothing"),
    (StaysBehind, "text", "moving_the_encoder_leaves_nothing_behind"),
    (StaysBehindLater, "text", "moving_the_encoder_leaves_nothing_behind"),
    (StaysBehindInAList, "text", "moving_the_encoder_leaves_nothing_behind"),
    (ChangesItsWeights, "image", "the_network_stays_its_owners"),
    (ChangesItsWeightsElsewhere, "image", "the_network_stays_its_owners"),
    (LosesItselfOnTheWay, "text", "device_and_back_changes_nothing"),
    (WritesIntoItems, "audio", "preprocess_leaves_its_item_alone"),
    (Free, "text", "cost_is_a_positive_number"),
    (GlobalSeed, "text", "encoding_leaves_global_state_alone"),
    (TriesTheNetwork, "text", "encoding_needs_no_network"),
]
# Those that tests of their own catch, below or in another file.
CAUGHT_BELOW = {
    "an_encoder_that_joins_a_space_was_measured_there",  # in test_joining
    *("declaring_imports_nothing_heavy", "declaring_takes_under_50_ms", "spec_is_valid", "spec_is_frozen"),
    *("spec_survives_pickling", "declared_identity_is_the_real_one", "card_is_the_same_in_another_process"),
    *("every_form_of_a_probe_is_one_item", "probes_are_the_same_each_time", "preview_shows_every_probe"),
    "reader_says_what_is_wrong_with_an_item",  # the four in test_modalities.py
    *("every_part_counts", "absent_part_is_left_out_or_refused", "parts_that_repeat_count"),
    "items_with_other_parts_are_no_neighbours_in_a_vector",  # the four in composites/test_conformance.py
    "each_item_of_a_file_is_read_by_its_name",  # in test_leaflets_conform.py
    *("each_side_has_its_own_vectors_beside_the_other", "an_instruction_changes_the_vectors"),
    "vectors_can_be_cut_to_each_declared_width",  # the three in test_conformance_of_sides.py
    *("works_in_another_process", "bad_item_is_named", "identity_does_not_depend_on_where_weights_lie"),
}
# Core does these before an encoder is asked, so no encoder can break them; they would catch a broken core.
CORES_OWN = {
    *("empty_batch_gives_no_rows", "stereo_of_equal_channels_is_mono"),
    "bad_item_does_not_hurt_its_neighbours",
}


@pytest.fixture
def conformance(monkeypatch):
    def make(encoder, spec=SPEC, items=None):
        monkeypatch.setattr(ZOO, "built", encoder)
        name = f"{SPEC.name}-{encoder.__name__}"
        return type("Suite", (EncoderConformance,), {"spec": replace(spec, name=name), "items": items})()

    # The CPU by another name stands in for a device, which machines that run these tests may not have.
    monkeypatch.setattr(manners, "devices", lambda: {"cpu:0": "the same CPU", "cpu": "the CPU"})
    yield make
    EncoderConformance.teardown_class()


@pytest.mark.parametrize(
    ("encoder", "modality", "check"), CAUGHT_BY, ids=lambda value: getattr(value, "__name__", None)
)
def test_broken_encoder_is_caught_by_the_check_that_should(conformance, encoder, modality, check):
    many = issubclass(encoder, FakeMultiText)
    spec = replace(SPEC, modality=modality, outputs="many" if many else "one")
    getattr(conformance(FakeMultiText if many else GOOD[modality], spec), f"test_{check}")()
    suite = conformance(encoder, spec)
    with contextlib.suppress(Exception):  # as other checks do before it
        suite.encode(suite.samples())
    with pytest.raises((AssertionError, RuntimeError, InputError)):
        getattr(suite, f"test_{check}")()


def test_every_check_has_an_encoder_that_it_catches():
    checks = {name.removeprefix("test_") for name in dir(EncoderConformance) if name.startswith("test_")}
    assert checks == {check for _, _, check in CAUGHT_BY} | CAUGHT_BELOW | CORES_OWN


class Placed(FakeText):
    """A member of a family whose words say where its weights lie."""

    def __init__(self, variant):
        super().__init__()
        self.preprocessing = f"characters, by {variant}"


class Portable(FakeText):
    def __init__(self, variant):
        super().__init__()
        self.architecture = "characters"


@pytest.mark.parametrize("place", ["weights.pt", "folder"])
def test_encoder_that_is_another_where_its_weights_lie_elsewhere_is_caught(conformance, tmp_path, place):
    (tmp_path / "weights.pt").write_bytes(b"x")
    (tmp_path / "folder").mkdir()

    def suite(encoder):
        checks = conformance(encoder)
        family = replace(SPEC, name=f"{encoder.__name__}/*")
        type(checks).spec = family.member(f"{tmp_path}/{place}")
        return checks

    suite(Portable).test_identity_does_not_depend_on_where_weights_lie()
    with pytest.raises(AssertionError, match="path is part of the identity"):
        suite(Placed).test_identity_does_not_depend_on_where_weights_lie()
    with pytest.raises(unittest.SkipTest, match="whose names are paths"):
        conformance(FakeText).test_identity_does_not_depend_on_where_weights_lie()


def test_network_call_is_caught(conformance, monkeypatch):
    monkeypatch.setattr("socket.socket.connect", lambda *_: None)
    with pytest.raises(Exception, match="opened a connection"):
        conformance(NetworkCall).test_encoding_needs_no_network()


SIDE_EFFECTS = {
    "random's generator": random.random,
    "numpy's generator": np.random.rand,
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's deterministic mode": lambda: torch.use_deterministic_algorithms(True),
    "torch's matmul precision": lambda: torch.set_float32_matmul_precision("medium"),
    "numpy's error handling": lambda: np.seterr(over="ignore"),
    "the current folder": lambda: os.chdir(".."),
    "the environment": lambda: os.environ.update(MMENCODE_ZOO="open"),
    "the level of the root logger": lambda: logging.getLogger().setLevel(logging.CRITICAL),
}


@pytest.fixture
def restored(monkeypatch, tmp_path):
    """The global state as it was, when a test has ended."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("MMENCODE_ZOO", "closed")
    threads, precision = torch.get_num_threads(), torch.get_float32_matmul_precision()
    level, errors = logging.getLogger().level, np.geterr()
    yield
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision(precision)
    np.seterr(**errors)
    logging.getLogger().setLevel(level)


@pytest.mark.parametrize("what", SIDE_EFFECTS)
def test_loading_that_changes_global_state_is_caught_and_what_it_changed_is_said(conformance, restored, what):
    class Meddler(FakeText):
        def __init__(self):
            super().__init__()
            SIDE_EFFECTS[what]()

    suite = conformance(Meddler)
    suite.encode(suite.samples())
    with pytest.raises(AssertionError, match=f"loading or encoding changes {what}"):
        suite.test_encoding_leaves_global_state_alone()


def test_gradient_mode_that_loading_changes_is_put_back(conformance):
    class Meddler(FakeText):
        def __init__(self):
            super().__init__()
            torch.set_grad_enabled(False)

    suite = conformance(Meddler)
    suite.test_encoding_leaves_global_state_alone()
    assert torch.is_grad_enabled()


def test_wrong_declarations_are_caught(conformance):
    with pytest.raises(RuntimeError, match="shape"):
        conformance(FakeText, replace(SPEC, dim=9)).test_vectors_are_finite_float32_of_the_declared_width()
    lying = replace(SPEC, identity=replace(identify(FakeText()), pooling="cls"))
    with pytest.raises(IdentityError, match="pooling"):
        conformance(FakeText, lying).test_declared_identity_is_the_real_one()


def test_spec_of_a_kind_of_its_own_is_caught():
    class Loose(EncoderSpec):
        __setattr__ = object.__setattr__

    class Suite(EncoderConformance):
        spec = Loose(name="zoo", modality="text", target="zoo:build", dim=8)

    with pytest.raises(AssertionError, match="can be changed"):
        Suite().test_spec_is_frozen()
    with pytest.raises((AttributeError, TypeError), match="Loose"):
        Suite().test_spec_survives_pickling()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Put a distribution with one plugin, a module, where this process and new ones find it."""

    def install(name, source, **modules):
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[mmencode]\nzoo = {name}\n")
        for module, content in {name: source, **modules}.items():
            (tmp_path / f"{module}.py").write_text(content)
            sys.modules.pop(module, None)
        monkeypatch.syspath_prepend(tmp_path)
        registry.cache_clear()

    yield install
    EncoderConformance.teardown_class()
    registry.cache_clear()


DECLARE = """
from mmencode import EncoderSpec, hookimpl

@hookimpl
def mmencode_encoders():
    {before}
    for target in ("mmencode.testing:FakeText", "zoo_salted:Salted"):
        yield EncoderSpec(name=f"zoo/{{target[-4:]}}", modality="text", target=target, dim=8)
"""
SALTED = """
import os
import torch
from mmencode.testing import FakeText

class Salted(FakeText):
    preprocessing = f"by process {os.getpid()}"

    def preprocess(self, item):
        return {"hidden": torch.tensor([[hash(item + str(place)) % 97 + 1.0 for place in range(8)]])}
"""


def named(encoder, items=None):
    return type("Suite", (EncoderConformance,), {"name": encoder, "items": items})()


@pytest.mark.parametrize(
    ("before", "check", "words"),
    [
        ("import librosa", "declaring_imports_nothing_heavy", "imports librosa: import that in the target"),
        ("import time; time.sleep(0.06)", "declaring_takes_under_50_ms", r"takes \d+ ms at best"),
    ],
)
def test_declaration_that_makes_everybody_wait_is_caught(installed, before, check, words):
    installed("zoo_waits", DECLARE.format(before=before), librosa="")
    with pytest.raises(AssertionError, match=words):
        getattr(named("zoo/Text"), f"test_{check}")()


def test_quick_declaration_passes_however_long_its_neighbours_take(installed):
    installed("zoo_waits", DECLARE.format(before="import time; time.sleep(0.2)").replace("zoo/", "slow/"))
    installed("zoo_quick", DECLARE.format(before="pass"))
    named("zoo/Text").test_declaring_imports_nothing_heavy()
    named("zoo/Text").test_declaring_takes_under_50_ms()


def test_encoder_that_is_another_in_another_process_is_caught(installed):
    installed("zoo_plugin", DECLARE.format(before="pass"), zoo_salted=SALTED)
    good = named("zoo/Text", items=["one", "two", "three"])
    good.test_works_in_another_process()
    good.test_card_is_the_same_in_another_process()
    with pytest.raises(AssertionError, match="in another process: the vectors differ by"):
        named("zoo/lted").test_works_in_another_process()
    with pytest.raises(AssertionError, match="in another process it is zoo/lted@"):
        named("zoo/lted").test_card_is_the_same_in_another_process()


def test_process_that_fails_says_why(installed):
    installed("zoo_plugin", DECLARE.format(before="pass"), zoo_salted="raise RuntimeError('only once')")
    with pytest.raises(AssertionError, match=r"a fresh process failed: .* raised RuntimeError: only once"):
        named("zoo/lted").test_works_in_another_process()


def test_a_fresh_process_that_hangs_is_an_error_that_says_for_how_long(monkeypatch):
    monkeypatch.setattr(elsewhere, "PATIENCE", 0.3)
    with pytest.raises(AssertionError, match=r"a fresh process gave no answer within 0\.3 s"):
        elsewhere._answer("import time; time.sleep(600)", None)


def test_items_that_cannot_be_sent_to_another_process_skip_the_checks_that_need_it(installed):
    installed("zoo_plugin", DECLARE.format(before="pass"))
    suite = named("zoo/Text", items=[lambda: 1, lambda: 2, lambda: 3])
    with pytest.raises(unittest.SkipTest, match="only items that can be pickled"):
        suite.test_works_in_another_process()


@pytest.mark.parametrize("modality", GOOD)
def test_encoder_that_swallows_bad_items_is_caught(conformance, monkeypatch, modality):
    class Tolerant(FakeText):
        def preprocess(self, item):
            return super().preprocess(repr(item))

    suite = conformance(Tolerant, replace(SPEC, modality=modality), items=["one", "two", "three"])
    monkeypatch.setattr(f"mmencode.inputs.{modality}.read", lambda item, limits: item)
    with pytest.raises(AssertionError, match="None was encoded without an error"):
        suite.test_bad_item_is_named()


def test_bad_item_still_raises_input_error(conformance):
    with pytest.raises(InputError):
        conformance(FakeText).encode([None])


def test_suite_finds_an_installed_encoder_by_name(monkeypatch, make_registry):
    from mmencode.testing.conformance import suite as module

    monkeypatch.setattr(module, "registry", lambda: make_registry(zoo=(SPEC,)))
    suite = type("Suite", (EncoderConformance,), {"name": "zoo"})
    assert suite.get_spec() == SPEC


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_sample_items_are_readable_different_and_the_same_every_time(space, modality):
    first, second = (space.encode(modality, sample_items(modality, 5)).vectors for _ in range(2))
    assert (first == second).all()
    assert len({vector.tobytes() for vector in first}) == 5


def test_sample_items_of_another_modality_are_for_the_plugin_to_name():
    with pytest.raises(ValueError, match="to your own"):
        sample_items("smell")


def test_there_are_thirty_checks_and_each_says_what_it_protects():
    checks = [name for name in dir(EncoderConformance) if name.startswith("test_")]
    assert len(checks) >= 30
    assert all(getattr(EncoderConformance, name).__doc__ for name in checks)


def test_checks_that_do_not_apply_skip_with_the_reason(conformance, monkeypatch):
    suite = conformance(FakeText)
    monkeypatch.setattr(manners, "devices", lambda: {"cpu": "the CPU"})
    for check in (
        "one_pixel_is_an_image",
        "a_minute_is_a_recording",
        "works_in_another_process",
        "declaring_takes_under_50_ms",
        "device_and_back_changes_nothing",
        "an_encoder_that_joins_a_space_was_measured_there",
    ):
        with pytest.raises(unittest.SkipTest, match="only"):
            getattr(suite, f"test_{check}")()
    unsupported = conformance(FakeText, replace(SPEC, bf16_cosine=None))
    with pytest.raises(unittest.SkipTest, match="bfloat16"):
        unsupported.test_bfloat16_stays_close()
