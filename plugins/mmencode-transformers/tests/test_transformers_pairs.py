"""Two towers in one space: CLIP, SigLIP, SigLIP 2 and CLAP give what transformers gives, without chance."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tiny
import torch
import transformers as hf
from PIL import Image
from torch.nn.functional import normalize

import mmencode
from mmencode.errors import WeightsError
from mmencode.testing import sample_items

RATE = 8000  # of the tiny CLAP, whose windows are 5 s


def unit(features):
    return normalize(features, dim=-1).numpy()


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, int(seconds * RATE)).astype(np.float32)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_images_equal_transformers(name, checkpoint, load):
    folder, images = checkpoint(name), sample_items("image")
    model, processor = hf.AutoModel.from_pretrained(folder), hf.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        expected = model.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
    found = load(f"transformers/clip/{folder}").encode("image", images)
    np.testing.assert_allclose(found.vectors, unit(expected), atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_texts_equal_transformers(name, checkpoint, load):
    folder, texts = checkpoint(name), ["a dog", "a photo of a CAR", "the quiet harbour by the road"]
    model, words = hf.AutoModel.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
    padding = True if name == "clip" else "max_length"
    tensors = words(texts, padding=padding, max_length=tiny.LONGEST, truncation=True, return_tensors="pt")
    tensors.pop("token_type_ids", None)
    with torch.inference_mode():
        expected = model.get_text_features(**tensors).pooler_output
    found = load(f"transformers/clip/{folder}").encode("text", texts)
    np.testing.assert_allclose(found.vectors, unit(expected), atol=1e-5)


@pytest.mark.parametrize("name", ["clip", "siglip", "siglip2"])
def test_probabilities_are_those_of_the_model(name, checkpoint, load):
    folder, images, labels = checkpoint(name), sample_items("image", 3), ["dog", "car"]
    model, processor = hf.AutoModel.from_pretrained(folder), hf.AutoImageProcessor.from_pretrained(folder)
    words = hf.AutoTokenizer.from_pretrained(folder)
    padding = True if name == "clip" else "max_length"
    prompts = [f"a photo of a {label}" for label in labels]
    tensors = words(prompts, padding=padding, truncation=True, max_length=tiny.LONGEST, return_tensors="pt")
    tensors.pop("token_type_ids", None)
    with torch.inference_mode():
        logits = model(**tensors, **processor(images=images, return_tensors="pt")).logits_per_image
    expected = logits.softmax(dim=-1) if name == "clip" else logits.sigmoid()
    classified = load(f"transformers/clip/{folder}").classifier(labels).classify("image", images)
    np.testing.assert_allclose(classified.probabilities(), expected.numpy(), atol=1e-5)


def test_patches_fill_the_grid_and_those_of_one_size_change(checkpoint, load):
    space = load(f"transformers/clip/{checkpoint('clip')}")
    tokens = space.encode_tokens("image", sample_items("image", 2))
    assert tokens.grid == (4, 4)
    assert [row.shape for row in tokens] == [(16, 32)] * 2
    flexible = load(f"transformers/clip/{checkpoint('siglip2')}")
    wide, tall = Image.new("RGB", (96, 32), "red"), Image.new("RGB", (24, 96), "red")
    found = flexible.encode_tokens("image", [wide, tall])
    assert found.grid is None
    assert all(len(row) <= 24 for row in found)


def test_long_texts_are_cut_before_the_mark_of_their_end(checkpoint, load):
    space = load(f"transformers/clip/{checkpoint('clip')}")
    with pytest.warns(UserWarning, match="longer than 64 tokens"):
        long, longer = space.encode("text", ["harbour " * 90, "harbour " * 90 + "a dog"]).vectors
    np.testing.assert_allclose(long, longer, atol=1e-6)


def reference(folder, samples, longer):
    """Features of a recording by transformers' own extractor and model."""
    extractor, model = hf.AutoFeatureExtractor.from_pretrained(folder), hf.ClapModel.from_pretrained(folder)
    inputs = extractor(samples, sampling_rate=RATE, return_tensors="pt")
    with torch.inference_mode():
        return model.get_audio_features(
            inputs["input_features"].float(), is_longer=torch.tensor([[longer]])
        ).pooler_output[0]


@pytest.mark.parametrize("name", ["clap", "clap_fused"])
@pytest.mark.parametrize("seconds", [0.7, 2, 5])
def test_short_recordings_equal_transformers(name, seconds, checkpoint, load):
    folder, samples = checkpoint(name), noise(seconds)
    found = load(f"transformers/clap/{folder}").encode("audio", [(samples, RATE)])
    np.testing.assert_allclose(found.vectors[0], reference(folder, samples, False), atol=1e-5)


@pytest.mark.parametrize("padding", ["repeat", "pad"])
def test_each_padding_equals_transformers(padding, checkpoint, load, tmp_path):
    import shutil

    shutil.copytree(checkpoint("clap"), tmp_path / "clap")
    extractor = hf.AutoFeatureExtractor.from_pretrained(tmp_path / "clap")
    extractor.padding = padding
    extractor.save_pretrained(tmp_path / "clap")
    samples = noise(1.3)
    found = load(f"transformers/clap/{tmp_path}/clap").encode("audio", [(samples, RATE)])
    np.testing.assert_allclose(found.vectors[0], reference(tmp_path / "clap", samples, False), atol=1e-5)


def test_long_recordings_are_the_mean_over_their_windows(checkpoint, load):
    folder, samples = checkpoint("clap"), noise(14)
    space = load(f"transformers/clap/{folder}")
    windows = [samples[: 5 * RATE], samples[5 * RATE : 10 * RATE], samples[9 * RATE :]]
    each = space.encode("audio", [(window, RATE) for window in windows]).vectors
    expected = each.mean(axis=0) / np.linalg.norm(each.mean(axis=0))
    np.testing.assert_allclose(space.encode("audio", [(samples, RATE)]).vectors[0], expected, atol=1e-5)


def test_fused_recordings_equal_transformers_with_its_crops_in_the_middle(checkpoint, load, monkeypatch):
    folder, samples = checkpoint("clap_fused"), noise(14)
    monkeypatch.setattr(np.random, "choice", lambda choices: choices[len(choices) // 2])
    expected = reference(folder, samples, True)
    found = load(f"transformers/clap/{folder}").encode("audio", [(samples, RATE)])
    np.testing.assert_allclose(found.vectors[0], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["clap", "clap_fused"])
def test_nothing_is_left_to_chance(name, checkpoint, load):
    """transformers' extractor draws its crops from numpy's generator, and in short batches the long one."""
    space = load(f"transformers/clap/{checkpoint(name)}")
    clips = [(noise(14), RATE), (noise(2, 1), RATE)]
    found = []
    for seed in (0, 1):
        np.random.seed(seed)
        before = np.random.get_state()[1].tolist()
        found.append(space.encode("audio", clips).vectors)
        assert np.random.get_state()[1].tolist() == before
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("name", ["clap", "clap_fused"])
@pytest.mark.parametrize("extra", [1, 159, 160, 320])
def test_recordings_just_over_the_window_are_encoded(name, extra, checkpoint, load):
    samples = np.append(noise(5), noise(1)[:extra])
    vectors = load(f"transformers/clap/{checkpoint(name)}").encode("audio", [(samples, RATE)]).vectors
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize("name", ["clap", "clap_fused"])
def test_silence_has_a_vector(name, checkpoint, load):
    silence = (np.zeros(RATE, np.float32), RATE)
    assert np.isfinite(load(f"transformers/clap/{checkpoint(name)}").encode("audio", [silence]).vectors).all()


def test_sounds_and_texts_share_a_space_and_its_scale(checkpoint, load):
    folder = checkpoint("clap")
    space = load(f"transformers/clap/{folder}")
    model, words = hf.ClapModel.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
    labels = ["a dog", "thunder", "a kite in the rain by the old bridge"]
    with torch.inference_mode():
        texts = words([f"the sound of {label}" for label in labels], padding=True, return_tensors="pt")
        expected = model.get_text_features(texts["input_ids"], texts["attention_mask"]).pooler_output
    found = space.encode("text", [f"the sound of {label}" for label in labels])
    np.testing.assert_allclose(found.vectors, expected.numpy(), atol=1e-5)
    sound = space.encode("audio", [(noise(2), RATE)])
    logits = mmencode.similarity(sound, found) * float(model.logit_scale_a.detach().exp())
    classified = space.classifier(labels).classify("audio", [(noise(2), RATE)])
    exponentials = np.exp(logits - logits.max())
    np.testing.assert_allclose(classified.probabilities(), exponentials / exponentials.sum(), atol=1e-5)


@pytest.mark.parametrize(("name", "other"), [("clip", "image"), ("siglip", "image"), ("clap", "audio")])
def test_both_towers_are_read_once_and_share_nothing_else(name, other, checkpoint, load, monkeypatch):
    from mmencode_transformers import loading

    read = []
    original = loading.read_weights
    monkeypatch.setattr(loading, "read_weights", lambda found: read.append(found) or original(found))
    space = load(f"transformers/{'clap' if name == 'clap' else 'clip'}/{checkpoint(name)}")
    for modality in ("text", other):
        space.encode(modality, sample_items(modality)[:2])
    assert len(read) == 1


@pytest.mark.filterwarnings("ignore:a text is longer")
@pytest.mark.parametrize("name", ["clip", "clap"])
def test_a_text_tower_needs_no_file_of_the_other_once_the_space_is_saved(name, checkpoint, load, tmp_path):
    folder = shutil.copytree(checkpoint(name), tmp_path / "there")
    whole = load(f"transformers/{name}/{folder}")
    expected = whole.encode("text", ["a dog"])
    whole.save(tmp_path / "saved")
    (folder / "preprocessor_config.json").unlink()
    part = load(tmp_path / "saved", modalities=("text",))
    np.testing.assert_array_equal(part.encode("text", ["a dog"]), expected)
    assert part.id == whole.id
    together = load(
        tmp_path / "saved"
    )  # its other tower can't be built any more, which hurts this one nothing
    np.testing.assert_array_equal(together.encode("text", ["a dog"]), expected)
    with pytest.raises(WeightsError, match="preprocessor_config"):
        together.tower("image" if name == "clip" else "audio")


@pytest.mark.parametrize(
    ("family", "name", "modality"),
    [
        ("clip/", "clip", "image"),
        ("clip/", "clip", "text"),
        ("clap/", "clap", "audio"),
        ("text/mean:", "bert", "text"),
        ("image/cls:", "dinov2", "image"),
        ("speech/mean:", "wav2vec2", "audio"),
    ],
)
def test_a_file_that_is_written_over_changes_no_loaded_encoder(
    family, name, modality, checkpoint, load, tmp_path
):
    folder, items = shutil.copytree(checkpoint(name), tmp_path / "there"), sample_items(modality)
    space = load(f"transformers/{family}{folder}")
    expected = space.encode(modality, items)
    with (folder / "model.safetensors").open("r+b") as file:  # as a training that saves again does
        size = file.seek(0, 2)
        file.seek(0)
        file.write(bytes(size))
    np.testing.assert_array_equal(space.encode(modality, items), expected)


def test_an_extractor_of_the_other_kind_is_refused(checkpoint, tmp_path):
    from mmencode_transformers.clap import towers

    shutil.copytree(checkpoint("clap"), tmp_path / "clap")
    shutil.copy(checkpoint("clap_fused") / "preprocessor_config.json", tmp_path / "clap")
    with pytest.raises(WeightsError, match=r"'fusion'.*'rand_trunc'"):
        towers(str(tmp_path / "clap"))


def test_tokens_of_texts_are_their_own(checkpoint, load):
    for name, family in (("clip", "clip"), ("siglip", "clip"), ("clap", "clap")):
        tokens = load(f"transformers/{family}/{checkpoint(name)}").encode_tokens("text", tiny.TEXTS[:1])
        words = hf.AutoTokenizer.from_pretrained(checkpoint(name))
        assert len(tokens[0]) == len(words(tiny.TEXTS[0])["input_ids"])
