"""A space under the evaluators of sentence-transformers, each of those that judge embeddings."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("mmencode_adapters", reason="mmencode-adapters: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests encode in the default space")
pytest.importorskip(
    "sentence_transformers",
    reason="it isn't installed: pip install 'mmencode-adapters[sentence-transformers]'",
)

import torch
from mmencode_adapters.sentence_transformers import EvaluatedSpace
from PIL import Image
from sentence_transformers.sentence_transformer import evaluation as theirs
from skimage import data

import mmencode

pytestmark = pytest.mark.hosts

PAIRS = [
    ("a cat sits on a mat", "a cat is sitting on a rug"),
    ("a man plays the guitar", "somebody is playing a guitar"),
    ("a rocket is launched", "a spacecraft lifts off"),
    ("a cup of hot coffee", "hot coffee in a mug"),
]
FIRST, SECOND = [list(side) for side in zip(*PAIRS, strict=True)]
SHIFTED = SECOND[1:] + SECOND[:1]
QUERIES = {f"q{place}": text for place, text in enumerate(FIRST)}
CORPUS = {f"d{place}": text for place, text in enumerate(SECOND)}
RELEVANT = {f"q{place}": {f"d{place}"} for place in range(len(PAIRS))}


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default") as loaded:
        yield loaded


@pytest.fixture
def model(space):
    return EvaluatedSpace(space)


def nano_beir(tmp_path, monkeypatch):
    """NanoBEIR's evaluator over a tiny set in place of one that it would fetch."""
    from sentence_transformers.sentence_transformer.evaluation import nano_beir as module

    def load(self, name, **options):
        return theirs.InformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT, name=name)

    monkeypatch.setattr(module.NanoBEIREvaluator, "_load_dataset", load)
    return theirs.NanoBEIREvaluator(["msmarco"])


def make(kind, model, tmp_path, monkeypatch):
    if kind == "NanoBEIR":
        return nano_beir(tmp_path, monkeypatch)
    if kind == "MSEFromDataFrame":
        rows = [{"en": one, "de": one} for one in FIRST]
        return theirs.MSEEvaluatorFromDataFrame(rows, model, [("en", "de")])
    return {
        "BinaryClassification": lambda: theirs.BinaryClassificationEvaluator(
            FIRST + FIRST, SECOND + SHIFTED, [1] * 4 + [0] * 4
        ),
        "EmbeddingSimilarity": lambda: theirs.EmbeddingSimilarityEvaluator(
            FIRST + FIRST, SECOND + SHIFTED, [1.0] * 4 + [0.0] * 4
        ),
        "InformationRetrieval": lambda: theirs.InformationRetrievalEvaluator(QUERIES, CORPUS, RELEVANT),
        "MSE": lambda: theirs.MSEEvaluator(FIRST, FIRST, teacher_model=model),
        "ParaphraseMining": lambda: theirs.ParaphraseMiningEvaluator(
            QUERIES | CORPUS, [(f"q{place}", f"d{place}") for place in range(4)]
        ),
        "Reranking": lambda: theirs.RerankingEvaluator(
            [
                {"query": one, "positive": [other], "negative": [text for text in SECOND if text != other]}
                for one, other in PAIRS
            ]
        ),
        "Sequential": lambda: theirs.SequentialEvaluator(
            [theirs.TripletEvaluator(FIRST, SECOND, SHIFTED), theirs.TranslationEvaluator(FIRST, SECOND)]
        ),
        "Translation": lambda: theirs.TranslationEvaluator(FIRST, SECOND),
        "Triplet": lambda: theirs.TripletEvaluator(FIRST, SECOND, SHIFTED),
    }[kind]()


# What a space that tells these pairs apart gets: the figure by which each evaluator chooses a model.
EXPECTED = {
    "BinaryClassification": 1.0,
    "EmbeddingSimilarity": 0.87,  # as high as a rank correlation with so many ties can be
    "InformationRetrieval": 1.0,
    "MSE": 0.0,
    "MSEFromDataFrame": 0.0,
    "NanoBEIR": 1.0,
    "ParaphraseMining": 1.0,
    "Reranking": 1.0,
    "Sequential": 1.0,
    "Translation": 1.0,
    "Triplet": 1.0,
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_an_evaluator_judges_the_space(kind, model, tmp_path, monkeypatch):
    evaluator = make(kind, model, tmp_path, monkeypatch)
    found = evaluator(model, output_path=str(tmp_path))
    assert found[evaluator.primary_metric] == pytest.approx(EXPECTED[kind], abs=0.01)
    assert all(isinstance(figure, float) for figure in found.values())
    json.dumps(model.metrics)


def test_every_evaluator_that_judges_embeddings_is_among_these():
    names = {name.removesuffix("Evaluator") for name in theirs.__all__ if name.endswith("Evaluator")}
    names |= {"MSEFromDataFrame"} if "MSEEvaluatorFromDataFrame" in theirs.__all__ else set()
    assert names - {"Sentence", "LabelAccuracy", "Base"} == set(EXPECTED)


def test_pictures_are_searched_by_words(space):
    pictures = {name: Image.fromarray(getattr(data, name)()) for name in ("chelsea", "coffee", "rocket")}
    queries = {"q0": "a kitten", "q1": "a hot drink", "q2": "space travel"}
    relevant = {"q0": {"chelsea"}, "q1": {"coffee"}, "q2": {"rocket"}}
    model = EvaluatedSpace(space, modality="image", query_modality="text")
    found = theirs.InformationRetrievalEvaluator(queries, pictures, relevant, name="pictures")(model)
    assert found["pictures_cosine_accuracy@1"] == 1


def test_vectors_are_those_of_the_space_in_the_form_that_is_asked_for(model, space):
    expected = space.encode("text", FIRST).vectors
    np.testing.assert_array_equal(model.encode(FIRST), expected)
    np.testing.assert_array_equal(model.encode(FIRST[0]), expected[0])
    assert torch.equal(model.encode(FIRST, convert_to_tensor=True), torch.tensor(expected))
    rows = model.encode(FIRST, convert_to_numpy=False)
    assert all(torch.equal(row, torch.tensor(one)) for row, one in zip(rows, expected, strict=True))
    assert model.similarity(expected, expected).shape == (4, 4)
    assert torch.allclose(model.similarity_pairwise(expected, expected), torch.ones(4))


def test_a_prompt_or_an_unknown_option_is_refused(model):
    with pytest.raises(ValueError, match="query: "):
        model.encode(FIRST, prompt="query: ")
    with pytest.raises(TypeError, match="precision"):
        model.encode(FIRST, precision="int8")
