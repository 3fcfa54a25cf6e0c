"""Checkpoints of sentence-transformers give what that library gives, by their own modules.json."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny
import torch
from torch import nn

import mmencode
from mmencode.errors import UnknownNameError, WeightsError
from mmencode.spaces.loading import load as load_space

st = pytest.importorskip("sentence_transformers", reason="the reference: pip install sentence-transformers")
from sentence_transformers import models  # noqa: E402

MODES = ["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]


def save(folder, base, *, modes="mean", layers=(), lower=False, include=True, longest=None, **options):
    """A checkpoint of sentence-transformers over a tiny text model, and the model itself."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformer = models.Transformer(str(base), max_seq_length=longest, do_lower_case=lower)
        width = transformer.get_embedding_dimension()
        pooling = models.Pooling(width, pooling_mode=modes, include_prompt=include)
        made = st.SentenceTransformer(modules=[transformer, pooling, *layers], device="cpu", **options)
    made.save(str(folder))
    return st.SentenceTransformer(str(folder), device="cpu")


def assert_equal(found, reference, texts=tiny.TEXTS, **options):
    expected = reference.encode(texts, normalize_embeddings=True, **options)
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)


@pytest.mark.parametrize("modes", [*MODES, ("cls", "mean")], ids=str)
def test_each_pooling_equals_the_library(modes, checkpoint, load, tmp_path):
    reference = save(tmp_path / "st", checkpoint("bert"), modes=modes)
    assert_equal(load(f"transformers/sentence/{tmp_path}/st").encode("text", tiny.TEXTS), reference)


@pytest.mark.parametrize("base", ["roberta", "mpnet", "t5", "llama"])
def test_each_kind_of_text_model_equals_the_library(base, checkpoint, load, tmp_path):
    modes = "lasttoken" if base == "llama" else "mean"
    reference = save(tmp_path / "st", checkpoint(base), modes=modes)
    assert_equal(load(f"transformers/sentence/{tmp_path}/st").encode("text", tiny.TEXTS), reference)


def test_layers_behind_the_pooling_are_computed(checkpoint, load, tmp_path):
    torch.manual_seed(0)
    layers = [
        models.Dense(32, 24, activation_function=nn.Tanh(), use_residual=True),
        models.LayerNorm(24),
        models.Dropout(0.5),
        models.Dense(24, 16, bias=False, activation_function=nn.Identity()),
        models.Normalize(),
    ]
    reference = save(tmp_path / "st", checkpoint("bert"), layers=layers)
    space = load(f"transformers/sentence/{tmp_path}/st")
    assert space.dim == 16
    assert_equal(space.encode("text", tiny.TEXTS), reference)


def test_features_are_those_of_the_library_before_any_normalisation(checkpoint, load, tmp_path):
    reference = save(tmp_path / "st", checkpoint("bert"), layers=[models.Dense(32, 16)])
    (part,) = load(f"transformers/sentence/{tmp_path}/st").features("text", tiny.TEXTS)
    np.testing.assert_allclose(part.rows, reference.encode(tiny.TEXTS), atol=1e-5)


def test_length_and_lower_case_are_those_of_the_checkpoint(checkpoint, load, tmp_path):
    reference = save(tmp_path / "st", checkpoint("roberta"), longest=12, lower=True)
    texts = [*tiny.TEXTS, "AN OLD BRIDGE", "  spaces around  "]
    settings = json.loads((tmp_path / "st" / "sentence_bert_config.json").read_text())
    lower = {**settings, "do_lower_case": True, "max_seq_length": 12}
    (tmp_path / "st" / "sentence_bert_config.json").write_text(json.dumps(lower))
    rewrite(tmp_path / "st" / "tokenizer_config.json", model_max_length=6)  # the checkpoint's own length wins
    reference = st.SentenceTransformer(str(tmp_path / "st"), device="cpu")
    space = load(f"transformers/sentence/{tmp_path}/st")
    with pytest.warns(UserWarning, match="longer than 12 tokens"):
        assert_equal(space.encode("text", texts), reference, texts)
    assert max(len(row) for row in space.encode_tokens("text", texts)) == 12


def test_flags_of_older_checkpoints_are_read(checkpoint, load, tmp_path):
    save(tmp_path / "st", checkpoint("bert"))
    flags = {
        "word_embedding_dimension": 32,
        "pooling_mode_cls_token": True,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_max_tokens": True,
        "pooling_mode_mean_sqrt_len_tokens": False,
    }
    (tmp_path / "st" / "1_Pooling" / "config.json").write_text(json.dumps(flags))
    listed = json.loads((tmp_path / "st" / "modules.json").read_text())
    for module, kind in zip(listed, ("Transformer", "Pooling"), strict=True):
        module["type"] = f"sentence_transformers.models.{kind}"
    (tmp_path / "st" / "modules.json").write_text(json.dumps(listed))
    reference = st.SentenceTransformer(str(tmp_path / "st"), device="cpu")
    assert_equal(load(f"transformers/sentence/{tmp_path}/st").encode("text", tiny.TEXTS), reference)


@pytest.mark.parametrize("include", [True, False], ids=["pooled", "excluded"])
def test_prompts_equal_the_library(include, checkpoint, load, tmp_path):
    prompts = {"query": "query: ", "topic": "the topic of "}
    reference = save(
        tmp_path / "st", checkpoint("bert"), include=include, prompts=prompts, default_prompt_name="topic"
    )
    plain = load(f"transformers/sentence/{tmp_path}/st").encode("text", tiny.TEXTS)
    assert_equal(plain, reference)
    asked = load(f"transformers/sentence/query:{tmp_path}/st").encode("text", tiny.TEXTS)
    assert_equal(asked, reference, prompt_name="query")
    with pytest.raises(mmencode.errors.SpaceMismatchError):
        mmencode.similarity(plain, asked)


def test_a_prompt_that_there_is_not_is_refused_with_those_there_are(checkpoint, load, tmp_path):
    save(tmp_path / "st", checkpoint("bert"), prompts={"query": "query: "})
    with pytest.raises(UnknownNameError, match="query"):
        load(f"transformers/sentence/clustering:{tmp_path}/st").encode("text", ["a dog"])


@pytest.fixture
def saved(checkpoint, tmp_path):
    """A checkpoint to spoil."""
    save(tmp_path / "st", checkpoint("bert"), layers=[models.Dense(32, 16)])
    return tmp_path / "st"


def refused(folder):
    with pytest.raises(WeightsError) as caught, load_space(f"transformers/sentence/{folder}") as space:
        space.encode("text", ["a dog"])
    return str(caught.value)


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_modules_of_the_checkpoints_own_are_never_run(saved):
    listed = json.loads((saved / "modules.json").read_text())
    listed[1]["type"] = "custom_st.Pooling"
    (saved / "modules.json").write_text(json.dumps(listed))
    (saved / "custom_st.py").write_text("raise RuntimeError('it ran')")
    assert "custom_st.Pooling" in refused(saved)


def test_modules_that_are_not_computed_are_named(saved):
    listed = json.loads((saved / "modules.json").read_text())
    listed[2]["type"] = "sentence_transformers.models.CNN"
    (saved / "modules.json").write_text(json.dumps(listed))
    assert "has a CNN" in refused(saved)


def test_paths_out_of_the_checkpoint_are_refused(saved):
    listed = json.loads((saved / "modules.json").read_text())
    listed[1]["path"] = "../elsewhere"
    (saved / "modules.json").write_text(json.dumps(listed))
    assert "outside itself" in refused(saved)


def test_activations_from_elsewhere_are_refused(saved):
    rewrite(saved / "2_Dense" / "config.json", activation_function="os.system")
    assert "os.system" in refused(saved)


def test_missing_weights_of_a_module_are_named(saved):
    (saved / "2_Dense" / "model.safetensors").unlink()
    assert "model.safetensors" in refused(saved)


def test_weights_of_another_size_are_refused(saved):
    rewrite(saved / "2_Dense" / "config.json", out_features=17)
    assert "2_Dense" in refused(saved)


def test_checkpoints_without_pooling_are_refused(saved):
    listed = json.loads((saved / "modules.json").read_text())
    (saved / "modules.json").write_text(json.dumps(listed[:1]))
    assert "no Pooling" in refused(saved)


def test_unknown_pooling_is_named(saved):
    rewrite(saved / "1_Pooling" / "config.json", pooling_mode="median")
    assert "'median'" in refused(saved)


def test_models_for_other_tasks_are_refused(saved):
    rewrite(saved / "sentence_bert_config.json", transformer_task="text-generation")
    assert "text-generation" in refused(saved)


def test_a_default_prompt_that_there_is_not_is_refused(saved):
    rewrite(saved / "config_sentence_transformers.json", default_prompt_name="lost")
    assert "'lost'" in refused(saved)


def test_plain_checkpoints_lack_modules_json(checkpoint, tmp_path):
    shutil.copytree(checkpoint("bert"), tmp_path / "plain")
    assert "modules.json" in refused(tmp_path / "plain")
