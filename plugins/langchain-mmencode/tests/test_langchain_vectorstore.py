"""LangChain's vector store on an index, judged by LangChain's own suite, and by what it doesn't ask."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("langchain_core", reason="langchain-core: .ci/run hosts installs it")
pytest.importorskip("langchain_tests", reason="langchain-tests: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the suite runs on the default space")

from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import VectorStore
from langchain_mmencode import MmencodeEmbeddings, MmencodeVectorStore
from langchain_mmencode.vectorstores import _RESERVED
from langchain_tests.integration_tests.vectorstores import VectorStoreIntegrationTests

import mmencode
from mmencode.errors import InputError, SpaceMismatchError
from mmencode.index.columns import RESERVED
from mmencode.testing import fake_specs

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default", device="cpu") as loaded:
        yield loaded


@pytest.fixture
def store(space, tmp_path):
    with mmencode.Index.create(tmp_path / "index", space) as index:
        yield MmencodeVectorStore(index)


class TestStandard(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, store) -> VectorStore:
        return store


def save_picture(path, colour):
    Image.fromarray(np.full((40, 60, 3), colour, np.uint8)).save(path)
    return str(path)


def test_metadata_comes_back_as_it_was_and_filters(store):
    metadata = {
        "year": 2020,
        "tags": ["a", "b"],
        "of": {"page": None},
        "key": "reserved",
        "ok": True,
        "é": 1.5,
    }
    store.add_texts(["rain", "snow"], [metadata, {"year": 2021}], ids=["1", "2"])
    assert store.get_by_ids(["1"]) == [Document(id="1", page_content="rain", metadata=metadata)]
    assert [one.id for one in store.similarity_search("rain", filter={"year": 2021})] == ["2"]
    assert [one.id for one in store.similarity_search("rain", filter={"year": [2020], "ok": True})] == ["1"]
    assert [one.id for one in store.similarity_search("rain", filter="year > 2020")] == ["2"]
    with pytest.raises(TypeError, match="mapping"):
        store.similarity_search("rain", filter=lambda document: True)


def test_metadata_alone_can_be_changed(store):
    store.add_texts(["rain"], [{"year": 2020, "old": True}], ids=["1"])
    store.add_texts(["rain"], [{"year": 2021}], ids=["1"])
    assert store.get_by_ids(["1"])[0].metadata == {"year": 2021}
    assert store.similarity_search("rain", filter={"old": True}) == []


@pytest.mark.parametrize("metadata", [{"a": (1, 2)}, {1: "a"}, {"a": float("nan")}, {"a": object()}])
def test_metadata_that_would_change_is_refused_before_anything_is_written(metadata, store):
    with pytest.raises(ValueError, match="metadata of document 1 would come back as another"):
        store.add_texts(["rain", "snow"], [{}, metadata])
    assert len(store.index) == 0


def test_texts_and_images_are_found_together(store, tmp_path):
    red, green = (
        save_picture(tmp_path / "red.png", (255, 0, 0)),
        save_picture(tmp_path / "g.png", (0, 255, 0)),
    )
    store.add_texts(["a red square"], ids=["text"])
    store.add_items("image", [red, green], [{"n": 1}, {"n": 2}], ids=["red", "green"])
    (found,) = store.similarity_search_by_image(red, k=1)
    assert found == Document(id="red", page_content=red, metadata={"n": 1, "modality": "image"})
    assert {one.id for one in store.similarity_search("red", k=3)} == {"text", "red", "green"}
    assert {one.id for one in store.similarity_search("red", k=3, among="image")} == {"red", "green"}


def test_rows_that_mmencode_added_are_documents(store):
    store.index.add("text", ["rain"], metadata=[{"year": 2020}])
    assert store.similarity_search("rain") == [
        Document(id="rain", page_content="rain", metadata={"year": 2020})
    ]


def test_an_item_that_fails_is_named(store, tmp_path):
    with pytest.raises(InputError, match=r"missing\.png"):
        store.add_items("image", [tmp_path / "missing.png"])
    assert len(store.index) == 0


def test_other_numbers_of_ids_are_refused(store):
    with pytest.raises(ValueError, match="2 items and 1 ids"):
        store.add_texts(["rain", "snow"], ids=["1"])


def test_a_bare_vector_is_refused_and_one_that_knows_its_space_is_searched_by(store, space):
    store.add_texts(["rain", "snow"], ids=["1", "2"])
    with pytest.raises(SpaceMismatchError, match="doesn't say what space"):
        store.similarity_search_by_vector(store.embeddings.embed_query("rain"))
    row = np.eye(1, space.dim, dtype=np.float32)
    other = mmencode.Embeddings(row, space="other@0123456789abcdef", modality="text")
    with pytest.raises(SpaceMismatchError, match="other@0123456789abcdef"):
        store.similarity_search_by_vector(other)
    (found,) = store.similarity_search_by_vector(space.encode("text", ["rain"]), k=1)
    assert found.id == "1"


def test_scores_are_cosines_and_relevance_is_from_0_to_1(store):
    store.add_texts(["rain"], ids=["1"])
    ((_, score),) = store.similarity_search_with_score("rain")
    ((_, relevance),) = store.similarity_search_with_relevance_scores("rain")
    assert score == pytest.approx(1, abs=1e-5)
    assert relevance == pytest.approx((score + 1) / 2)


def test_marginal_relevance_leaves_out_what_is_said_twice(store):
    store.add_texts(["heavy rain", "heavy rain!", "a violin"], ids=["1", "2", "3"])
    found = store.max_marginal_relevance_search("heavy rain", k=2, lambda_mult=0.1)
    assert [one.id for one in found] == ["1", "3"]


async def test_a_retriever_finds_in_async_code(store):
    store.add_texts(["rain", "snow"], ids=["1", "2"])
    found = await store.as_retriever(search_kwargs={"k": 1}).ainvoke("snow")
    assert [one.id for one in found] == ["2"]


def test_from_texts_makes_an_index_that_a_new_process_opens(space, tmp_path):
    embeddings = MmencodeEmbeddings.from_space(space)
    MmencodeVectorStore.from_texts(["rain", "snow"], embeddings, ids=["1", "2"], path=tmp_path / "new")
    code = (
        "import sys, mmencode; from langchain_mmencode import MmencodeVectorStore; "
        "store = MmencodeVectorStore(mmencode.Index.open(sys.argv[1], device='cpu')); "
        "print(store.similarity_search('snow', k=1)[0].id, store.embeddings.id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "new"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == ["2", space.id]
    again = MmencodeVectorStore.from_texts(["hail"], embeddings, ids=["3"], path=tmp_path / "new")
    assert len(again.index) == 3


def test_an_index_of_another_space_is_refused(space, tmp_path):
    with mmencode.Space("fake", fake_specs()) as fake:
        mmencode.Index.create(tmp_path / "fakes", fake).close()
    embeddings = MmencodeEmbeddings.from_space(space)
    with pytest.raises(SpaceMismatchError):
        MmencodeVectorStore.from_texts(["rain"], embeddings, path=tmp_path / "fakes")


def test_embeddings_that_are_not_mmencodes_are_refused(tmp_path):
    with pytest.raises(TypeError, match="MmencodeEmbeddings"):
        MmencodeVectorStore.from_texts(["rain"], DeterministicFakeEmbedding(size=3), path=tmp_path / "no")


def test_deleting_without_ids_deletes_all(store):
    store.add_texts(["rain", "snow"])
    assert store.delete() is True
    assert len(store.index) == 0


def test_names_that_an_index_reserves_are_no_columns():
    assert _RESERVED == RESERVED
