"""MetaCLIP 2, AltCLIP, Chinese-CLIP, AIMv2, TIPS v2, and SigLIP's own tokenizer, equal transformers."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny
import tiny_clips
import torch
import transformers as hf
from mmencode_transformers.clip import towers
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

import mmencode
from mmencode.errors import InputError, MissingPackageError, WeightsError
from mmencode.testing import sample_items

TEXTS = [*tiny.TEXTS, "Fly, kite!  FLY?", "a"]


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def copied(checkpoint, tmp_path):
    """A copy of a checkpoint to spoil."""
    return lambda kind: shutil.copytree(checkpoint(kind), tmp_path / kind)


def image_features(folder, images):
    model, processor = hf.AutoModel.from_pretrained(folder), hf.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        found = model.get_image_features(**processor(images=images, return_tensors="pt")).pooler_output
    return normalize(found, dim=-1).numpy()


def text_features(folder, texts):
    """Features by transformers; with sdpa, its AIMv2 is causal in batches with padding alone, so eager."""
    model = hf.AutoModel.from_pretrained(folder, attn_implementation="eager")
    words = hf.AutoTokenizer.from_pretrained(folder)
    padding = "max_length" if "siglip" in model.config.model_type else True
    inputs = words(texts, padding=padding, truncation=True, return_tensors="pt")
    with torch.inference_mode():
        return normalize(model.get_text_features(**inputs).pooler_output, dim=-1).numpy()


@pytest.mark.parametrize("kind", tiny_clips.KINDS)
def test_images_equal_transformers(kind, checkpoint, load):
    folder, images = checkpoint(kind), sample_items("image")
    found = load(f"transformers/clip/{folder}").encode("image", images)
    np.testing.assert_allclose(found.vectors, image_features(folder, images), atol=1e-5)


@pytest.mark.parametrize("kind", [*tiny_clips.KINDS, "siglip_pieces"])
def test_texts_of_mixed_lengths_equal_transformers(kind, checkpoint, load):
    folder = checkpoint(kind)
    space = load(f"transformers/clip/{folder}")
    found = space.encode("text", TEXTS).vectors
    np.testing.assert_allclose(found, text_features(folder, TEXTS), atol=1e-5)
    alone = np.concatenate([space.encode("text", [text]).vectors for text in TEXTS])
    np.testing.assert_allclose(alone, found, atol=1e-6)


@pytest.mark.parametrize("kind", tiny_clips.KINDS)
def test_probabilities_are_those_of_the_model(kind, checkpoint, load):
    folder, images, labels = (
        checkpoint(kind),
        sample_items("image", 3),
        ["a dog", "thunder", "a quiet harbour"],
    )
    model, words = hf.AutoModel.from_pretrained(folder), hf.AutoTokenizer.from_pretrained(folder)
    texts = words([f"a photo of a {label}" for label in labels], padding=True, return_tensors="pt")
    pixels = hf.AutoImageProcessor.from_pretrained(folder)(images=images, return_tensors="pt")
    with torch.inference_mode():
        expected = model(**texts, **pixels).logits_per_image.softmax(dim=-1)
    classified = load(f"transformers/clip/{folder}").classifier(labels).classify("image", images)
    np.testing.assert_allclose(classified.probabilities(), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("kind", tiny_clips.KINDS)
def test_both_towers_come_from_one_read(kind, checkpoint, load, monkeypatch):
    from mmencode_transformers import loading

    read = []
    original = loading.read_weights
    monkeypatch.setattr(loading, "read_weights", lambda found: read.append(found) or original(found))
    space = load(f"transformers/clip/{checkpoint(kind)}")
    for modality in ("text", "image"):
        space.encode(modality, sample_items(modality)[:2])
    assert len(read) == 1
    part = load(f"transformers/clip/{checkpoint(kind)}", modalities=("text",))
    assert list(part.modalities) == ["text"]
    assert part.id != ""


@pytest.mark.parametrize("kind", tiny_clips.KINDS)
def test_code_of_a_checkpoint_is_never_run(kind, copied):
    folder = copied(kind)
    rewrite(folder / "config.json", auto_map={"AutoModel": "code.Model"})
    (folder / "code.py").write_text("raise RuntimeError('it ran')")
    with pytest.raises(WeightsError, match="auto_map"):
        towers(str(folder))


@pytest.mark.parametrize("kind", tiny_clips.KINDS)
def test_weights_that_lack_some_of_a_tower_are_refused(kind, copied):
    folder = copied(kind)
    state = load_file(folder / "model.safetensors")
    lost = min(name for name in state if name.startswith("text_") and ".0." in name)
    save_file({name: tensor for name, tensor in state.items() if name != lost}, folder / "model.safetensors")
    with pytest.raises(WeightsError, match=r"lacks \d of"):
        towers(str(folder), ("text",))
    assert towers(str(folder), ("image",))["image"].width in (24, 32)


def test_texts_are_cut_to_what_the_tower_has_positions_for(checkpoint, load):
    """AltCLIP's positions begin behind that of padding, and its tokenizer allows more."""
    space = load(f"transformers/clip/{checkpoint('altclip')}")
    with pytest.warns(UserWarning, match=f"longer than {tiny.LONGEST} tokens"):
        found = space.encode("text", ["harbour " * 90])
    assert np.isfinite(found.vectors).all()


# Scales


def test_scale_of_aimv2_has_the_limit_of_its_settings(copied, load):
    folder = copied("aimv2")
    state = load_file(folder / "model.safetensors")
    state["logit_scale"] = torch.tensor(9.0)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    rewrite(folder / "config.json", max_logit_scale=50.0)
    assert load(f"transformers/clip/{folder}").scoring("image").scale == pytest.approx(50)


def test_scale_of_tipsv2_is_in_its_weights_or_in_its_settings(copied, load):
    """The published weights lack the temperature, and their config.json has it."""
    folder = copied("tipsv2")
    assert load(f"transformers/clip/{folder}").scoring("image").scale == pytest.approx(10)
    state = load_file(folder / "model.safetensors")
    del state["temperature"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    rewrite(folder / "config.json", temperature_init_value=0.05)
    assert load(f"transformers/clip/{folder}/").scoring("image").scale == pytest.approx(20)
    settings = json.loads((folder / "config.json").read_text())
    del settings["temperature_init_value"]
    (folder / "config.json").write_text(json.dumps(settings))
    assert load(f"transformers/clip/{folder}//").scoring("image") is None


def test_image_tower_without_a_head_has_no_vector_to_give(copied):
    folder = copied("aimv2")
    settings = json.loads((folder / "config.json").read_text())
    settings["vision_config"]["use_head"] = False
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(WeightsError, match="no head that pools"):
        towers(str(folder))


# SigLIP's own tokenizer

ODD = [
    "A dog!!",
    "THUNDER; and   a dog.",
    "a </s> dog",
    "</s>",
    "▁a▁dog",
    "中文 dog",
    "x" * 300,
    "ﷺ a dog",
    "(a) {dog}",
]


@pytest.mark.filterwarnings("ignore:a text is longer", "ignore:This sequence already has")
@pytest.mark.parametrize("changes", [{}, {"do_lower_case": False}, {"padding_side": "left"}], ids=str)
def test_ids_are_those_of_siglips_tokenizer(changes, copied):
    folder = copied("siglip_pieces")
    rewrite(folder / "tokenizer_config.json", **changes)
    words = hf.AutoTokenizer.from_pretrained(folder)
    assert type(words).__name__ == "SiglipTokenizer"
    reader = towers(str(folder), ("text",))["text"]
    for text in [*TEXTS, *ODD]:
        expected = words(text, padding="max_length", truncation=True, return_attention_mask=True)
        found = reader.preprocess(text)
        assert found["ids"].tolist() == expected["input_ids"], text
        assert found["mask"].tolist() == [bool(flag) for flag in expected["attention_mask"]], text


def test_punctuation_and_case_make_no_difference_to_siglip(checkpoint, load):
    space = load(f"transformers/clip/{checkpoint('siglip_pieces')}")
    found = space.encode("text", ["a dog", "A DOG.", "a   dog?!"]).vectors
    np.testing.assert_array_equal(found, found[[0, 0, 0]])


def test_text_of_punctuation_alone_is_blank_and_hurts_no_other(checkpoint, load):
    space = load(f"transformers/clip/{checkpoint('siglip_pieces')}")
    with pytest.raises(InputError, match="leaves nothing of it") as caught:
        space.encode("text", ["a dog", "?!"])
    assert caught.value.index == 1
    found = space.encode("text", ["a dog", "?!", "thunder"], on_error="skip")
    assert list(found.positions) == [0, 2]


@pytest.mark.parametrize(
    "change", [{"do_lower_case": False}, {"padding_side": "left"}, {"pad_token": "<unk>"}], ids=str
)
def test_settings_of_the_tokenizer_are_part_of_the_identity(change, copied, load):
    folder = copied("siglip_pieces")
    before = load(f"transformers/clip/{folder}")
    ids = [before.id]
    rewrite(folder / "tokenizer_config.json", **change)
    ids.append(load(f"transformers/clip/{folder}/").id)
    assert len(set(ids)) == 2


@pytest.mark.parametrize("kwargs", [{"enable_sampling": True}, {"model_file": "/etc/passwd"}])
def test_sampling_and_other_files_are_refused(kwargs, copied):
    folder = copied("siglip_pieces")
    rewrite(folder / "tokenizer_config.json", sp_model_kwargs=kwargs)
    with pytest.raises(WeightsError, match="has settings of sentencepiece"):
        towers(str(folder))


def test_pieces_that_multiply_a_text_or_are_none_are_refused(copied):
    from sentencepiece import sentencepiece_model_pb2 as messages

    folder = copied("siglip_pieces")
    model = messages.ModelProto.FromString((folder / "spiece.model").read_bytes())
    model.normalizer_spec.precompiled_charsmap = bytes(4) + b"a" * 5000
    (folder / "spiece.model").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="one character become 5000 bytes"):
        towers(str(folder))
    (folder / "spiece.model").write_bytes(b"\xff" * 64)
    with pytest.raises(WeightsError, match=r"spiece\.model"):
        towers(str(folder))
    (folder / "spiece.model").unlink()
    with pytest.raises(WeightsError, match=r"no spiece\.model"):
        towers(str(folder))


@pytest.mark.parametrize("named", [True, False], ids=["named", "by its architecture"])
def test_missing_package_is_named_and_no_other_tokenizer_steps_in(named, copied, checkpoint, monkeypatch):
    folder = copied("siglip_pieces")
    shutil.copy(checkpoint("siglip") / "tokenizer.json", folder)  # published checkpoints have one as well
    if not named:
        settings = json.loads((folder / "tokenizer_config.json").read_text())
        del settings["tokenizer_class"]
        (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    monkeypatch.setattr("mmencode_transformers.sentencepieces.find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="sentencepiece") as caught:
        towers(str(folder))
    assert caught.value.remedy == 'pip install "mmencode-transformers[siglip]"'


# Other families


@pytest.mark.parametrize("kind", tiny_clips.KINDS)
def test_remedy_is_the_name_under_which_a_checkpoint_is_taken(kind, checkpoint):
    from mmencode_transformers.text import build

    folder = checkpoint(kind)
    with pytest.raises(WeightsError, match=f"is a {kind}") as caught:
        build(f"mean:{folder}")
    assert caught.value.remedy == f"name it transformers/clip/{folder}"
    assert mmencode.registry()[f"transformers/clip-text/{folder}"]
