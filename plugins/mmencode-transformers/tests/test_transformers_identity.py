"""A checkpoint is what it computes, wherever its folder lies; what computes something else is another."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

import mmencode
from mmencode.errors import WeightsError
from mmencode.testing import sample_items

NAMES = {
    "transformers/text/mean:": ("bert", "text"),
    "transformers/sentence/": ("sentence", "text"),
    "transformers/clip/": ("siglip", "image"),
    "transformers/clap/": ("clap", "audio"),
    "transformers/image/cls:": ("dinov2", "image"),
    "transformers/speech/mean:": ("wav2vec2", "audio"),
}
pytestmark = pytest.mark.filterwarnings("ignore:a text is longer")
SHARD = "model-00001-of-00002.safetensors"


def items_of(modality):
    return tiny.TEXTS if modality == "text" else sample_items(modality, 3)


def loaded(name, modality):
    """The fingerprint and vectors of one tower of a space."""
    with mmencode.load(name, device="cpu", dtype="float32") as space:
        only = [space.spec(modality)]
    with mmencode.Space(only[0].space_name, only, runtime=mmencode.Runtime("cpu", "float32")) as space:
        return space.card.fingerprint, space.encode(modality, items_of(modality)).vectors


def rewrite(path, change):
    """Change a JSON file: a mapping is merged into it, at any depth."""

    def merged(old, new):
        if not isinstance(new, dict) or not isinstance(old, dict):
            return new
        return old | {key: merged(old.get(key), value) for key, value in new.items()}

    path.write_text(json.dumps(merged(json.loads(path.read_text()), change)))


@pytest.mark.parametrize("family", NAMES)
def test_fingerprint_is_one_wherever_and_however_a_folder_lies(checkpoint, tmp_path, monkeypatch, family):
    kind, modality = NAMES[family]
    monkeypatch.chdir(tmp_path)
    folder = checkpoint(kind)
    expected, vectors = loaded(f"{family}{folder}", modality)
    for place in ("copy", "pickled", "sharded", "trained"):
        shutil.copytree(folder, tmp_path / place)
    (tmp_path / "link").symlink_to(folder)
    state = load_file(folder / "model.safetensors")
    for place in ("pickled", "sharded"):
        (tmp_path / place / "model.safetensors").unlink()
    torch.save(state, tmp_path / "pickled" / "pytorch_model.bin")
    names = sorted(state)
    for file, part in ((SHARD, names[::2]), (SHARD.replace("1-", "2-"), names[1::2])):
        save_file({name: state[name] for name in part}, tmp_path / "sharded" / file)
    places = {name: SHARD if name in names[::2] else SHARD.replace("1-", "2-") for name in names}
    index = json.dumps({"metadata": {}, "weight_map": places})
    (tmp_path / "sharded" / "model.safetensors.index.json").write_text(index)
    save_file(
        {f"_orig_mod.{name}": tensor for name, tensor in state.items()},
        tmp_path / "trained/model.safetensors",
    )
    idle = {"_name_or_path": "/elsewhere", "transformers_version": "0.1", "use_cache": False}
    rewrite(tmp_path / "trained" / "config.json", idle)
    places = ["./pickled", "./sharded", "./copy/../link/"]
    if kind == "bert":
        places += ["./copy", f"{tmp_path}/copy/", "./trained"]
    for place in places:
        found, others = loaded(f"{family}{place}", modality)
        assert found == expected, place
        assert np.array_equal(vectors, others), place


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.model."])
def test_prefix_of_a_trainer_is_taken_off(checkpoint, tmp_path, prefix):
    shutil.copytree(checkpoint("bert"), tmp_path / "bert")
    state = load_file(tmp_path / "bert" / "model.safetensors")
    save_file(
        {f"{prefix}{name}": tensor for name, tensor in state.items()}, tmp_path / "bert/model.safetensors"
    )
    names = [f"transformers/text/mean:{folder}" for folder in (checkpoint("bert"), tmp_path / "bert")]
    assert loaded(names[0], "text")[0] == loaded(names[1], "text")[0]


# Settings that change vectors and no tensor's shape, by the file that they stand in.
VARIANTS = {
    ("bert", "transformers/text/mean:", "text"): {
        "heads": ("config.json", {"num_attention_heads": 2}),
        "epsilon": ("config.json", {"layer_norm_eps": 0.01}),
        "activation": ("config.json", {"hidden_act": "relu"}),
        "length": ("tokenizer_config.json", {"model_max_length": 6}),
        "side": ("tokenizer_config.json", {"model_max_length": 6, "truncation_side": "left"}),
        "case": ("tokenizer.json", {"normalizer": {"type": "NFC", "normalizers": None}}),
    },
    ("llama", "transformers/text/last:", "text"): {
        "rope": ("config.json", {"rope_parameters": {"rope_theta": 100.0, "rope_type": "default"}}),
        "epsilon": ("config.json", {"rms_norm_eps": 0.01}),
        "activation": ("config.json", {"hidden_act": "gelu"}),
    },
    ("sentence", "transformers/sentence/", "text"): {
        "prompt": ("config_sentence_transformers.json", {"prompts": {"query": "q: "}}),
        "pooling": (
            "1_Pooling/config.json",
            {"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True},
        ),
        "prompt not pooled": ("1_Pooling/config.json", {"include_prompt": False}),
        "activation": ("2_Dense/config.json", {"activation_function": "torch.nn.modules.ReLU"}),
        "residual heads": ("config.json", {"num_attention_heads": 2}),
    },
    ("clip", "transformers/clip/", "text"): {
        "heads": ("config.json", {"text_config": {"num_attention_heads": 2}}),
        "activation": ("config.json", {"text_config": {"hidden_act": "gelu"}}),
        "end": ("config.json", {"text_config": {"eos_token_id": 7}}),
    },
    ("siglip", "transformers/clip/", "text"): {
        "padding": ("tokenizer_config.json", {"pad_token": "<unk>"}),
        "padding masked": ("tokenizer_config.json", {"model_input_names": ["input_ids", "attention_mask"]}),
        "side": ("tokenizer_config.json", {"padding_side": "left"}),
    },
    ("dinov2", "transformers/image/cls:", "image"): {
        "heads": ("config.json", {"num_attention_heads": 2}),
        "mean": ("preprocessor_config.json", {"image_mean": [0.5, 0.4, 0.300001]}),
        "crop": ("preprocessor_config.json", {"size": {"shortest_edge": 40}}),
        "resample": ("preprocessor_config.json", {"resample": 2}),
    },
    ("wav2vec2", "transformers/speech/mean:", "audio"): {
        "heads": ("config.json", {"num_attention_heads": 2}),
        "scaling": ("preprocessor_config.json", {"do_normalize": False}),
        "rate": ("preprocessor_config.json", {"sampling_rate": 8000}),
    },
    ("clap", "transformers/clap/", "audio"): {
        "top": ("preprocessor_config.json", {"frequency_max": 3000}),
        "hop": ("preprocessor_config.json", {"hop_length": 170}),
        "short": ("preprocessor_config.json", {"padding": "pad"}),
    },
}


@pytest.mark.parametrize("case", VARIANTS, ids=lambda case: case[0])
def test_whatever_gives_other_vectors_with_the_same_weights_has_another_fingerprint(
    checkpoint, tmp_path, case
):
    kind, family, modality = case
    found = {"as it is": loaded(f"{family}{checkpoint(kind)}", modality)}
    for name, (file, change) in VARIANTS[case].items():
        folder = tmp_path / name
        shutil.copytree(checkpoint(kind), folder)
        rewrite(folder / file, change)
        found[name] = loaded(f"{family}{folder}", modality)
    for (one, (first, vectors)), (other, (second, others)) in itertools.combinations(found.items(), 2):
        assert not np.array_equal(vectors, others), (one, other)  # or the pair shows nothing
        assert first != second, (one, other)


def test_pooling_in_the_name_counts(checkpoint):
    prints = {
        loaded(f"transformers/text/{way}:{checkpoint('bert')}", "text")[0]
        for way in ("cls", "mean", "max", "last")
    }
    assert len(prints) == 4


def test_saved_space_and_index_open_with_the_checkpoint_moved(checkpoint, tmp_path):
    pytest.importorskip("lancedb")
    shutil.copytree(checkpoint("clip"), tmp_path / "here")
    with mmencode.load(f"transformers/clip/{tmp_path}/here", device="cpu", dtype="float32") as space:
        space.save(tmp_path / "saved")
        with mmencode.Index.create(tmp_path / "index", space) as index:
            index.add("text", tiny.TEXTS)
    shutil.move(tmp_path / "here", tmp_path / "there")
    with mmencode.load(f"transformers/clip/{tmp_path}/there", device="cpu", dtype="float32") as moved:
        with mmencode.load(tmp_path / "saved", space=moved, device="cpu", dtype="float32") as back:
            assert back.verify().same
        with mmencode.Index.open(tmp_path / "index", space=moved) as index:
            assert index.search("text", tiny.TEXTS[:1], k=1)[0][0].key == tiny.TEXTS[0]


# Scales


@pytest.mark.parametrize(
    ("kind", "family", "modality", "lacking"),
    [
        ("clip", "clip", "image", "logit_scale"),
        ("siglip", "clip", "image", "logit_scale"),
        ("siglip", "clip", "image", "logit_bias"),
        ("siglip2", "clip", "image", "logit_bias"),
        ("clap", "clap", "audio", "logit_scale_a"),
    ],
)
def test_scale_that_nobody_trained_gives_no_probabilities(
    checkpoint, tmp_path, kind, family, modality, lacking
):
    shutil.copytree(checkpoint(kind), tmp_path / kind)
    state = load_file(tmp_path / kind / "model.safetensors")
    del state[lacking]
    save_file(state, tmp_path / kind / "model.safetensors")
    vectors = []
    for folder, scored in ((checkpoint(kind), True), (tmp_path / kind, False)):
        with mmencode.load(f"transformers/{family}/{folder}", device="cpu", dtype="float32") as space:
            assert (space.scoring(modality) is not None) == scored
            vectors.append(space.encode(modality, items_of(modality)).vectors)
    np.testing.assert_array_equal(*vectors)


@pytest.mark.parametrize(
    ("kind", "family", "modality", "name"),
    [
        ("clip", "clip", "image", "logit_scale"),
        ("siglip", "clip", "image", "logit_bias"),
        ("clap", "clap", "audio", "logit_scale_a"),
    ],
)
@pytest.mark.parametrize("value", [float("nan"), 1000.0, float("-inf")])
def test_scale_that_is_no_number_is_named(checkpoint, tmp_path, kind, family, modality, name, value):
    if name == "logit_bias" and value == 1000:
        pytest.skip("a bias may be large")
    if value == float("-inf") and name != "logit_bias":
        pytest.skip("its exponential is zero")
    shutil.copytree(checkpoint(kind), tmp_path / kind)
    state = load_file(tmp_path / kind / "model.safetensors")
    state[name] = torch.full_like(state[name], value)
    save_file(state, tmp_path / kind / "model.safetensors")
    with (
        mmencode.load(f"transformers/{family}/{tmp_path / kind}", device="cpu") as space,
        pytest.raises(WeightsError, match=rf"the {name} of"),
    ):
        space.scoring(modality)


def test_weights_that_are_no_numbers_are_named_when_they_are_loaded(checkpoint, tmp_path):
    shutil.copytree(checkpoint("bert"), tmp_path / "bert")
    state = load_file(tmp_path / "bert" / "model.safetensors")
    state["bert.encoder.layer.1.output.dense.weight"][2, 3] = float("nan")
    save_file(state, tmp_path / "bert" / "model.safetensors")
    with (
        mmencode.load(f"transformers/text/mean:{tmp_path}/bert", device="cpu") as space,
        pytest.raises(WeightsError, match=r"layer.1.output.dense.weight contains NaN"),
    ):
        space.encode("text", tiny.TEXTS, on_error="skip")


# CLIP as sentence-transformers saves it


@pytest.fixture
def wrapped(checkpoint, tmp_path):
    """A folder with `0_CLIPModel`, as sentence-transformers lays it out."""
    shutil.copytree(checkpoint("clip"), tmp_path / "clip" / "0_CLIPModel")
    listed = [
        {"idx": 0, "name": "0", "path": "0_CLIPModel", "type": "sentence_transformers.models.CLIPModel"}
    ]
    (tmp_path / "clip" / "modules.json").write_text(json.dumps(listed))
    return tmp_path / "clip"


@pytest.mark.parametrize("modality", ["text", "image"])
def test_clip_of_sentence_transformers_is_the_clip_in_it(checkpoint, wrapped, modality):
    expected, vectors = loaded(f"transformers/clip/{checkpoint('clip')}", modality)
    found, others = loaded(f"transformers/clip/{wrapped}", modality)
    assert found == expected
    assert np.array_equal(vectors, others)


def test_clip_of_sentence_transformers_is_no_sentence_encoder_and_says_what_it_is(wrapped):
    from mmencode_transformers.sentence import build

    with pytest.raises(WeightsError, match=r"CLIPModel in '0_CLIPModel'") as caught:
        build(str(wrapped))
    assert f"transformers/clip/{wrapped}" in caught.value.remedy
