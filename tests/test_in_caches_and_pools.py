"""Spaces, classifiers and indexes in what pickles and hashes them: pools, joblib's cache, datasets' cache."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest

import mmencode
from mmencode import Index

pytest.importorskip("mmencode_offline", reason="the default space is installed in every process")
pytestmark = pytest.mark.hosts
TEXTS = ["a dog", "a cat", "a red car"]


@pytest.fixture
def default():
    with mmencode.load("default", device="cpu", dtype="float32", workers=1, modalities=("text",)) as space:
        yield space


def encode(space, texts):
    return space.encode("text", texts)


def classify(classifier, texts):
    return classifier.classify("text", texts).best


def look_up(index, texts):
    return [hits[0].key for hits in index.search("text", texts, k=1)]


@pytest.mark.slow
def test_process_pool_takes_spaces_classifiers_and_indexes(default, tmp_path):
    pytest.importorskip("lancedb")
    classifier = default.classifier(["dog", "car"])
    with Index.create(tmp_path / "index", default) as index:
        index.add("text", TEXTS)
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            vectors = pool.submit(encode, default, TEXTS)
            best = pool.submit(classify, classifier, TEXTS[::2])
            keys = pool.submit(look_up, index, TEXTS[1:])
            np.testing.assert_allclose(vectors.result(300), default.encode("text", TEXTS), atol=1e-5)
            assert vectors.result(300).space == default.id
            assert best.result(300) == ["dog", "car"]
            assert keys.result(300) == TEXTS[1:]


def test_memory_of_joblib_knows_a_space_by_its_identity(default, tmp_path):
    joblib = pytest.importorskip("joblib")
    calls = []

    def count(space, texts):
        calls.append(texts)
        return space.encode("text", texts)

    cached = joblib.Memory(tmp_path, verbose=0).cache(count)
    first = cached(default, TEXTS)
    default.encode("text", ["something else"])  # what is loaded meanwhile doesn't count
    again = mmencode.load("default", device="cpu", dtype="float32", workers=1, modalities=("text",))
    found = cached(again, TEXTS)
    assert len(calls) == 1
    np.testing.assert_array_equal(found, first)
    assert (found.space, found.positions.tolist()) == (first.space, [0, 1, 2])
    cached(mmencode.load("default", device="cpu", dtype="float32", fast=True, modalities=("text",)), TEXTS)
    assert len(calls) == 2


def test_hash_of_classifiers_and_indexes_is_that_of_what_they_are(default, tmp_path):
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("lancedb")
    same, other = (default.classifier(names) for names in (["dog", "cat"], ["dog", "car"]))
    assert joblib.hash(same) == joblib.hash(default.classifier(["dog", "cat"])) != joblib.hash(other)
    with Index.create(tmp_path / "index", default) as index, Index.open(index.path, space=default) as again:
        assert joblib.hash(index) == joblib.hash(again)


def test_cache_of_datasets_knows_a_space_by_its_identity(default, tmp_path):
    datasets = pytest.importorskip("datasets", reason="datasets: .ci/run hosts installs it")
    fingerprint = pytest.importorskip("datasets.fingerprint", reason="datasets: .ci/run hosts installs it")
    again = mmencode.load("default", device="cpu", dtype="float32", workers=1, modalities=("text",))
    hashes = [fingerprint.Hasher.hash(space) for space in (default, again)]
    default.encode("text", TEXTS)
    assert {*hashes, fingerprint.Hasher.hash(default)} == {hashes[0]}
    data = datasets.Dataset.from_dict({"text": TEXTS})

    def add_vectors(batch, space):
        return {"vector": list(space.encode("text", batch["text"], on_error="blank"))}

    mapped = [
        data.map(add_vectors, batched=True, fn_kwargs={"space": space}, load_from_cache_file=True)
        for space in (default, again)
    ]
    assert mapped[0]._fingerprint == mapped[1]._fingerprint
    np.testing.assert_allclose(
        mapped[0].with_format("numpy")["vector"], default.encode("text", TEXTS), atol=1e-6
    )


@pytest.mark.parametrize("again", [copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_options_of_a_space_go_with_it(again):
    with mmencode.load("default", device="cpu", batch_size=7, fast=True, modalities=("text",)) as space:
        found = again(space)
        assert (found.id, repr(found.runtime), found.fast) == (space.id, repr(space.runtime), True)
        assert found.modalities == ("text",)
