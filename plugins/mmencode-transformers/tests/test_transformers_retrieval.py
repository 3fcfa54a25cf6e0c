"""Queries and documents of sentence-transformers checkpoints, each with its prompt, in one space."""

from __future__ import annotations

import numpy as np
import pytest
import tiny

import mmencode
from mmencode.errors import InputError, InstructionError, UnknownModalityError

pytest.importorskip("sentence_transformers", reason="the reference: pip install sentence-transformers")
from test_transformers_sentence import rewrite, save

pytestmark = pytest.mark.filterwarnings("ignore:a text is longer")  # which the library leaves out, too

INSTRUCT = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:"
GEMMA = "task: search result | query: "
E5 = {"query": "query: ", "document": "passage: "}


def assert_equal(found, expected):
    np.testing.assert_allclose(found.vectors, expected, atol=1e-5)


@pytest.mark.parametrize(
    "prompts",
    [
        E5,
        {"query": INSTRUCT},
        {"query": "query: ", "passage": "passage: "},
        {"document": "title: none | text: "},
        {"topic": "the topic of "},
        {},
    ],
    ids=["both", "query", "passage", "document", "neither", "none"],
)
@pytest.mark.parametrize("default", [False, True], ids=["", "default"])
def test_each_side_equals_the_library(prompts, default, checkpoint, load, tmp_path):
    options = {"default_prompt_name": next(iter(prompts))} if default and prompts else {}
    reference = save(tmp_path / "st", checkpoint("bert"), prompts=prompts, **options)
    space = load(f"transformers/retrieval/{tmp_path}/st")
    documents, queries = (space.encode("text", tiny.TEXTS, role=role) for role in ("document", "query"))
    named = (
        {"prompt_name": "passage"} if "passage" in prompts else {}
    )  # the library's own code never gets to it
    assert_equal(documents, reference.encode_document(tiny.TEXTS, normalize_embeddings=True, **named))
    assert_equal(queries, reference.encode_query(tiny.TEXTS, normalize_embeddings=True))
    assert mmencode.similarity(queries, documents).shape == (5, 5)


@pytest.mark.parametrize("include", [True, False], ids=["pooled", "excluded"])
def test_prompts_that_are_not_pooled_are_left_out_on_each_side(include, checkpoint, load, tmp_path):
    reference = save(tmp_path / "st", checkpoint("bert"), include=include, prompts=E5)
    space = load(f"transformers/retrieval/{tmp_path}/st")
    found = space.encode("text", tiny.TEXTS, role="query")
    assert_equal(found, reference.encode_query(tiny.TEXTS, normalize_embeddings=True))


def test_both_sides_hold_the_model_once_and_items_are_read_as_texts(checkpoint, load, tmp_path):
    save(tmp_path / "st", checkpoint("bert"), prompts=E5)
    space = load(f"transformers/retrieval/{tmp_path}/st")
    assert space.tower("text").encoder.model is space.tower("text:query").encoder.model
    with pytest.raises(InputError, match="blank"):
        space.encode("text", ["a dog", " "], role="query")
    with pytest.raises(UnknownModalityError, match=r'encode\("text", batch, role="query"\)'):
        space.encode("query", ["a dog"])


@pytest.mark.parametrize(
    ("prompt", "filled"),
    [
        (INSTRUCT, "Instruct: find duplicates\nQuery:"),
        (INSTRUCT + " ", "Instruct: find duplicates\nQuery: "),
        (GEMMA, "task: find duplicates | query: "),
    ],
    ids=["qwen", "e5", "gemma"],
)
def test_an_instruction_takes_its_place_in_the_prompt(prompt, filled, checkpoint, load, tmp_path):
    reference = save(tmp_path / "st", checkpoint("bert"), prompts={"query": prompt, "document": "text: "})
    name = f"transformers/retrieval/{tmp_path}/st"
    plain, asked = load(name), load(name, instruction="find duplicates")
    queries = asked.encode("text", tiny.TEXTS, role="query")
    assert_equal(queries, reference.encode(tiny.TEXTS, prompt=filled, normalize_embeddings=True))
    documents = asked.encode("text", tiny.TEXTS)
    assert_equal(documents, reference.encode_document(tiny.TEXTS, normalize_embeddings=True))
    assert asked.id == plain.id
    assert documents.towers == plain.encode("text", tiny.TEXTS).towers
    assert queries.towers != plain.encode("text", tiny.TEXTS, role="query").towers


def test_another_prompt_of_documents_is_another_space_and_of_queries_the_same(checkpoint, load, tmp_path):
    ids = {}
    for name, prompts in {
        "one": E5,
        "query": {**E5, "query": "search: "},
        "document": {**E5, "document": "text: "},
    }.items():
        save(tmp_path / name, checkpoint("bert"), prompts=prompts)
        ids[name] = load(f"transformers/retrieval/{tmp_path}/{name}").id.rpartition("@")[2]
    assert ids["one"] == ids["query"] != ids["document"]


@pytest.mark.parametrize("prompts", [E5, {}], ids=["without a place", "none"])
def test_a_prompt_without_a_place_refuses_an_instruction(prompts, checkpoint, load, tmp_path):
    save(tmp_path / "st", checkpoint("bert"), prompts=prompts)
    with pytest.raises(InstructionError, match="has no place for an instruction") as caught:
        load(f"transformers/retrieval/{tmp_path}/st", instruction="find").encode(
            "text", ["a dog"], role="query"
        )
    assert "leave the instruction out" in str(caught.value)


def test_widths_are_those_that_a_checkpoint_declares(checkpoint, load, tmp_path):
    reference = save(tmp_path / "st", checkpoint("bert"), prompts=E5)
    rewrite(
        tmp_path / "st" / "config_sentence_transformers.json", truncate_dim=24, matryoshka_dims=[16, 8, "x"]
    )
    rewrite(tmp_path / "st" / "config.json", matryoshka_dimensions=[4, 8, 32, 64])
    space = load(f"transformers/retrieval/{tmp_path}/st")
    for role in ("query", "document"):
        found = space.encode("text", tiny.TEXTS, role=role)
        assert found.widths == (4, 8, 16, 24)
        encode = reference.encode_query if role == "query" else reference.encode_document
        cut = encode(tiny.TEXTS, truncate_dim=8, normalize_embeddings=True)
        assert_equal(found.truncate(8), cut)
    assert load(f"transformers/sentence/{tmp_path}/st").encode("text", ["a dog"]).widths == (4, 8, 16, 24)
