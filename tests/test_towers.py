"""One call of a target builds several towers, and what these share is in memory once."""

from __future__ import annotations

import copy
import gc
import json
import os
import pickle
import shutil
import weakref
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import mmencode
from mmencode.encoder import identity
from mmencode.engine.packing import PackedLinear
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, IdentityError, UnknownModalityError, WeightsError
from mmencode.inputs.weights import require_numbers
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import EncoderConformance, FakeImage, FakeText, fake_omni_specs, sample_items
from mmencode.testing.fused import build_omni

WIDTH = 96  # wide enough for linear layers to be packed
BOTH = ("image", "text")
calls: list[tuple[str, ...]] = []


class Trunk(nn.Module):
    """The part that encoders share."""

    def __init__(self):
        super().__init__()
        self.first = linear(0)

    def forward(self, features):
        return self.first(features.repeat(1, WIDTH // 8))


def linear(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(WIDTH, WIDTH)


class Text(FakeText):
    """Texts through a trunk, and a layer of their own."""

    width = WIDTH

    def __init__(self, trunk):
        super().__init__()
        self.trunk, self.last = trunk, linear(1)

    def forward(self, tensors):
        hidden = tensors["hidden"].to(self.last.weight.dtype)
        return self.last(self.trunk(FakeText.forward(self, {**tensors, "hidden": hidden})))

    def forward_tokens(self, tensors):
        return tensors["hidden"], tensors["mask"]


class Image(FakeImage):
    """Images through a trunk, whose layer they hold under a name of their own, too."""

    width = WIDTH

    def __init__(self, trunk):
        super().__init__()
        self.trunk, self.same = trunk, trunk.first

    def forward(self, tensors):
        return self.same(self.trunk(super().forward(tensors)))


class BrittleImage(Image):
    """One whose features mean nothing in bfloat16."""

    def forward(self, tensors):
        features = super().forward(tensors)
        return features + 1000 * torch.ones_like(features) - 1000


def towers(modalities):
    calls.append(tuple(modalities))
    trunk = Trunk()
    kinds = {"text": Text, "image": Image}
    return {modality: kinds[modality](trunk) for modality in modalities}


def member(variant, modalities):
    calls.append(tuple(modalities))
    trunk = Trunk()
    image = Trunk() if "apart" in variant else trunk
    kinds = {"text": lambda: Text(trunk), "image": lambda: BrittleImage(image)}
    return {modality: kinds[modality]() for modality in modalities}


def everything(modalities):
    return towers(("text", "image", "audio")[:2])


def nothing(modalities):
    return {}


def one(modalities):
    return Text(Trunk())


def words(modalities):
    return dict.fromkeys(modalities, "an encoder")


def damaged(modalities):
    built = towers(modalities)
    if "image" in built:
        built["image"].gain.data[0] = torch.nan
    return built


def alone():
    return Text(Trunk())


def alone_image():
    return Image(Trunk())


def specs_of(target="towers", **options):
    return tuple(
        EncoderSpec(
            name=f"together/{modality}",
            modality=modality,
            target=f"{__name__}:{target}",
            space="together",
            dim=WIDTH,
            shared=True,
            **options,
        )
        for modality in BOTH
    )


def members_of(variant, **options):
    return [
        EncoderSpec(
            name=f"together-{modality}/*",
            modality=modality,
            target=f"{__name__}:member",
            space="together/*",
            shared=True,
            **options,
        ).member(variant)
        for modality in BOTH
    ]


def space_of(target="towers", devices="cpu", dtype="float32", *, modalities=None, **options):
    return Space(
        "together", specs_of(target), runtime=Runtime(devices, dtype, **options), modalities=modalities
    )


def on_bfloat16():
    """The runtime of dtype="auto" on a machine that computes bfloat16 natively."""
    runtime = Runtime("cpu")
    runtime.dtype = torch.bfloat16
    return runtime


@pytest.fixture(autouse=True)
def forget():
    calls.clear()


@pytest.mark.parametrize("first", BOTH)
def test_the_target_is_called_once_for_all_modalities(first):
    with space_of() as space:
        for modality in (first, *BOTH):
            space.encode(modality, sample_items(modality))
        assert calls == [BOTH]


def test_each_tower_gives_what_it_gives_alone():
    apart = {"text": "alone", "image": "alone_image"}
    with space_of() as space:
        for spec in specs_of():
            lone = replace(spec, target=f"{__name__}:{apart[spec.modality]}", shared=False)
            with Space("together", [lone], runtime=Runtime("cpu", "float32")) as other:
                items = sample_items(spec.modality)
                np.testing.assert_array_equal(
                    space.encode(spec.modality, items), other.encode(spec.modality, items)
                )
                assert space.tower(spec.modality).card == other.tower(spec.modality).card


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("devices", ["cpu", ["cpu", "cpu"]])
def test_what_towers_share_is_in_memory_once_on_each_device(dtype, devices):
    with space_of(devices=devices, dtype=dtype) as space:
        pairs = list(zip(*(space._members.towers(modality) for modality in BOTH), strict=True))
        for image, text in pairs:
            assert image.encoder.trunk is text.encoder.trunk
            assert image.encoder.same is text.encoder.trunk.first
            assert image.dtype == text.dtype == text.encoder.last.bias.dtype == getattr(torch, dtype)
        if torch.backends.mkldnn.is_available() and dtype == "float32":
            assert isinstance(pairs[0][0].encoder.same, PackedLinear)
        assert len({id(text.encoder.trunk) for _, text in pairs}) == len(pairs) == len(calls)


def test_one_network_of_several_encoders_is_hashed_once_and_each_gets_its_own_digest(monkeypatch):
    hashed = []

    def watch(module, digest=identity.digest):
        hashed.append(module)
        return digest(module)

    monkeypatch.setattr(identity, "digest", watch)
    with Space("omni", fake_omni_specs("omni")) as omni, space_of() as two:
        found = {modality: omni.tower(modality).card.identity.weights for modality in omni.modalities}
        assert len(hashed) == 1
        assert found == dict.fromkeys(omni.modalities, watch(build_omni(["text"])["text"]))
        del hashed[:]
        towers = {modality: two.tower(modality) for modality in BOTH}
        assert len(hashed) == 2  # each has parts of its own
        assert len({tower.card.identity.weights for tower in towers.values()}) == 2


def test_numbers_of_a_network_are_looked_at_once_and_the_faulty_encoder_is_named():
    found = build_omni(["text", "image"])
    sound = set()
    require_numbers(found["text"], "one", sound)
    with torch.no_grad():
        found["image"].own = nn.Parameter(torch.tensor([float("nan")]))
    with pytest.raises(WeightsError, match="'two' are damaged: own"):
        require_numbers(found["image"], "two", sound)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_towers_share_is_on_a_gpu_once(dtype):
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    with space_of(devices="cuda", dtype=dtype) as space:
        image, text = (space.tower(modality).encoder for modality in BOTH)
        assert image.same is text.trunk.first
        torch.cuda.synchronize()
        held = torch.cuda.memory_allocated() - before
        layer = WIDTH * WIDTH * text.last.weight.element_size()
        assert 2 * layer <= held < 3 * layer  # the trunk's and the text's own
        for modality in BOTH:
            space.encode(modality, sample_items(modality))


def test_towers_that_are_compiled_share_as_well():
    with space_of(compile=True) as space:
        image, text = (space.tower(modality).encoder for modality in BOTH)
        assert image.same.weight is text.trunk.first.weight
        assert calls == [BOTH]


@pytest.mark.parametrize(("variant", "expected"), [("apart", torch.bfloat16), ("one", torch.float32)])
def test_auto_takes_a_dtype_that_all_bear_who_share_weights(variant, expected):
    """The images of both bear no bfloat16; the texts stay in float32 only where they share weights."""
    with Space("together", members_of(variant), runtime=on_bfloat16()) as space:
        image, text = (space.tower(modality) for modality in BOTH)
        assert image.dtype == image.encoder.gain.dtype == torch.float32
        assert text.dtype == text.encoder.last.bias.dtype == expected
        assert calls == [BOTH, BOTH]  # again, since casting had rounded the weights
        for spec in members_of(variant):
            with Space("together", [spec], runtime=Runtime("cpu", "float32")) as exact:
                items = sample_items(spec.modality)
                found, wanted = (each.encode(spec.modality, items).vectors for each in (space, exact))
                assert (found * wanted).sum(axis=1).min() > 0.9999


def test_a_tower_whose_author_promises_no_bfloat16_holds_those_that_share_with_it():
    image, text = (
        replace(spec, bf16_cosine=promised) for spec, promised in zip(specs_of(), (None, 1.0), strict=True)
    )
    with Space("together", [image, text], runtime=on_bfloat16()) as space:
        assert {space.tower(modality).dtype for modality in BOTH} == {torch.float32}
    with Space("together", [text], runtime=on_bfloat16()) as space:
        assert space.tower("text").dtype == torch.bfloat16


def test_closing_lets_all_towers_go():
    with space_of() as space:
        held = [weakref.ref(space.tower(modality).encoder) for modality in BOTH]
        held.append(weakref.ref(space.tower("text").encoder.trunk))
    gc.collect()
    assert not any(reference() for reference in held)


def test_copies_have_the_towers_that_are_loaded():
    with space_of() as space:
        space.tower("text")
        for other in (copy.copy(space), copy.deepcopy(space)):
            assert other.tower("image") is space.tower("image")
        assert calls == [BOTH]


def test_a_target_may_give_more_than_it_was_asked_for():
    with space_of("everything", modalities=["text"]) as space:
        space.encode("text", ["a"])
        assert space._members.loaded == ("text",)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nothing", r"asked for encoders for text, and gave \[\]"),
        ("one", "gave Text"),
        ("words", "gave str"),
    ],
)
def test_a_target_that_gives_something_else_is_named(target, message):
    with space_of(target) as space, pytest.raises(EncoderError, match=message) as caught:
        space.encode("text", ["a"])
    assert f"{__name__}:{target}" in str(caught.value)


def test_a_damaged_tower_hurts_no_other():
    with space_of("damaged") as space:
        with pytest.raises(WeightsError, match="'together/image' are damaged: gain contains NaN"):
            space.tower("image")
        assert len(space.tower("text").encoder.preprocess("a")) == 1
        assert space._members.loaded == ("text",)
        with pytest.raises(WeightsError, match="NaN"):
            space.tower("image")


def test_a_tower_that_is_not_the_declared_one_hurts_no_other():
    with space_of() as space:
        cards = {tower.modality: tower.identity for tower in space.card.towers}
    image, text = (replace(spec, identity=cards[spec.modality]) for spec in specs_of())
    other = replace(image, identity=replace(image.identity, pooling="another"))
    with Space("together", [other, text], runtime=Runtime("cpu", "float32")) as space:
        assert len(space.encode("text", ["a"])) == 1
        with pytest.raises(IdentityError, match="pooling: declared 'another'"):
            space.encode("image", sample_items("image"))


def test_a_modality_alone_is_of_the_same_space():
    with space_of() as whole, space_of(modalities=["text"]) as part:
        assert part.modalities == ("text",)
        np.testing.assert_array_equal(part.encode("text", ["a", "b"]), whole.encode("text", ["a", "b"]))
        assert part.id == whole.id
        whole.search(part.encode("text", ["a"]), whole.encode("image", sample_items("image")))
        assert part._members.loaded == ("text",)
        assert sorted(calls[1]) == sorted(BOTH)  # to find out who the images' encoder is


def test_a_modality_alone_is_built_alone_where_the_others_are_declared():
    with space_of() as space:
        cards = {tower.modality: tower.identity for tower in space.card.towers}
    calls.clear()
    known = [replace(spec, identity=cards[spec.modality]) for spec in specs_of()]
    with Space("together", known, runtime=Runtime("cpu", "float32"), modalities=["text"]) as part:
        assert part.encode("text", ["a"]).space == part.id == space.id
        assert calls == [("text",)]


def test_what_was_built_for_the_card_is_let_go():
    seen = []
    original = Image.__init__

    def remember(self, trunk):
        original(self, trunk)
        seen.append(weakref.ref(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "__init__", remember)
        with space_of(modalities=("text",)) as space:
            space.encode("text", ["a"])
            gc.collect()
            assert len(seen) == 1
            assert seen[0]() is None


def test_a_modality_that_was_not_asked_for_is_refused_with_the_way_out():
    with space_of(modalities=("text",)) as space:
        with pytest.raises(UnknownModalityError, match=r"(?s)without 'image'.*=\('text', 'image'\)"):
            space.encode("image", [])
        with pytest.raises(UnknownModalityError, match="has no encoder for 'audio'"):
            space.encode("audio", [])
        assert "text;" in repr(space)
        assert "image" not in repr(space)


@pytest.mark.parametrize(
    ("asked", "error"), [("text", TypeError), ((), ValueError), (("text", "smell"), UnknownModalityError)]
)
def test_modalities_that_make_no_sense_are_refused(asked, error):
    with pytest.raises(error, match=r"make it a sequence|name at least one|no encoder for 'smell'"):
        space_of(modalities=asked)


def test_modalities_travel_with_the_space():
    with space_of(modalities=["text"]) as space:
        sent = pickle.dumps(space)
        with pickle.loads(sent) as there, copy.copy(space) as other:
            assert there.modalities == other.modalities == space.exact().modalities == ("text",)
            assert there.id == space.id


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """The folder of a small open_clip model with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 64,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
    }
    torch.manual_seed(0)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    save_file(open_clip.CLIP(**config).state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.mark.parametrize("kept", BOTH)
def test_the_other_tower_of_a_saved_clip_space_is_not_looked_at(checkpoint, tmp_path, kept):
    weights = shutil.copytree(checkpoint, tmp_path / "clip") / "open_clip_model.safetensors"
    with mmencode.load(f"openclip/local-dir:{weights.parent}", device="cpu", dtype="float32") as space:
        expected, identity = space.encode(kept, sample_items(kept)), space.id
        space.save(tmp_path / "saved")
    damaged = {
        name: tensor * torch.nan if name.startswith("visual.") == (kept == "text") else tensor
        for name, tensor in load_file(weights).items()
    }
    save_file(damaged, tmp_path / "new")
    os.replace(tmp_path / "new", weights)
    with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32", modalities=[kept]) as part:
        np.testing.assert_array_equal(part.encode(kept, sample_items(kept)), expected)
        assert part.id == identity


def test_a_part_that_is_saved_is_the_whole_space(checkpoint, tmp_path):
    name = f"openclip/local-dir:{checkpoint}"
    with mmencode.load(name, device="cpu", dtype="float32", modalities=("text",)) as part:
        part.save(tmp_path / "saved")
        expected = part.encode("text", ["a"])
    with mmencode.load(tmp_path / "saved", device="cpu", dtype="float32") as space:
        assert space.modalities == BOTH
        assert space.verify().skipped == ("image",)  # of which the part had no encoder
        np.testing.assert_array_equal(space.encode("text", ["a"]), expected)
        assert len(space.encode("image", sample_items("image"))) == len(sample_items("image"))


def test_one_file_of_weights_is_read_once_for_both_towers(checkpoint, monkeypatch):
    from mmencode.encoders.openclip import model

    read = []
    original = model.read_state
    monkeypatch.setattr(model, "read_state", lambda path: read.append(path) or original(path))
    with mmencode.load(f"openclip/local-dir:{checkpoint}", device="cpu", dtype="float32") as space:
        for modality in BOTH:
            space.encode(modality, sample_items(modality))
    assert len(read) == 1


class TestTextThatSharesConforms(EncoderConformance):
    spec = specs_of()[1]


class TestImageThatSharesConforms(EncoderConformance):
    spec = specs_of()[0]
