"""LlamaIndex's multimodal embedding: its own indexes and pipelines run on it, and keep to one space."""

from __future__ import annotations

import asyncio
import base64
import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("llama_index.core", reason="llama-index-core: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests run on the default space")

from llama_index.core import Document, StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.indices import MultiModalVectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.schema import ImageDocument, ImageNode, TextNode
from llama_index.core.storage.kvstore import SimpleKVStore
from llama_index.embeddings.mmencode import MmencodeEmbedding

import mmencode
from mmencode.errors import IdentityError, InputError, SpaceMismatchError

pytestmark = pytest.mark.hosts


@pytest.fixture(scope="module")
def embedding():
    return MmencodeEmbedding(device="cpu")


def make_picture(colour) -> bytes:
    written = io.BytesIO()
    Image.fromarray(np.full((40, 60, 3), colour, np.uint8)).save(written, "PNG")
    return written.getvalue()


@pytest.fixture
def pictures(tmp_path):
    colours = {"red": (255, 0, 0), "green": (0, 255, 0)}
    for name, colour in colours.items():
        (tmp_path / f"{name}.png").write_bytes(make_picture(colour))
    return {name: str(tmp_path / f"{name}.png") for name in colours}


def test_texts_images_and_sounds_have_the_vectors_of_the_library(embedding, pictures):
    tone = np.sin(np.arange(16_000) / 7).astype(np.float32), 16_000
    space = embedding.loaded
    texts = space.encode("text", ["a cat", "rain"]).vectors
    assert np.array_equal(embedding.get_text_embedding_batch(["a cat", "rain"]), texts)
    assert np.array_equal(embedding.get_query_embedding("a cat"), space.encode("text", ["a cat"]).vectors[0])
    images = space.encode("image", list(pictures.values())).vectors
    assert np.array_equal(embedding.get_image_embedding_batch(list(pictures.values())), images)
    assert np.array_equal(
        embedding.get_image_embedding(io.BytesIO(make_picture((255, 0, 0)))),
        embedding.get_image_embedding(pictures["red"]),
    )
    assert np.array_equal(embedding.get_audio_embedding(tone), space.encode("audio", [tone]).vectors[0])


def test_async_code_gets_the_same_vectors(embedding, pictures):
    tone = np.sin(np.arange(16_000) / 7).astype(np.float32), 16_000

    async def embed():
        return (
            await embedding.aget_text_embedding_batch(["a cat", "rain"]),
            [await embedding.aget_query_embedding("a cat"), await embedding.aget_text_embedding("rain")],
            await embedding.aget_image_embedding_batch(list(pictures.values())),
            await embedding.aget_image_embedding(pictures["red"]),
            await embedding.aget_audio_embedding(tone),
        )

    texts, alone, images, image, sound = asyncio.run(embed())
    assert texts == embedding.get_text_embedding_batch(["a cat", "rain"])
    assert np.allclose(alone, texts, atol=1e-6)
    assert images == embedding.get_image_embedding_batch(list(pictures.values()))
    assert np.allclose(image, images[0], atol=1e-6)
    assert sound == embedding.get_audio_embedding(tone)


def test_a_serialised_one_names_its_space_and_refuses_another(embedding):
    config = embedding.to_dict()
    assert config["id"] == config["model_name"] == embedding.loaded.id
    assert config["class_name"] == "MmencodeEmbedding"
    again = MmencodeEmbedding.from_json(embedding.to_json())
    assert again.get_query_embedding("rain") == embedding.get_query_embedding("rain")
    with pytest.raises(SpaceMismatchError) as caught:
        MmencodeEmbedding.from_dict({**config, "id": "offline@0123456789abcdef"})
    assert embedding.id in str(caught.value)
    assert "offline@0123456789abcdef" in str(caught.value)


def test_a_pickled_one_embeds_alike_in_a_new_process(embedding, tmp_path):
    (tmp_path / "pickled").write_bytes(pickle.dumps(embedding))
    code = (
        "import pickle, sys; given = pickle.load(open(sys.argv[1], 'rb')); "
        "print(given.id, given.get_query_embedding('rain')[0].hex())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "pickled"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.split() == [embedding.id, embedding.get_query_embedding("rain")[0].hex()]


def test_a_pickled_one_of_another_space_is_refused_on_arrival(embedding):
    own = embedding.id.encode()
    other = b"offline@" + b"0" * (len(own) - len(b"offline@"))
    with pytest.raises(IdentityError, match=other.decode()):
        pickle.loads(pickle.dumps(embedding).replace(own, other))


def test_an_index_of_texts_is_opened_again_under_the_id_of_its_space(embedding, tmp_path):
    documents = [Document(text=text) for text in ("heavy rain in May", "a violin concerto")]
    index = VectorStoreIndex.from_documents(documents, embed_model=embedding)
    index.set_index_id(embedding.id)
    index.storage_context.persist(tmp_path / "stored")
    code = (
        "import sys; from llama_index.core import StorageContext, load_index_from_storage; "
        "from llama_index.embeddings.mmencode import MmencodeEmbedding; "
        "embedding = MmencodeEmbedding(device='cpu'); "
        "stored = StorageContext.from_defaults(persist_dir=sys.argv[1]); "
        "index = load_index_from_storage(stored, index_id=embedding.id, embed_model=embedding); "
        "print(index.as_retriever(similarity_top_k=1).retrieve('music')[0].text)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "stored"],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert done.stdout.strip() == "a violin concerto"
    stored = StorageContext.from_defaults(persist_dir=str(tmp_path / "stored"))
    with pytest.raises(ValueError, match="Failed to load index"):
        load_index_from_storage(stored, index_id="offline@0123456789abcdef", embed_model=embedding)


def test_an_index_of_images_finds_them_by_words(embedding, pictures):
    nodes = [
        *(ImageNode(image_path=path, metadata={"path": path}) for path in pictures.values()),
        TextNode(text="a violin concerto"),
    ]
    index = MultiModalVectorStoreIndex(nodes, embed_model=embedding, image_embed_model=embedding)
    found = index.as_retriever(image_similarity_top_k=2).text_to_image_retrieve("a red square")
    assert {one.node.image_path for one in found} == set(pictures.values())
    by_image = index.as_retriever(image_similarity_top_k=1).image_to_image_retrieve(pictures["green"])
    assert [one.node.image_path for one in by_image] == [pictures["green"]]


def test_a_pipeline_embeds_images_by_their_pixels_and_texts_by_their_words(embedding, pictures):
    coded = base64.b64encode(make_picture((255, 0, 0))).decode()
    nodes = [TextNode(text="rain"), ImageNode(image_path=pictures["red"]), ImageDocument(image=coded)]
    done = IngestionPipeline(transformations=[embedding], disable_cache=True).run(nodes=nodes)
    assert np.array_equal(done[0].embedding, embedding.get_text_embedding("rain"))
    assert np.allclose(done[1].embedding, embedding.get_image_embedding(pictures["red"]), atol=1e-6)
    assert np.allclose(done[2].embedding, done[1].embedding, atol=1e-6)
    waited = asyncio.run(embedding.acall([TextNode(text="rain"), ImageNode(image_path=pictures["red"])]))
    assert np.allclose([one.embedding for one in waited], [one.embedding for one in done[:2]], atol=1e-6)


def test_a_cache_of_a_pipeline_keeps_spaces_apart(embedding):
    cache = IngestionCache()
    IngestionPipeline(transformations=[embedding], cache=cache).run(nodes=[TextNode(text="rain")])
    other = embedding.model_copy()
    other.id = other.model_name = "offline@0123456789abcdef"
    IngestionPipeline(transformations=[other], cache=cache).run(nodes=[TextNode(text="rain")])
    assert len(cache.cache.get_all(collection=cache.collection)) == 2


def test_a_cache_that_is_asked_by_texts_alone_is_refused():
    with pytest.raises(ValueError, match="by the text alone"):
        MmencodeEmbedding(device="cpu", embeddings_cache=SimpleKVStore())


def test_an_image_at_a_url_is_not_fetched(embedding):
    with pytest.raises(ValueError, match="nothing is fetched here"):
        embedding([ImageNode(image_url="http://127.0.0.1:9/red.png")])


def test_an_item_that_cannot_be_encoded_is_named(embedding, pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"broken\.png") as caught:
        embedding.get_image_embedding_batch([pictures["red"], str(tmp_path / "broken.png")])
    assert caught.value.index == 1


def test_a_space_that_is_loaded_is_shared():
    with mmencode.load("default", device="cpu") as space:
        made = MmencodeEmbedding.from_space(space, embed_batch_size=3)
        assert made.loaded is space
        assert (made.id, made.embed_batch_size) == (space.id, 3)
