"""The EmbeddingFunction in Chroma: judged by its own test, opened again, and refused for another space."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mmencode_adapters", reason="mmencode-adapters: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests encode in the default space")
pytest.importorskip("chromadb", reason="chromadb: .ci/run hosts installs it")
import chromadb
from adapting import run_anew, save_twin
from chromadb.utils.embedding_functions import (
    config_to_embedding_function,
    known_embedding_functions,
)
from mmencode_adapters.chroma import SpaceFunction, open_collection
from skimage import data

import mmencode
from mmencode.errors import InputError, SpaceMismatchError, TrustError

pytestmark = [
    pytest.mark.hosts,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]

TEXTS = ["a cat", "a cup of coffee", "a rocket launch"]


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default") as loaded:
        yield loaded


@pytest.fixture(scope="module")
def twin(tmp_path_factory):
    with mmencode.load(save_twin(tmp_path_factory.mktemp("twin") / "space")) as loaded:
        yield loaded


@pytest.fixture
def client(tmp_path):
    return chromadb.PersistentClient(str(tmp_path / "chroma"))


@pytest.fixture
def collection(client):
    made = client.create_collection("photos", embedding_function=SpaceFunction())
    made.add(ids=["cat", "coffee", "rocket"], documents=TEXTS)
    return made


def vectors_of(collection, *ids):
    return collection.get(ids=list(ids), include=["embeddings"])["embeddings"]


def test_documents_and_queries_have_the_vectors_of_the_space(collection, space):
    expected = space.encode("text", TEXTS).vectors
    np.testing.assert_allclose(vectors_of(collection, "cat", "coffee", "rocket"), expected, atol=1e-6)
    found = collection.query(query_texts=["space travel"], n_results=1)
    assert found["ids"] == [["rocket"]]
    nearest = 1 - (space.encode("text", ["space travel"]).vectors @ expected.T).max()
    assert found["distances"][0][0] == pytest.approx(nearest, abs=1e-5)


def test_pictures_are_found_by_words_and_by_pictures(client):
    pictures = client.create_collection("pictures", embedding_function=SpaceFunction())
    images = [data.chelsea(), data.coffee(), data.rocket()]
    pictures.add(ids=["chelsea", "coffee", "rocket"], images=images)
    found = pictures.query(query_texts=["a kitten", "a hot drink"], n_results=1)
    assert found["ids"] == [["chelsea"], ["coffee"]]
    assert pictures.query(query_images=[images[2].astype(np.int64)], n_results=1)["ids"] == [["rocket"]]


@pytest.mark.filterwarnings("default:.*:UserWarning")  # its texts are longer than the encoder takes
def test_chromas_own_test_of_texts_and_pictures_passes(client):
    from chromadb.test.ef.test_multimodal_ef import test_multimodal

    function = SpaceFunction()
    test_multimodal(client.create_collection("theirs", embedding_function=function), function)


def test_it_is_registered_and_made_again_of_its_config(space):
    function = SpaceFunction(space)
    assert known_embedding_functions["mmencode"] is SpaceFunction
    again = config_to_embedding_function({"name": function.name(), "config": function.get_config()})
    assert again.get_config() == function.get_config()
    assert not function.is_legacy()
    np.testing.assert_array_equal(again(["a cat"]), function(["a cat"]))


def test_a_collection_is_opened_again_in_a_new_process(collection, tmp_path):
    lines = """
import sys, chromadb
from mmencode_adapters.chroma import SpaceFunction, open_collection
client = chromadb.PersistentClient(sys.argv[1])
collection = open_collection(client, "photos")
collection.add(ids=["espresso"], documents=["an espresso"])
print(client.get_collection("photos", embedding_function=SpaceFunction("default")).count())
print(client.get_collection("photos").query(query_texts=["espresso"], n_results=1)["ids"][0][0])
"""
    assert run_anew(lines, tmp_path / "chroma").split() == ["4", "espresso"]


def test_another_space_of_equal_width_is_refused_by_chroma_itself(collection, client, twin):
    assert twin.dim == 384
    for opened in (client.get_collection, client.get_or_create_collection):
        with pytest.raises(ValueError, match="conflict"):
            opened("photos", embedding_function=SpaceFunction(twin))
    assert collection.count() == 3


def test_the_space_that_took_the_place_of_a_collections_own_is_refused(client, tmp_path, space):
    folder = tmp_path / "space"
    space.save(folder)
    made = client.create_collection("photos", embedding_function=SpaceFunction(folder))
    made.add(ids=["cat"], documents=["a cat"])
    folder.rename(tmp_path / "old")
    save_twin(folder)
    lines = """
import sys, chromadb
from mmencode.errors import SpaceMismatchError
from mmencode_adapters.chroma import SpaceFunction, open_collection
client = chromadb.PersistentClient(sys.argv[1])
try:
    open_collection(client, "photos")
except SpaceMismatchError as error:
    print(error.fact)
try:
    client.get_collection("photos", embedding_function=SpaceFunction(sys.argv[2]))
except ValueError as error:
    print(error)
"""
    first, second = run_anew(lines, tmp_path / "chroma", folder).splitlines()
    assert "twin@" in first
    assert space.id.rpartition("@")[2] in first
    assert "conflict" in second


def test_vectors_of_other_modalities_are_accepted_of_the_same_space_only(collection, space, twin):
    function = SpaceFunction(space)
    tone = (np.sin(np.arange(16000) / 8).astype(np.float32), 16000)
    collection.add(ids=["tone"], embeddings=function.accept(space.encode("audio", [tone])))
    assert collection.count() == 4
    with pytest.raises(SpaceMismatchError, match="twin@"):
        function.accept(twin.encode("text", ["a cat"]))


def test_an_item_that_cannot_be_read_is_named_and_nothing_is_added(collection):
    with pytest.raises(InputError) as caught:
        collection.add(ids=["dog", "blank"], documents=["a dog", " "])
    assert caught.value.index == 1
    assert collection.count() == 3


def test_a_collection_of_another_function_is_not_opened_as_one_of_mmencode(client):
    client.create_collection("theirs")
    with pytest.raises(ValueError, match="theirs"):
        open_collection(client, "theirs")


def test_a_collection_that_names_a_checkpoint_to_be_fetched_is_not_obeyed():
    config = {"space": "openclip/ViT-B-32/laion2b_s34b_b79k", "fingerprint": "0" * 16}
    with pytest.raises(TrustError, match="ViT-B-32"):
        SpaceFunction.build_from_config(config)(["a cat"])


@pytest.mark.parametrize("config", [{}, {"space": "default"}, {"space": "default", "fingerprint": 3}])
def test_a_config_that_is_not_whole_is_refused(config):
    with pytest.raises(ValueError, match="fingerprint"):
        SpaceFunction.build_from_config(config)
