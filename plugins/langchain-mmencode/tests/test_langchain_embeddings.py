"""LangChain's embeddings, judged by LangChain's own suites, and by what these don't ask."""

from __future__ import annotations

import pickle
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

pytest.importorskip("langchain_core", reason="langchain-core: .ci/run hosts installs it")
pytest.importorskip("langchain_tests", reason="langchain-tests: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the suites run on the default space")

from langchain_core.embeddings import Embeddings
from langchain_mmencode import MmencodeEmbeddings
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests

import mmencode
from mmencode.errors import InputError, SpaceMismatchError

pytestmark = pytest.mark.hosts


class TestUnits(EmbeddingsUnitTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MmencodeEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"space": "default", "device": "cpu"}


class TestIntegration(EmbeddingsIntegrationTests):
    @property
    def embeddings_class(self) -> type[Embeddings]:
        return MmencodeEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"device": "cpu"}


@pytest.fixture(scope="module")
def embeddings():
    return MmencodeEmbeddings(device="cpu")


def make_picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 60, 3), np.uint8)


def test_texts_and_images_have_the_vectors_of_the_library(embeddings):
    with mmencode.load("default", device="cpu") as space:
        texts, image = space.encode("text", ["a cat", "rain"]), space.encode("image", [make_picture(0)])
    assert np.array_equal(embeddings.embed_documents(["a cat", "rain"]), texts.vectors)
    assert np.array_equal(embeddings.embed_query("a cat"), embeddings.embed("text", ["a cat"])[0])
    assert np.array_equal(embeddings.embed_image([make_picture(0)]), image.vectors)


async def test_images_and_sounds_are_embedded_in_async_code(embeddings):
    tone = np.sin(np.arange(16_000) / 7).astype(np.float32)
    assert await embeddings.aembed_image([make_picture(1)]) == embeddings.embed_image([make_picture(1)])
    assert await embeddings.aembed_audio([(tone, 16_000)]) == embeddings.embed_audio([(tone, 16_000)])


def test_a_dumped_config_names_the_space_and_makes_the_embeddings_again(embeddings):
    config = embeddings.model_dump()
    assert config["id"] == embeddings.loaded.id
    assert MmencodeEmbeddings(**config).embed_query("rain") == embeddings.embed_query("rain")


def test_a_config_of_another_space_is_refused_and_both_are_named(embeddings):
    config = {**embeddings.model_dump(), "id": "offline@0123456789abcdef"}
    with pytest.raises(SpaceMismatchError) as caught:
        MmencodeEmbeddings(**config)
    assert embeddings.id in str(caught.value)
    assert "offline@0123456789abcdef" in str(caught.value)


def test_a_pickled_one_embeds_alike_in_a_new_process(embeddings, tmp_path):
    (tmp_path / "pickled").write_bytes(pickle.dumps(embeddings))
    code = (
        "import pickle, sys; given = pickle.load(open(sys.argv[1], 'rb')); "
        "print(given.id, given.embed_query('rain')[0].hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pickled"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == [embeddings.id, embeddings.embed_query("rain")[0].hex()]


def test_a_space_that_is_loaded_is_shared():
    with mmencode.load("default", device="cpu") as space:
        made = MmencodeEmbeddings.from_space(space)
        assert made.loaded is space
        assert made.id == space.id


def test_an_item_that_cannot_be_encoded_is_named(embeddings, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.png") as caught:
        embeddings.embed_image([make_picture(0), tmp_path / "broken.png"])
    assert caught.value.index == 1


def test_a_misspelt_option_is_an_error():
    with pytest.raises(ValueError, match="devise"):
        MmencodeEmbeddings(devise="cpu")
