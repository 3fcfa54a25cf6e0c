"""PEFT adapters are merged into their base: equal to peft, known by both, and refused by name."""

from __future__ import annotations

import json
import pickle
import shutil

import numpy as np
import pytest
import tiny
import tiny_adapters
import tiny_clips
import tiny_omni
import tiny_pages
import torch
import transformers as hf
from mmencode_transformers import adapters
from mmencode_transformers.sources import find
from mmencode_transformers.text import build, text_model
from safetensors.torch import load_file, save_file
from tiny_adapters import LINEAR, WAYS, rewrite
from torch.nn.functional import normalize

from mmencode.errors import MissingPackageError, WeightsError
from mmencode.testing import sample_items

pytest.importorskip("peft")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:a text is longer")]


@pytest.fixture
def lora(checkpoint, tmp_path):
    """The folder of an adapter over a tiny checkpoint."""

    def make(kind="bert", name="adapter", **options):
        tiny_adapters.save(checkpoint(kind), tmp_path / name, **{"target_modules": LINEAR, **options})
        return tmp_path / name

    return make


def refused(folder, *words, make=build, prefix="mean:"):
    with pytest.raises(WeightsError) as caught:
        make(f"{prefix}{folder}")
    for word in words:
        assert word in str(caught.value)
    assert caught.value.remedy
    return caught.value


@pytest.mark.parametrize("way", WAYS)
def test_merged_weights_equal_those_of_peft(way, checkpoint, tmp_path):
    expected = dict(tiny_adapters.save(checkpoint("bert"), tmp_path / "a", **WAYS[way]).named_parameters())
    found = dict(text_model(find(str(tmp_path / "a"), "")).named_parameters())
    plain = dict(text_model(find(str(checkpoint("bert")), "")).named_parameters())
    assert any(not torch.equal(found[name], plain[name]) for name in found)
    for name, parameter in found.items():
        torch.testing.assert_close(parameter, expected[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("kind", "modules"), [("gpt2", ["c_attn"]), ("t5", ["q", "v"]), ("llama", ["q_proj", "gate_proj"])]
)
def test_other_texts_equal_transformers_with_peft(kind, modules, checkpoint, load, tmp_path):
    model = tiny_adapters.save(
        checkpoint(kind),
        tmp_path / "a",
        hf.T5EncoderModel if kind == "t5" else hf.AutoModel,
        target_modules=modules,
        fan_in_fan_out=kind == "gpt2",
    )
    words = hf.AutoTokenizer.from_pretrained(checkpoint(kind), padding_side="right")
    inputs = words(tiny.TEXTS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        hidden = model(**inputs).last_hidden_state
    mask = inputs["attention_mask"][..., None]
    expected = normalize((hidden * mask).sum(dim=1) / mask.sum(dim=1), dim=-1)
    found = load(f"transformers/text/mean:{tmp_path}/a").encode("text", tiny.TEXTS)
    np.testing.assert_allclose(found.vectors, expected.numpy(), atol=1e-5)


def test_adapter_of_a_model_with_its_head_is_one_of_the_model_below(checkpoint, tmp_path):
    """Language models are trained with their head, whose names begin with `model.` or `transformer.`."""
    made = tiny_adapters.save(
        checkpoint("llama"), tmp_path / "a", hf.AutoModelForCausalLM, target_modules=["q_proj"]
    )
    expected = made.model.layers[1].self_attn.q_proj.weight
    found = text_model(find(str(tmp_path / "a"), "")).layers[1].self_attn.q_proj.weight
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)


def test_sentence_encoder_with_an_adapter_equals_sentence_transformers(checkpoint, load, tmp_path):
    whole = tiny_adapters.sentence(checkpoint("bert"), tmp_path)
    found = load(f"transformers/sentence/{tmp_path}/st").encode("text", tiny.TEXTS)
    np.testing.assert_allclose(found.vectors, whole.encode(tiny.TEXTS), atol=1e-5)
    asked = load(f"transformers/sentence/query:{tmp_path}/st").encode("text", tiny.TEXTS)
    expected = whole.encode(tiny.TEXTS, prompt_name="query")
    np.testing.assert_allclose(asked.vectors, expected, atol=1e-5)
    plain = load(f"transformers/text/mean:{checkpoint('bert')}").encode("text", tiny.TEXTS)
    assert np.abs(found.vectors - plain.vectors).max() > 0.01


@pytest.mark.parametrize(
    ("family", "kind", "modality", "modules"),
    [
        ("clip/", "clip", "text", ["q_proj", "visual_projection"]),
        ("clip/", "clip", "image", ["q_proj", "visual_projection", "patch_embedding"]),
        ("clip/", "siglip", "image", ["q_proj", "fc1"]),
        ("image/cls:", "dinov2", "image", ["query", "projection"]),
        ("speech/mean:", "wav2vec2", "audio", ["k_proj", "projection"]),
        ("clap/", "clap", "text", ["query"]),
    ],
)
def test_other_families_equal_the_model_that_peft_merged(
    family, kind, modality, modules, checkpoint, load, tmp_path
):
    made = tiny_adapters.save(checkpoint(kind), tmp_path / "a", target_modules=modules)
    shutil.copytree(checkpoint(kind), tmp_path / "merged")
    (tmp_path / "merged" / "model.safetensors").unlink()
    made.save_pretrained(tmp_path / "merged")
    items = tiny.TEXTS if modality == "text" else sample_items(modality)[:3]
    expected, found, plain = (
        load(f"transformers/{family}{folder}").encode(modality, items).vectors
        for folder in (tmp_path / "merged", tmp_path / "a", checkpoint(kind))
    )
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize(
    ("family", "save", "kind", "modules"),
    [
        ("omni", tiny_omni.qwen3, hf.AutoModel, ["q_proj", "qkv", "linear_fc1"]),
        ("late", tiny_pages.colpali, hf.ColPaliForRetrieval, ["q_proj", "embedding_proj_layer"]),
        ("clip", tiny_clips.tipsv2, hf.AutoModel, ["query", "q_proj"]),
    ],
)
def test_families_of_several_modalities_equal_the_model_that_peft_merged(
    family, save, kind, modules, load, tmp_path
):
    save(tmp_path / "base")
    made = tiny_adapters.save(tmp_path / "base", tmp_path / "a", kind, target_modules=modules)
    shutil.copytree(tmp_path / "base", tmp_path / "merged")
    (tmp_path / "merged" / "model.safetensors").unlink()
    made.save_pretrained(tmp_path / "merged")
    rows = []
    for folder in ("merged", "a", "base"):
        space = load(f"transformers/{family}/{tmp_path}/{folder}")
        encode = space.encode_multi if family == "late" else space.encode
        found = encode("image", sample_items("image")[:2])
        rows.append(found.vectors)
        assert bool(space.tower("image").encoder.weights_digest) == (folder == "a")
    np.testing.assert_allclose(rows[1], rows[0], atol=1e-5)
    assert np.abs(rows[1] - rows[2]).max() > 1e-3


def test_queries_and_documents_share_the_merged_model_and_its_identity(checkpoint, load, tmp_path):
    whole = tiny_adapters.sentence(checkpoint("bert"), tmp_path)
    space = load(f"transformers/retrieval/{tmp_path}/st")
    found = space.encode("text", tiny.TEXTS, role="query").vectors
    np.testing.assert_allclose(found, whole.encode(tiny.TEXTS, prompt_name="query"), atol=1e-5)
    assert space.tower("text").encoder.weights_digest.startswith("sha256:")
    assert {space.tower(key).encoder.weights_digest for key in space.keys} == {
        space.tower("text").encoder.weights_digest
    }


# Identity


def test_identity_is_of_base_and_adapter_wherever_they_lie(checkpoint, load, lora, tmp_path):
    folder = lora()
    base = shutil.copytree(checkpoint("bert"), tmp_path / "base")
    moved = rewrite(tiny_adapters.copy(folder, tmp_path / "moved"), base_model_name_or_path=str(base))
    other = lora(name="other", lora_alpha=7)
    scaled = rewrite(tiny_adapters.copy(folder, tmp_path / "scaled"), lora_alpha=7)
    spaces = [load(f"transformers/text/mean:{place}") for place in (folder, moved, other, scaled, base)]
    prints = [space.card.fingerprint for space in spaces]
    assert prints[0] == prints[1]
    assert len(set(prints)) == 4 - (prints[2] == prints[3])
    rows = [space.encode("text", tiny.TEXTS).vectors for space in spaces]
    np.testing.assert_array_equal(rows[0], rows[1])
    assert not np.array_equal(rows[0], rows[3])


def test_identity_does_not_depend_on_how_a_machine_rounds(lora, monkeypatch):
    folder = lora()
    expected = build(f"mean:{folder}").weights_digest
    merged = adapters._merge

    def rounded_otherwise(*arguments):
        model = merged(*arguments)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(1 + 1e-7)
        return model

    monkeypatch.setattr(adapters, "_merge", rounded_otherwise)
    assert build(f"mean:{folder}").weights_digest == expected
    assert expected.startswith("sha256:")


def test_another_base_of_the_same_shape_has_another_identity(checkpoint, load, lora, tmp_path):
    folder = lora()
    base = shutil.copytree(checkpoint("bert"), tmp_path / "base")
    state = load_file(base / "model.safetensors")
    state["bert.encoder.layer.0.output.dense.bias"] += 0.1
    save_file(state, base / "model.safetensors", {"format": "pt"})
    moved = rewrite(tiny_adapters.copy(folder, tmp_path / "moved"), base_model_name_or_path=str(base))
    ids = {load(f"transformers/text/mean:{place}").card.fingerprint for place in (folder, moved)}
    assert len(ids) == 2


def test_checkpoint_without_an_adapter_is_identified_as_before(checkpoint):
    assert build(f"mean:{checkpoint('bert')}").weights_digest == ""


def test_tokenizer_beside_the_adapter_is_the_one_that_counts(checkpoint, lora):
    folder = lora()
    words = hf.AutoTokenizer.from_pretrained(checkpoint("bert"))
    words.model_max_length = 6
    words.save_pretrained(folder)
    assert build(f"mean:{folder}").reader.most == 6


# What is refused


def test_adapter_in_a_pickle_is_never_opened(lora, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return (eval, ("__import__('pathlib').Path('it_ran').touch()",))

    monkeypatch.chdir(tmp_path)
    folder = lora()
    (folder / "adapter_model.safetensors").unlink()
    refused(folder, "no adapter_model.safetensors")
    (folder / "adapter_model.bin").write_bytes(pickle.dumps({"x": Evil()}))
    refused(folder, "is a pickle", "never opened")
    assert not (tmp_path / "it_ran").exists()


@pytest.mark.parametrize(
    "base", [None, "", 3, "/no/such/folder", "someone/model", "a b", "https://elsewhere/x"]
)
def test_base_that_can_not_be_had_is_named(base, lora, monkeypatch):
    from mmencode_transformers import sources

    def unreachable(*arguments, **options):
        raise OSError("no route")

    monkeypatch.setattr(sources, "snapshot_download", unreachable)
    error = refused(rewrite(lora(), base_model_name_or_path=base), "its base can't be had")
    assert "base_model_name_or_path" in error.remedy


def test_base_on_a_hub_is_fetched_at_its_own_revision(checkpoint, lora, monkeypatch):
    from mmencode_transformers import sources

    asked = []

    def snapshot(repo_id, *, revision, allow_patterns):
        asked.append((repo_id, revision))
        return str(checkpoint("bert"))

    monkeypatch.setattr(sources, "snapshot_download", snapshot)
    folder = rewrite(lora(), base_model_name_or_path="someone/bert", revision="abc")
    assert build(f"mean:{folder}").width == 32
    assert asked == [("someone/bert", "abc")]


def test_base_that_is_an_adapter_itself_is_refused(lora):
    folder = lora()
    refused(rewrite(folder, base_model_name_or_path=str(folder)), "is an adapter itself")
    other = rewrite(lora(name="other"), base_model_name_or_path=str(folder))
    refused(other, "is an adapter itself")


def test_code_of_the_base_is_never_run(checkpoint, lora, tmp_path):
    base = shutil.copytree(checkpoint("bert"), tmp_path / "base")
    settings = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**settings, "auto_map": {"AutoModel": "code.Model"}}))
    refused(rewrite(lora(), base_model_name_or_path=str(base)), "auto_map")


@pytest.mark.parametrize("other", ["roberta", "distilbert", "gpt2"])
def test_adapter_for_another_base_is_refused(other, checkpoint, lora):
    refused(rewrite(lora(), base_model_name_or_path=str(checkpoint(other))), "is for another base than")


def test_adapter_for_a_base_of_another_size_is_refused(checkpoint, lora, tmp_path):
    config = hf.BertConfig(
        vocab_size=400, hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48
    )
    base = tmp_path / "wide"
    hf.BertModel(config).save_pretrained(base)
    tiny.tokenizer().save_pretrained(base)
    refused(rewrite(lora(), base_model_name_or_path=str(base)), "is for another base than", "size mismatch")


def test_adapter_for_a_base_of_more_layers_is_refused(checkpoint, lora, tmp_path):
    folder = lora()
    state = load_file(folder / "adapter_model.safetensors")
    extra = {name.replace("layer.1.", "layer.7."): tensor.clone() for name, tensor in state.items()}
    save_file({**state, **extra}, folder / "adapter_model.safetensors")
    refused(folder, "there is no place for", "layer.7")
    fewer = {name: tensor for name, tensor in state.items() if "layer.1." not in name}
    save_file(fewer, folder / "adapter_model.safetensors")
    refused(folder, "the adapter has no", "layer.1")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'"),
        ({"peft_type": "PROMPT_TUNING"}, "peft_type is 'PROMPT_TUNING'"),
        ({"peft_type": None}, "peft_type is None"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "megatron_config"),
        ({"layer_replication": [[0, 2], [0, 2]]}, "layer_replication"),
        ({"alora_invocation_tokens": [1, 2]}, "alora_invocation_tokens"),
        ({"invented_tomorrow": True}, "invented_tomorrow"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights 'pissa'"),
        ({"r": 10**9}, "no tensor of it has the rank 1000000000"),
        ({"r": "x"}, "no tensor of it has the rank 'x'"),
        ({"rank_pattern": {"query": 10**9}}, "no tensor of it has the rank 1000000000"),
        ({"lora_alpha": "x"}, "lora_alpha 'x' is no number"),
        ({"r": 5}, "size mismatch"),
        ({"modules_to_save": ["lora_A"]}, "isn't merged here"),
        ({"target_modules": "(a+)+b"}, "could take for ever"),
        ({"alpha_pattern": {"(x*)*y": 3}}, "could take for ever"),
        ({"target_modules": ".*.*.*.*.*.*.*q"}, "could take for ever"),
        ({"target_modules": "("}, "peft fails"),
        ({"target_modules": ["nothing"]}, "is for another base than"),
        ({"modules_to_save": ["pooler"]}, "lacks the module 'pooler'"),
    ],
    ids=str,
)
def test_what_is_no_plain_lora_is_refused(changes, words, lora):
    refused(rewrite(lora(), **changes), words)


def test_adapter_with_nan_is_named(lora):
    folder = lora()
    state = load_file(folder / "adapter_model.safetensors")
    state[min(state)][0, 0] = float("nan")
    save_file(state, folder / "adapter_model.safetensors")
    refused(folder, "has NaN or infinity")


def test_missing_peft_is_named(lora, monkeypatch):
    folder = lora()
    monkeypatch.setattr(adapters, "find_spec", lambda name: None)
    with pytest.raises(MissingPackageError, match="peft isn't installed") as caught:
        build(f"mean:{folder}")
    assert caught.value.remedy == 'pip install "mmencode-transformers[adapters]"'
