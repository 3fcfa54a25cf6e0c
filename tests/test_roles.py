"""Queries and documents of one modality may have an encoder each, in one space that the documents define."""

from __future__ import annotations

import copy
import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

import mmencode
from mmencode import Embeddings, EncoderSpec, Index, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import (
    IdentityError,
    InstructionError,
    SpaceMismatchError,
    SpecError,
    UnknownModalityError,
)
from mmencode.testing import EncoderConformance, FakeText, fake_specs

TEXTS = ["a red car", "two dogs", "the old bridge"]
calls = []


class Asking(FakeText):
    """Texts with a prompt before them, through weights that both sides share."""

    def __init__(self, trunk, prompt):
        super().__init__()
        self.trunk, self.prompt = trunk, prompt
        self.preprocessing = f"characters, prompt {prompt!r}"

    def preprocess(self, item):
        return super().preprocess(self.prompt + item)

    def forward(self, tensors):
        return self.trunk(super().forward(tensors))


def trunk():
    linear = torch.nn.Linear(8, 8, bias=False)
    torch.nn.init.eye_(linear.weight)
    return linear


def sides(modalities, instruction=""):
    calls.append((modalities, instruction))
    shared, asked = trunk(), f"Instruct: {instruction or 'find it'}\nQuery: "
    prompts = {"text": "passage: ", "text:query": asked}
    return {key: Asking(shared, prompts[key]) for key in modalities}


def document():
    return Asking(trunk(), "passage: ")


def other_document():
    return Asking(trunk(), "document: ")


def query():
    return Asking(trunk(), "query: ")


def spec(role="", target="sides", shared=True, **changes):
    name = f"two/{role or 'document'}"
    asks = {"instructed": True} if role and shared else {}
    options = {"role": role, "shared": shared, "space": "two", "dim": 8, **asks, **changes}
    return EncoderSpec(name=name, modality="text", target=f"test_roles:{target}", **options)


def separate(**changes):
    return [spec(target="document", shared=False), spec("query", "query", False, **changes)]


@pytest.fixture
def space():
    calls.clear()
    with Space("two", [spec(), spec("query")], runtime=RUNTIME) as opened:
        yield opened


RUNTIME = Runtime("cpu", batch_size=2, workers=1)


def expected(prompt):
    with Space("plain", [spec(target="document", shared=False)], runtime=RUNTIME) as plain:
        plain.tower("text").encoder.prompt = prompt
        return plain.encode("text", TEXTS).vectors


def test_each_side_has_its_own_prompt_in_one_space(space):
    documents, queries = space.encode("text", TEXTS), space.encode("text", TEXTS, role="query")
    np.testing.assert_array_equal(documents.vectors, expected("passage: "))
    np.testing.assert_array_equal(queries.vectors, expected("Instruct: find it\nQuery: "))
    assert documents.modality == queries.modality == "text"
    assert documents.space == queries.space == space.id
    assert mmencode.similarity(queries, documents).shape == (3, 3)
    assert list(documents.towers) == ["text"]
    assert list(queries.towers) == ["text:query"]
    assert documents.towers["text"] != queries.towers["text:query"]


def test_both_sides_are_built_in_one_call_and_share_their_weights(space):
    space.encode("text", TEXTS)
    assert calls == [(("text", "text:query"), "")]
    one, other = (space.tower(key).encoder.trunk for key in ("text", "text:query"))
    assert one is other


@pytest.mark.parametrize("verb", ["stream", "encode_mixed", "features", "encode_tokens"])
def test_every_verb_takes_a_role(space, verb):
    direct = {role: space.encode("text", TEXTS, role=role).vectors for role in ("query", "document")}
    for role, vectors in direct.items():
        match verb:
            case "stream":
                found = np.concatenate([part.vectors for part in space.stream("text", TEXTS, role=role)])
            case "encode_mixed":
                mixed = space.encode_mixed([("text", text) for text in TEXTS], role=role)
                assert list(mixed.towers) == [space.key("text", role)]
                found = mixed.vectors
            case "features":
                (part,) = space.features("text", TEXTS, role=role)
                found = part.rows / np.linalg.norm(part.rows, axis=1, keepdims=True)
            case _:
                tokens = space.encode_tokens("text", TEXTS, role=role)
                prompt = space.tower(space.key("text", role)).encoder.prompt
                assert [len(row) for row in tokens] == [len(prompt) + len(text) for text in TEXTS]
                assert (tokens.modality, tokens.encoder) == ("text", f"two/{role}")
                continue
        np.testing.assert_allclose(found, vectors, atol=1e-6)


def test_a_role_that_a_modality_lacks_is_its_only_side():
    with Space("fake", fake_specs(), runtime=RUNTIME) as space:
        plain = space.encode("text", TEXTS)
        for role in ("query", "document"):
            np.testing.assert_array_equal(space.encode("text", TEXTS, role=role).vectors, plain.vectors)
        with pytest.raises(ValueError, match=r"role is 'qurey': make it \"query\" or \"document\""):
            space.encode("text", TEXTS, role="qurey")
        with pytest.raises(UnknownModalityError, match="'video'"):
            space.encode("video", TEXTS, role="query")


def test_a_modality_that_only_queries_have_needs_no_role(tmp_path):
    fused = EncoderSpec(
        name="two/fused", modality="note", role="query", target="test_roles:query", space="two", dim=8
    )
    with Space("two", [*separate()[:1], fused], runtime=RUNTIME) as space:
        assert list(space.encode("note", TEXTS).towers) == ["note:query"]
        assert space.modalities == ("text", "note")
        assert space.keys == ("text", "note:query")
        with pytest.raises(UnknownModalityError, match="'note'"):
            space.encode("note", TEXTS, role="document")
        with Index.create(tmp_path / "index", space) as index:
            with pytest.raises(SpaceMismatchError, match=r"made for queries, 'note:query'"):
                index.add("note", TEXTS)
            index.add("text", TEXTS)
            assert index.search("note", TEXTS[:1], 1)[0][0].modality == "text"


def test_the_word_query_as_a_modality_is_answered_with_the_role(space):
    with pytest.raises(UnknownModalityError, match=r'encode\("text", batch, role="query"\)'):
        space.encode("query", TEXTS)


def test_the_queries_side_is_on_the_card_and_not_in_the_id(space):
    ids = set()
    for side in (spec("query"), spec("query", instruction="find duplicates"), None):
        with Space("two", [spec(), *([side] if side else [])], runtime=RUNTIME) as other:
            assert [tower.key for tower in other.card.frame] == ["text"]
            assert [tower.key for tower in other.card.askers] == (["text:query"] if side else [])
            ids.add(other.id)
    assert ids == {space.id}
    with Space("two", [spec(target="other_document", shared=False), separate()[1]], runtime=RUNTIME) as other:
        assert other.id != space.id
    said = str(space.card)
    assert "  text:query: two/query, of queries\n" in said
    assert "find it" in said


def test_an_instruction_goes_to_queries_alone_and_changes_their_tower(space):
    with Space("two", [spec(), spec("query", instruction="find cars")], runtime=RUNTIME) as asked:
        found = asked.encode("text", TEXTS, role="query")
        np.testing.assert_array_equal(found.vectors, expected("Instruct: find cars\nQuery: "))
        assert calls == [(("text", "text:query"), "find cars")]
        assert found.towers != space.encode("text", TEXTS, role="query").towers
        assert asked.encode("text", TEXTS).towers == space.encode("text", TEXTS).towers
        assert asked.card.tower("text:query").instruction == "find cars"
        assert "    instruction   find cars\n" in str(asked.card)


@pytest.fixture
def installed(install):
    install(two=(spec(), spec("query")))


def test_load_takes_an_instruction_and_a_saved_space_keeps_it(installed, tmp_path):
    with mmencode.load("two", device="cpu", instruction="find cars") as asked:
        queries = asked.encode("text", TEXTS, role="query")
        asked.save(tmp_path / "saved")
        sent = pickle.loads(pickle.dumps(asked))
        same = sent.encode("text", TEXTS, role="query")
        assert copy.copy(asked).id == sent.id == asked.id
        assert same.towers == queries.towers
        np.testing.assert_array_equal(same.vectors, queries.vectors)
    with mmencode.load(tmp_path / "saved", device="cpu") as again:
        assert again.card.tower("text:query").instruction == "find cars"
        assert again.encode("text", TEXTS, role="query").towers == queries.towers
        assert set(again.verify().angles) == {"text", "text:query"}
        assert again.verify().same
        arrived = pickle.loads(pickle.dumps(again))
        assert arrived.encode("text", TEXTS, role="query").towers == queries.towers
    with mmencode.load(tmp_path / "saved", device="cpu", instruction="find dogs") as other:
        assert other.id == asked.id
        assert other.encode("text", TEXTS, role="query").towers != queries.towers
        verified = other.verify()
        assert (set(verified.angles), verified.skipped) == ({"text"}, ("text:query",))


def test_a_side_that_is_not_what_was_saved_is_refused(installed, tmp_path, monkeypatch):
    for instruction in ("", "find cars"):
        folder = tmp_path / f"saved {instruction}"
        with mmencode.load("two", device="cpu", instruction=instruction) as asked:
            asked.save(folder)
        with monkeypatch.context() as patched:
            patched.setattr(Asking, "pooling", "max")
            with mmencode.load(folder, device="cpu") as again, pytest.raises(IdentityError):
                again.encode("text", TEXTS, role="query")
        with mmencode.load(folder, device="cpu") as again:
            again.tower("text")  # built with the queries' side
            content = json.loads((folder / "card.json").read_text())
            assert list(content["queries"]) == ["text:query"]
            assert list(content["towers"]) == ["text"]


@pytest.mark.parametrize(
    ("instruction", "error", "said"),
    [
        ("find", InstructionError, "no encoder of space 'plain' takes an instruction"),
        (" ", ValueError, "make it words"),
        ("\ud800", ValueError, "make it words"),
        ("x" * 5000, ValueError, "at most 4096"),
        (3, TypeError, "make it a str"),
    ],
)
def test_an_instruction_that_cannot_be_given_is_refused_at_once(install, instruction, error, said):
    install(two=(replace(spec(target="document", shared=False), space="plain"),))
    with pytest.raises(error, match=said):
        mmencode.load("plain", device="cpu", instruction=instruction)


def test_modalities_name_a_modality_with_both_sides_or_a_side_alone(installed):
    for asked, keys in ((("text",), ("text", "text:query")), (("text:query",), ("text:query",))):
        with mmencode.load("two", device="cpu", modalities=asked) as space:
            assert space.keys == keys
            assert space.modalities == ("text",)
            space.encode("text", TEXTS, role="query")
    with (
        mmencode.load("two", device="cpu", modalities=("text:query",)) as space,
        pytest.raises(UnknownModalityError, match="loaded without 'text', for text:query only"),
    ):
        space.encode("text", TEXTS)


def test_an_index_outlives_another_instruction_and_stores_no_queries(installed, tmp_path):
    pytest.importorskip("lancedb")
    with mmencode.load("two", device="cpu") as space, Index.create(tmp_path / "index", space) as index:
        index.add("text", TEXTS)
        queries = space.encode("text", TEXTS, role="query")
        with pytest.raises(SpaceMismatchError, match=r"space.encode\('text', batch\)"):
            index.add_embeddings(queries.with_keys(["a", "b", "c"]))
        documents = space.encode("text", TEXTS).with_keys([*"def"])
        mixed = Embeddings.concatenate([queries.with_keys([*"abc"]), documents])
        with pytest.raises(SpaceMismatchError, match="made for queries"):
            index.add_embeddings(mixed)
        with pytest.raises(SpaceMismatchError, match="made for queries"):
            index.add("text:query", TEXTS)
        best = index.search("text", TEXTS, 3)
        assert best == index.search_embeddings(queries, 3)
        assert best != index.search_embeddings(space.encode("text", TEXTS), 3)
        stored = index.rows().embeddings
        assert list(stored.towers) == ["text"]
        assert len(index) == 3
    for instruction in ("find cars", ""):
        with Index.open(tmp_path / "index", device="cpu", instruction=instruction) as index:
            asked = index.space.encode("text", TEXTS, role="query")
            assert index.search("text", TEXTS, 3) == index.search_embeddings(asked, 3)
            assert index.add("text", TEXTS).unchanged == 3
    with (
        mmencode.load("two", device="cpu", instruction="find dogs") as other,
        Index.open(tmp_path / "index", space=other) as index,
    ):
        assert index.search("text", TEXTS, 3)


def test_labels_are_the_queries_of_a_classifier_and_items_the_documents(space):
    classifier = space.classifier(["car", "dog"])
    expected = space.encode("text", ["car", "dog"], role="query").vectors
    np.testing.assert_array_equal(classifier.label_embeddings("text").vectors, expected)
    found = classifier.classify("text", TEXTS)
    ranked = classifier.rank(space.encode("text", TEXTS))
    np.testing.assert_array_equal(found.scores, ranked.scores)


def test_sides_are_composed_and_refused_like_modalities(install):
    document, asking = separate()
    with pytest.raises(SpaceMismatchError, match="don't lead into one space"):
        mmencode.compose("two", {"text": document, "text:query": asking}, runtime=RUNTIME)
    install(two=(document, asking))
    composed = mmencode.compose("two", {"text": document, "text:query": asking}, runtime=RUNTIME)
    with Space("two", separate(), runtime=RUNTIME) as space, composed:
        assert composed.card.frame == space.card.frame
        again = mmencode.compose("more", {"text": space, "text:query": space}, runtime=RUNTIME)
        queries = [each.encode("text", TEXTS, role="query").vectors for each in (again, space)]
        np.testing.assert_array_equal(*queries)
    with pytest.raises(SpecError, match="is for text:query, not for text"):
        mmencode.compose("two", {"text": "two/query"})
    with pytest.raises(SpecError, match=r"EncoderSpec\.role is 'document'"):
        spec("document", "query", False)
    with pytest.raises(SpecError, match=r"EncoderSpec\.instructed is True"):
        spec(instructed=True)
    family = replace(asking, target="test_roles:wide", dim=None, name="two/*", space="two/*")
    with Space("two", [document, family.member("wide")], runtime=RUNTIME) as space:
        space.encode("text", TEXTS)
        with pytest.raises(SpaceMismatchError, match="16 numbers"):
            space.encode("text", TEXTS, role="query")


def wide(variant):
    """An encoder of queries of another width than the documents'."""
    encoder = query()
    encoder.trunk, encoder.width = torch.nn.Linear(8, 16), 16
    return encoder


def test_one_distribution_declares_each_side_once(make_registry):
    document, asking = separate()
    found = make_registry(two=(document, asking)).space("two")
    assert [each.key for each in found] == ["text", "text:query"]
    with Space("two", [asking], runtime=RUNTIME) as alone:  # a space of its own: nothing else defines it
        assert alone.encode("text", TEXTS).vectors.shape == (3, 8)
        with Space("two", separate(), runtime=RUNTIME) as both:
            assert alone.id != both.id


class TestDocumentSide(EncoderConformance):
    """The side of the documents keeps the contract."""

    spec = spec()


class TestQuerySide(EncoderConformance):
    """The side of the queries does."""

    spec = spec("query", instruction="find cars")
