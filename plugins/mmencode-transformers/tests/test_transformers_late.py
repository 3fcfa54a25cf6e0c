"""Texts of late interaction have the vectors, counts and scores of sentence-transformers' own model."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_late
from mmencode_transformers import late
from tiny_late import TEXTS

import mmencode
from mmencode.errors import InstructionError, WeightsError
from mmencode.spaces.loading import load as load_space

st = pytest.importorskip(
    "sentence_transformers", "6", reason="the reference: pip install sentence-transformers"
)
from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling  # noqa: E402

pytestmark = pytest.mark.slow

FILLED = {"strategy": "fixed", "length": 20}
NATIVE = {
    "plain": {"prompts": {"passage": "a prompt that the library doesn't take for documents"}},
    "filled": {
        "query_expansion": FILLED,
        "document_length": 30,
        "prompts": {"query": "q: ", "document": "doc: "},
    },
    "at least": {"query_expansion": {"strategy": "min", "length": 12, "attend": True}, "query_length": 18},
    "another token": {"query_expansion": {"strategy": "min", "length": 12, "token": "[SEP]"}},
    "skipped": {"mask": {"skiplist_words": ["a", "."], "skiplist_tasks": ["query", "document"]}},
    "kept": {"mask": {"keep_only_token_ids": list(range(60, 300))}},
    "pooled": {"behind": (HierarchicalTokenPooling(2.5),)},
    "pooled both": {
        "behind": (HierarchicalTokenPooling(2, num_protected_tokens=0, tasks=["query", "document"]),)
    },
    "modernbert": {"kind": "modernbert", "query_expansion": FILLED},
    "roberta": {"kind": "roberta", "query_expansion": {**FILLED, "token": "</s>"}},
    "llama": {"kind": "llama", "query_expansion": {**FILLED, "attend": True}},
}
PYLATE = {
    "pylate": {},
    "attending": {"attend_to_expansion_tokens": True},
    "not filled": {"do_query_expansion": False},
    "own words": {"skiplist_words": ["a", "."], "query_length": 12, "document_length": 25},
    "no list": {"skiplist_words": "absent", "query_length": "absent"},
    "with prompts": {"prompts": {"query": "find ", "document": ""}},
    "of an older version": {"model_type": "absent"},
}
COLBERT = {
    "colbert": {},
    "punctuation": {"mask_punctuation": False, "attend_to_mask_tokens": True, "doc_maxlen": "absent"},
}


def own(folder):
    """What the library itself makes of the checkpoint."""
    return st.MultiVectorEncoder(str(folder), device="cpu")


def assert_equal(found, expected):
    """The vectors of each item are the library's, as many and in the same order."""
    assert found.counts.tolist() == [len(each) for each in expected]
    for ours, theirs in zip(found.arrays, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def assert_as_the_library(load, folder, reference):
    space = load(f"transformers/late/{folder}")
    documents, queries = space.encode_multi("text", TEXTS), space.encode_multi("text", TEXTS, role="query")
    theirs = reference.encode_document(TEXTS, normalize_embeddings=True)
    asked = reference.encode_query(TEXTS, normalize_embeddings=True)
    assert_equal(documents, [each.numpy() for each in theirs])
    assert_equal(queries, [each.numpy() for each in asked])
    scores = reference.similarity(asked, theirs)
    np.testing.assert_allclose(mmencode.similarity(queries, documents), scores, atol=1e-4)


@pytest.mark.filterwarnings("ignore:a text is longer")
@pytest.mark.parametrize("case", NATIVE)
def test_checkpoints_of_sentence_transformers_equal_the_library(case, load, tmp_path):
    assert_as_the_library(load, tmp_path / "st", tiny_late.save(tmp_path / "st", **NATIVE[case]))


@pytest.mark.filterwarnings("ignore:a text is longer")
@pytest.mark.parametrize("case", PYLATE)
def test_checkpoints_of_pylate_equal_the_library(case, load, tmp_path):
    tiny_late.pylate(tmp_path / "late", **PYLATE[case])
    assert_as_the_library(load, tmp_path / "late", own(tmp_path / "late"))


@pytest.mark.filterwarnings("ignore:a text is longer")
@pytest.mark.parametrize("case", COLBERT)
def test_checkpoints_of_colbert_equal_the_library(case, load, tmp_path):
    tiny_late.colbert(tmp_path / "late", **COLBERT[case])
    assert_as_the_library(load, tmp_path / "late", own(tmp_path / "late"))


def test_both_sides_have_one_network(tmp_path):
    tiny_late.colbert(tmp_path / "late")
    built = late.towers(str(tmp_path / "late"), ("text", "text:query"))
    document, query = built["text"], built["text:query"]
    assert document.model is query.model
    assert document.layers is query.layers
    assert document.preprocessing != query.preprocessing


def test_items_of_which_nothing_counts_are_named(load, tmp_path):
    kept = tiny_late.words().convert_tokens_to_ids(["Ġdog"])
    tiny_late.save(tmp_path / "st", mask={"keep_only_token_ids": kept})
    space = load(f"transformers/late/{tmp_path}/st")
    found = space.encode_multi("text", ["a dog", "thunder"], on_error="skip")
    assert found.positions.tolist() == [0]
    assert "none of its positions counts" in str(found.errors[0])


def test_what_counts_and_how_it_is_pooled_is_in_the_identity(load, tmp_path):
    for name, options in {
        "a": {},
        "b": {"mask": {"skiplist_words": ["a"]}},
        "c": {"behind": (HierarchicalTokenPooling(2),)},
        "d": {"behind": (HierarchicalTokenPooling(3),)},
        "e": {"prompts": {"document": "doc: "}},
        "f": {"document_length": 9},
    }.items():
        tiny_late.save(tmp_path / name, **options)
    ids = {load(f"transformers/late/{tmp_path}/{name}").id.rpartition("@")[2] for name in "abcdef"}
    assert len(ids) == 6
    shutil.copytree(tmp_path / "c", tmp_path / "moved")
    assert load(f"transformers/late/{tmp_path}/moved").id.rpartition("@")[2] in ids


@pytest.fixture
def saved(tmp_path):
    """A checkpoint of sentence-transformers to spoil."""
    tiny_late.save(tmp_path / "st", query_expansion=FILLED, behind=(HierarchicalTokenPooling(2),))
    return tmp_path / "st"


@pytest.fixture
def pylate(tmp_path):
    """A checkpoint of PyLate to spoil."""
    tiny_late.pylate(tmp_path / "pylate")
    return tmp_path / "pylate"


@pytest.fixture
def colbert(tmp_path):
    """A checkpoint of ColBERT to spoil."""
    tiny_late.colbert(tmp_path / "colbert")
    return tmp_path / "colbert"


def refused(folder):
    """The words of the error that a checkpoint raises."""
    with pytest.raises(WeightsError) as caught:
        encode_both(folder)
    return str(caught.value)


def encode_both(folder):
    with load_space(f"transformers/late/{folder}") as space:
        space.encode_multi("text", ["a dog"])
    late.towers(str(folder))


def rewrite(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def replace_kind(folder, place, kind):
    listed = json.loads((folder / "modules.json").read_text())
    listed[place]["type"] = kind
    (folder / "modules.json").write_text(json.dumps(listed))


def test_missing_files_are_named(saved, pylate, colbert):
    (saved / "1_Dense" / "model.safetensors").unlink()
    assert "1_Dense" in refused(saved)
    (pylate / "config_sentence_transformers.json").unlink()
    assert "config_sentence_transformers.json" in refused(pylate)
    (colbert / "artifact.metadata").unlink()
    assert "artifact.metadata" in refused(colbert)


def test_colbert_without_its_projection_is_refused(checkpoint, colbert):
    shutil.copy(checkpoint("bert") / "model.safetensors", colbert)
    assert "linear.weight" in refused(colbert)


def test_code_of_a_checkpoint_is_never_run(saved, pylate, colbert):
    (saved / "custom_st.py").write_text("raise RuntimeError('it ran')")
    replace_kind(saved, 1, "custom_st.Dense")
    assert "custom_st.Dense" in refused(saved)
    replace_kind(pylate, 1, "pylate.models.Dense.Evil")
    assert "pylate.models.Dense.Evil" in refused(pylate)
    rewrite(colbert / "config.json", auto_map={"AutoModel": "evil.Model"})
    assert "auto_map" in refused(colbert)


@pytest.mark.parametrize(
    ("file", "changes", "word"),
    [
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "fixed"}}, "no length"),
        ("sentence_bert_config.json", {"query_expansion": {"strategy": "most", "length": 3}}, "most"),
        ("sentence_bert_config.json", {"query_expansion": {**FILLED, "token": "[LOST]"}}, "[LOST]"),
        ("sentence_bert_config.json", {"query_expansion": {**FILLED, "length": 500}}, "500 tokens"),
        ("sentence_bert_config.json", {"document_length": -3}, "document_length"),
        ("sentence_bert_config.json", {"transformer_task": "text-generation"}, "text-generation"),
        ("2_MultiVectorMask/config.json", {"skiplist_words": "abc"}, "skiplist_words"),
        ("2_MultiVectorMask/config.json", {"keep_only_token_ids": ["a"]}, "keep_only_token_ids"),
        ("4_HierarchicalTokenPooling/config.json", {"pool_factor": 0}, "pool_factor"),
        ("1_Dense/config.json", {"activation_function": "os.system"}, "os.system"),
        ("1_Dense/config.json", {"in_features": 31}, "1_Dense"),
        ("config_sentence_transformers.json", {"model_type": "SparseEncoder"}, "SparseEncoder"),
        ("config_sentence_transformers.json", {"model_type": "SentenceTransformer"}, "transformers/sentence"),
    ],
)
def test_settings_that_make_no_sense_are_named(file, changes, word, saved):
    rewrite(saved / file, **changes)
    assert word in refused(saved)


def test_modules_that_are_not_computed_are_named(saved):
    replace_kind(saved, 3, "sentence_transformers.base.modules.router.Router")
    assert "has a Router" in refused(saved)
    listed = json.loads((saved / "modules.json").read_text())
    (saved / "modules.json").write_text(json.dumps([*listed[:2], listed[4], listed[2]]))
    assert "behind its token pooling" in refused(saved)


def test_other_checkpoints_are_refused_with_the_family_that_takes_them(checkpoint):
    words = refused(checkpoint("bert"))
    assert "is a bert" in words
    assert "transformers/text/" in words
    assert "transformers/sentence/" in refused(checkpoint("sentence"))


@pytest.mark.filterwarnings("ignore:a text is longer")
def test_an_instruction_takes_its_place_in_the_prompt_of_queries(load, tmp_path):
    prompts = {"query": "Instruct: find a page\nQuery: ", "document": ""}
    reference = tiny_late.save(tmp_path / "st", prompts=prompts)
    plain = load(f"transformers/late/{tmp_path}/st")
    space = load(f"transformers/late/{tmp_path}/st", instruction="find a car")
    asked = space.encode_multi("text", TEXTS, role="query")
    prompt = "Instruct: find a car\nQuery: "
    theirs = reference.encode_query(TEXTS, prompt=prompt, normalize_embeddings=True)
    assert_equal(asked, [each.numpy() for each in theirs])
    assert space.id == plain.id
    tiny_late.colbert(tmp_path / "colbert")
    with pytest.raises(InstructionError, match="no place for an instruction"):
        load(f"transformers/late/{tmp_path}/colbert", instruction="find a car").encode_multi(
            "text", ["a dog"], role="query"
        )


def test_as_one_vector_they_are_refused_with_this_family(saved):
    with (
        pytest.raises(WeightsError, match="transformers/late/"),
        load_space(f"transformers/sentence/{saved}") as space,
    ):
        space.encode("text", ["a dog"])
