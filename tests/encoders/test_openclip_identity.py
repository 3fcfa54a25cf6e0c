"""An open_clip checkpoint is what it computes, wherever it lies; what computes something else is another."""

from __future__ import annotations

import itertools
import json
import os
import shutil

import numpy as np
import open_clip
import pytest
import torch
from openclip_tiny import CONFIGS, TEXT, VISION, register, save_tokenizer, save_weights
from safetensors.torch import load_file, save_file

import mmencode
from mmencode import Runtime, Space
from mmencode.encoders.openclip.source import find
from mmencode.errors import IdentityError, UnknownNameError, WeightsError
from mmencode.testing import sample_items

NAME = "tiny-clip"
CONFIG = CONFIGS[NAME]
TEXTS = ["A cat, on the mat!", "two dogs &amp; a kite"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("identity")
    register(folder, NAME, CONFIG)
    save_weights(NAME, folder / "clip.safetensors")
    return folder / "clip.safetensors"


def loaded(name):
    """The card, and the vectors of a few texts and images, of one space."""
    with mmencode.load(f"openclip/{name}", device="cpu", dtype="float32") as space:
        images = space.encode("image", sample_items("image", 3)).vectors
        return space.card, np.concatenate([space.encode("text", TEXTS).vectors, images])


def tower(modality, name):
    """The fingerprint and the vectors of one tower alone."""
    spec = mmencode.registry()[f"openclip-{modality}/{name}"]
    items = TEXTS if modality == "text" else sample_items("image", 3)
    with Space(spec.space_name, [spec], runtime=Runtime("cpu", "float32")) as space:
        return space.card.fingerprint, space.encode(modality, items).vectors


def places(weights, tmp_path):
    """The names that one checkpoint has, by where and how it lies."""
    state = load_file(weights)
    shutil.copy(weights, tmp_path / "copy.safetensors")
    (tmp_path / "link.safetensors").symlink_to(weights)
    (tmp_path / "folder").symlink_to(weights.parent)
    torch.save(state, tmp_path / "state.pt")
    torch.save({"epoch": 3, "state_dict": state}, tmp_path / "trained.pth")
    torch.save({"model": {f"module.{key}": value for key, value in state.items()}}, tmp_path / "parallel.bin")
    save_file({f"_orig_mod.{key}": value for key, value in state.items()}, tmp_path / "compiled.safetensors")
    torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()}}, tmp_path / "lit.ckpt")
    torch.save(state, tmp_path / "legacy.pt", _use_new_zipfile_serialization=False)
    local = tmp_path / "saved"
    local.mkdir()
    shutil.copy(weights, local / "open_clip_model.safetensors")
    explicit = CONFIG | {"vision_cfg": VISION | {"mlp_ratio": 4.0, "patch_dropout": 0.5}, "quick_gelu": False}
    preprocess = {"size": [32, 32], "mode": "RGB", "interpolation": "bicubic", "resize_mode": "shortest"}
    config = {"model_cfg": explicit, "preprocess_cfg": preprocess}
    (local / "open_clip_config.json").write_text(json.dumps(config))
    files = [path.name for path in tmp_path.iterdir() if path.is_file()]
    yield from (f"{NAME}/{tmp_path}/{file}" for file in sorted(files))
    yield f"{NAME}/{tmp_path}/folder/clip.safetensors"
    yield from (
        f"{NAME}/{way}copy.safetensors" for way in ("./", "", "saved/../", "../" + tmp_path.name + "/")
    )
    yield from (f"local-dir:{way}" for way in (local, f"{local}/", "saved", "./saved", "saved/../saved/"))


def test_fingerprint_and_vectors_are_one_wherever_and_however_a_checkpoint_lies(
    weights, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    names = list(places(weights, tmp_path))
    assert len(names) == 18
    for modality, some in (("image", names), ("text", names[::6])):
        expected, vectors = tower(modality, f"{NAME}/{weights}")
        for name in some:
            found, others = tower(modality, name)
            assert found == expected, name
            assert np.array_equal(vectors, others), name


def test_card_says_where_the_weights_lie_and_what_is_computed_with_them(weights):
    card, _ = loaded(f"{NAME}/{weights}")
    image, text = card.towers
    assert (image.encoder, text.encoder) == ("openclip-image/*", "openclip-text/*")
    assert image.place == text.place == f"{NAME}/{weights}"
    assert image.name == f"openclip-image/{NAME}/{weights}"
    assert str(weights) not in image.identity.architecture


def test_a_tag_and_a_copy_of_its_file_are_one_space(weights, tmp_path, monkeypatch):
    """Nothing of the name but the architecture and what it prepares images by counts."""
    asked = []
    monkeypatch.setattr(
        open_clip.factory, "download_pretrained", lambda cfg, **_: asked.append(cfg) or str(weights)
    )
    settings = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "interpolation": "bicubic"}
    tagged = {"mytag": {"url": "https://nowhere/x.pt", "resize_mode": "squash", **settings}}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, NAME, tagged)
    tag, vectors = loaded(f"{NAME}/mytag")
    file, others = loaded(f"{NAME}/{weights}")
    assert asked[0]["url"] == "https://nowhere/x.pt"
    assert tag.fingerprint == file.fingerprint
    assert np.array_equal(vectors, others)


def test_tag_that_was_trained_with_other_activations_is_warned_of(weights, monkeypatch):
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda cfg, **_: str(weights))
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, NAME, {"quick": {"url": "x", "quick_gelu": True}})
    with pytest.warns(UserWarning, match="trained with QuickGELU; 'tiny-clip' computes without it"):
        find(f"{NAME}/quick").model()


VISIONS = {
    "heads": {"head_width": 16},
    "epsilon": {"norm_kwargs": {"eps": 1e-2}},
    "mean": {"pool_type": "avg"},
    "norm last": {"pool_type": "avg", "final_ln_after_pool": True},
}
WORDS = {
    "heads": {"heads": 4},
    "epsilon": {"norm_kwargs": {"eps": 1e-2}},
    "last": {"pool_type": "last"},
    "not causal": {"no_causal_mask": True},
    "clean": {"tokenizer_kwargs": {"clean": "canonicalize"}},
    "case": {"tokenizer_kwargs": {"clean": "whitespace"}},
}
BOTH = {"plain": {}, "quick": {"quick_gelu": True}}
PREPARED = {
    "means": {"mean": [0.48145467, 0.4578275, 0.40821073]},
    "deviations": {"std": [0.5, 0.5, 0.5]},
    "interpolation": {"interpolation": "bilinear"},
    "squashed": {"resize_mode": "squash"},
    "longest": {"resize_mode": "longest"},
    "filled": {"resize_mode": "longest", "fill_color": 255},
}


def test_whatever_gives_other_vectors_with_the_same_weights_has_another_fingerprint(weights, tmp_path):
    """Of all pairs of settings that the weights fit."""
    both = {name: (CONFIG | change, {}) for name, change in BOTH.items()}
    images = {name: (CONFIG | {"vision_cfg": VISION | change}, {}) for name, change in VISIONS.items()}
    images |= {name: (CONFIG, prepared) for name, prepared in PREPARED.items()}
    texts = {name: (CONFIG | {"text_cfg": TEXT | change}, {}) for name, change in WORDS.items()}
    for modality, variants in (("image", both | images), ("text", both | texts)):
        found = {}
        for name, (model, prepared) in variants.items():
            folder = tmp_path / modality / name
            folder.mkdir(parents=True)
            (folder / "open_clip_model.safetensors").symlink_to(weights)
            config = {"model_cfg": model, "preprocess_cfg": prepared}
            (folder / "open_clip_config.json").write_text(json.dumps(config))
            found[name] = tower(modality, f"local-dir:{folder}")
        for (one, (first, vectors)), (other, (second, others)) in itertools.combinations(found.items(), 2):
            assert not np.array_equal(vectors, others), (one, other)  # or the pair shows nothing
            assert first != second, (one, other)


def test_tokenizers_that_differ_in_words_no_probe_has_are_told_apart(tmp_path):
    """By all that they know, not by what they make of one text."""
    from open_clip.tokenizer import HFTokenizer

    from mmencode.encoders.openclip.tokenizer import reader

    save_tokenizer(tmp_path)
    content = (tmp_path / "tokenizer.json").read_text()
    identities = {reader(HFTokenizer(str(tmp_path), context_length=8)).identity}
    for changed in (content.replace('"beach"', '"shore"'), content.replace("Whitespace", "WhitespaceSplit")):
        assert changed != content
        (tmp_path / "tokenizer.json").write_text(changed)
        identities.add(reader(HFTokenizer(str(tmp_path), context_length=8)).identity)
    (tmp_path / "tokenizer.json").write_text(content)
    for options in ({"clean": "lower"}, {"strip_sep_token": True}, {"context_length": 9}):
        identities.add(reader(HFTokenizer(str(tmp_path), **{"context_length": 8} | options)).identity)
    assert len(identities) == 6


def test_moved_checkpoint_opens_a_saved_space_and_an_index(weights, tmp_path):
    pytest.importorskip("lancedb")
    first, second = tmp_path / "a" / "clip.safetensors", tmp_path / "b" / "other.safetensors"
    first.parent.mkdir()
    second.parent.mkdir()
    shutil.copy(weights, first)
    with mmencode.load(f"openclip/{NAME}/{first}", device="cpu", dtype="float32") as space:
        space.save(tmp_path / "saved")
        before = space.encode("text", TEXTS)
        with mmencode.Index.create(tmp_path / "index", space) as index:
            index.add("text", TEXTS)
    shutil.move(first, second)
    with (
        mmencode.load(tmp_path / "saved", device="cpu", dtype="float32") as lost,
        pytest.raises(WeightsError, match=r"no file(.|\n)*load\(folder, space=space\)"),
    ):
        lost.encode("text", TEXTS)
    with mmencode.load(f"openclip/{NAME}/{second}", device="cpu", dtype="float32") as moved:
        assert moved.encode("text", TEXTS).space.rpartition("@")[2] == before.space.rpartition("@")[2]
        for given in (moved, moved.name):
            with mmencode.load(tmp_path / "saved", space=given, device="cpu", dtype="float32") as back:
                assert back.id == before.space
                np.testing.assert_array_equal(back.encode("text", TEXTS), before)
                assert back.verify().same
        with mmencode.Index.open(tmp_path / "index", space=moved) as index:
            assert index.search("text", TEXTS[:1], k=1)[0][0].key == TEXTS[0]
            assert index.add("text", [*TEXTS, "a third"]).added == 1


def test_other_weights_where_a_checkpoint_lay_are_refused(weights, tmp_path):
    path = tmp_path / "clip.safetensors"
    shutil.copy(weights, path)
    with mmencode.load(f"openclip/{NAME}/{path}", device="cpu", dtype="float32") as space:
        space.save(tmp_path / "saved")
    state = load_file(weights)
    state["visual.proj"] += 0.01
    save_file(state, path)
    with (
        mmencode.load(tmp_path / "saved", device="cpu") as back,
        pytest.raises(IdentityError, match="weights: declared"),
    ):
        back.encode("image", sample_items("image", 1))


def test_other_settings_with_the_same_weights_are_refused_where_a_folder_was(weights, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    shutil.copy(weights, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    with mmencode.load(f"openclip/local-dir:{folder}", device="cpu", dtype="float32") as space:
        space.save(tmp_path / "saved")
    quick = {"model_cfg": CONFIG | {"quick_gelu": True}, "preprocess_cfg": {}}
    (folder / "open_clip_config.json").write_text(json.dumps(quick))
    with (
        mmencode.load(tmp_path / "saved", device="cpu") as back,
        pytest.raises(IdentityError, match="architecture: declared"),
    ):
        back.encode("text", TEXTS)


# Sizes


@pytest.fixture
def larger(weights):
    """Architectures of the same tensors but for the positions."""
    sizes = {
        "image": {"vision_cfg": VISION | {"image_size": 64}},
        "text": {"text_cfg": TEXT | {"context_length": 20}},
    }
    for name, change in sizes.items():
        register(weights.parent, f"tiny-{name}-size", CONFIG | change)
    return {"image": ("[5, 64]", "[17, 64]"), "text": ("[77, 64]", "[20, 64]")}


@pytest.mark.parametrize("tower", ["image", "text"])
def test_checkpoint_of_another_size_is_bent_only_when_asked_and_is_another_space_then(weights, larger, tower):
    name = f"tiny-{tower}-size/{weights}"
    with pytest.raises(WeightsError) as caught:
        loaded(name)
    for size in larger[tower]:
        assert size in caught.value.fact
    assert "?resize" in caught.value.remedy
    card, vectors = loaded(f"{name}?resize")
    model, _, transform = open_clip.create_model_and_transforms(f"tiny-{tower}-size", pretrained=str(weights))
    images = torch.stack([transform(image) for image in sample_items("image", 3)])
    with torch.inference_mode():
        ids = open_clip.get_tokenizer(f"tiny-{tower}-size")(TEXTS)
        expected = [model.eval().encode_text(ids, normalize=True), model.encode_image(images, normalize=True)]
    np.testing.assert_allclose(vectors, torch.cat(expected), atol=1e-5)
    assert all("resized" in tower.identity.architecture for tower in card.towers)
    assert card.fingerprint != loaded(f"{NAME}/{weights}")[0].fingerprint


def test_option_that_there_is_not_is_named(weights):
    with pytest.raises(UnknownNameError, match=r"no option 'resise'(.|\n)*\?resize"):
        find(f"{NAME}/{weights}?resise")


def test_question_mark_in_a_files_own_name_is_no_option(weights, tmp_path):
    shutil.copy(weights, tmp_path / "what?resize")
    assert find(f"{NAME}/{tmp_path}/what?resize").resize is False


# Preparation of images


@pytest.mark.parametrize("name", ["ViT-L-14", "ViT-H-14", "ViT-H-14-quickgelu"])
def test_preparation_that_published_weights_disagree_on_is_asked_for(weights, name):
    with pytest.raises(WeightsError, match=f"published weights of '{name}' differ") as caught:
        find(f"{name}/{weights}")
    choices = [part.partition(" ")[0] for part in caught.value.remedy.split("?preprocess=")[1:]]
    prepared = [find(f"{name}/{weights}?preprocess={tag}").options["force_preprocess_cfg"] for tag in choices]
    assert len(choices) == 2
    assert prepared[0] != prepared[1]


def test_preparation_is_that_of_the_tag_named_or_of_the_settings_beside_the_file(weights, tmp_path):
    chosen = find(f"ViT-L-14/{weights}?preprocess=laion2b_s32b_b82k").options["force_preprocess_cfg"]
    assert chosen["mean"] == (0.5, 0.5, 0.5)
    shutil.copy(weights, tmp_path / "mine.safetensors")
    beside = {"preprocess_cfg": {"mean": [0.1, 0.2, 0.3], "resize_mode": "squash"}}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(beside))
    found = find(f"ViT-L-14/{tmp_path}/mine.safetensors").options["force_preprocess_cfg"]
    assert found == {"mean": (0.1, 0.2, 0.3), "resize_mode": "squash"}
    with pytest.raises(UnknownNameError, match="its tags are openai"):
        find(f"ViT-L-14/{weights}?preprocess=opanai")


# Names


@pytest.mark.parametrize("place", ["runs/epoch_9", "runs/epoch_9.ckpt", "epoch_9", "./runs/epoch_9"])
def test_relative_path_is_no_tag(weights, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    os.makedirs(os.path.join(tmp_path, os.path.dirname(place)), exist_ok=True)
    shutil.copy(weights, place)
    assert find(f"{NAME}/{place}").model().visual is not None


@pytest.mark.parametrize("place", ["runs/epoch_9", "runs/epoch_9.ckpt", "epoch_9.pt"])
def test_missing_relative_path_is_named_with_where_it_begins(weights, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match=rf"no file '{place}'; it is relative to {tmp_path}"):
        find(f"{NAME}/{place}")


# Scales


@pytest.mark.parametrize(
    ("name", "lacking"),
    [("tiny-clip", "logit_scale"), ("tiny-sigmoid", "logit_bias"), ("tiny-sigmoid", "logit_scale")],
)
def test_scale_that_nobody_trained_gives_no_probabilities(tmp_path, name, lacking):
    register(tmp_path, name, CONFIGS[name])
    save_weights(name, tmp_path / "whole.safetensors")
    state = load_file(tmp_path / "whole.safetensors")
    del state[lacking]
    save_file(state, tmp_path / "lacking.safetensors")
    vectors = []
    for file, scored in (("whole", True), ("lacking", False)):
        path = tmp_path / f"{file}.safetensors"
        with mmencode.load(f"openclip/{name}/{path}", device="cpu", dtype="float32") as space:
            assert (space.scoring("image") is not None) == scored
            vectors.append(space.encode("image", sample_items("image", 2)).vectors)
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named_when_they_are_loaded(weights, tmp_path, value):
    state = load_file(weights)
    state["transformer.resblocks.1.mlp.c_fc.weight"][3, 5] = value
    save_file(state, tmp_path / "broken.safetensors")
    what = "NaN" if value != value else "infinity"
    with (
        mmencode.load(f"openclip/{NAME}/{tmp_path}/broken.safetensors", device="cpu") as space,
        pytest.raises(WeightsError, match=rf"resblocks.1.mlp.c_fc.weight contains {what}(.|\n)*fetch"),
    ):
        space.encode("text", TEXTS, on_error="skip")
