"""Haystack's embedders: pipelines of Haystack's own run on them, and keep to one space."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("haystack", reason="haystack-ai: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests run on the default space")

from haystack import Document, Pipeline
from haystack.components.embedders.types import DocumentEmbedder, TextEmbedder
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.components.writers import DocumentWriter
from haystack.dataclasses import ByteStream
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.embedders.mmencode import (
    MmencodeDocumentEmbedder,
    MmencodeMediaDocumentEmbedder,
    MmencodeMediaEmbedder,
    MmencodeTextEmbedder,
)

import mmencode
from mmencode.errors import InputError, SpaceMismatchError

pytestmark = pytest.mark.hosts

ALL = [
    MmencodeTextEmbedder,
    MmencodeMediaEmbedder,
    MmencodeDocumentEmbedder,
    MmencodeMediaDocumentEmbedder,
]


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default", device="cpu") as loaded:
        yield loaded


@pytest.fixture
def pictures(tmp_path):
    for name, colour in {"red": (255, 0, 0), "green": (0, 255, 0)}.items():
        Image.fromarray(np.full((40, 60, 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
    return {name: tmp_path / f"{name}.png" for name in ("red", "green")}


def make_query_pipeline(store: InMemoryDocumentStore, embedder) -> Pipeline:
    pipeline = Pipeline()
    pipeline.add_component("embedder", embedder)
    pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=1))
    pipeline.connect("embedder.embedding", "retriever.query_embedding")
    pipeline.connect("embedder.filters", "retriever.filters")
    return pipeline


@pytest.fixture
def store():
    """Two texts, written by a pipeline."""
    store = InMemoryDocumentStore()
    pipeline = Pipeline()
    pipeline.add_component("embedder", MmencodeDocumentEmbedder(device="cpu"))
    pipeline.add_component("writer", DocumentWriter(store))
    pipeline.connect("embedder.documents", "writer.documents")
    documents = [Document(content="heavy rain in May"), Document(content="a violin concerto")]
    assert pipeline.run({"embedder": {"documents": documents}})["writer"] == {"documents_written": 2}
    return store


def test_documents_have_the_vectors_of_the_library_and_stay_what_they_are(space, pictures):
    given = [Document(content="rain", meta={"year": 2020}), Document(content="snow")]
    found = MmencodeDocumentEmbedder(device="cpu").run(given)["documents"]
    assert np.array_equal([one.embedding for one in found], space.encode("text", ["rain", "snow"]).vectors)
    assert [(one.id, one.content) for one in found] == [(one.id, one.content) for one in given]
    assert found[0].meta == {"year": 2020, "embedding_space": space.id}
    assert given[0].embedding is None
    assert given[0].meta == {"year": 2020}


def test_images_come_from_blobs_and_files(space, pictures, tmp_path):
    blob = ByteStream(pictures["red"].read_bytes(), mime_type="image/png")
    documents = [Document(blob=blob), Document(meta={"file_path": "green.png"})]
    embedder = MmencodeMediaDocumentEmbedder(device="cpu", root_path=str(tmp_path))
    found = embedder.run(documents)["documents"]
    expected = space.encode("image", [pictures["red"], pictures["green"]]).vectors
    assert np.array_equal([one.embedding for one in found], expected)


def test_sounds_are_embedded_by_the_modality_that_is_said(space, tmp_path):
    import soundfile

    written = io.BytesIO()
    soundfile.write(written, np.sin(np.arange(16_000) / 7), 16_000, format="WAV")
    embedder = MmencodeMediaDocumentEmbedder(device="cpu", modality="audio")
    (found,) = embedder.run([Document(blob=ByteStream(written.getvalue()))])["documents"]
    assert np.array_equal(found.embedding, space.encode("audio", [written.getvalue()]).vectors[0])
    (alone,) = [MmencodeMediaEmbedder(device="cpu", modality="audio").run(ByteStream(written.getvalue()))]
    assert alone["embedding"] == found.embedding


def test_meta_is_embedded_where_its_fields_are_named(space):
    embedder = MmencodeDocumentEmbedder(
        device="cpu", meta_fields_to_embed=["title", "none"], embedding_separator=": "
    )
    (found,) = embedder.run([Document(content="rain", meta={"title": "May", "none": None})])["documents"]
    assert np.array_equal(found.embedding, space.encode("text", ["May: rain"]).vectors[0])


def test_a_pipeline_finds_texts_by_words_and_images_by_an_image(store, pictures):
    found = make_query_pipeline(store, MmencodeTextEmbedder(device="cpu")).run(
        {"embedder": {"text": "music"}}
    )
    assert [one.content for one in found["retriever"]["documents"]] == ["a violin concerto"]
    documents = [Document(meta={"file_path": str(path), "name": name}) for name, path in pictures.items()]
    made = MmencodeMediaDocumentEmbedder(device="cpu").run(documents)["documents"]
    store.write_documents(made, policy=DuplicatePolicy.FAIL)
    by_image = make_query_pipeline(store, MmencodeMediaEmbedder(device="cpu"))
    found = by_image.run({"embedder": {"source": pictures["green"]}})
    assert [one.meta["name"] for one in found["retriever"]["documents"]] == ["green"]


def test_documents_of_another_space_are_never_found(store):
    other = Document(content="another", embedding=[0.0] * 383 + [1.0], meta={"embedding_space": "other@0123"})
    bare = Document(content="bare", embedding=[0.0] * 383 + [1.0])
    store.write_documents([other, bare])
    pipeline = make_query_pipeline(store, MmencodeTextEmbedder(device="cpu"))
    found = pipeline.run({"embedder": {"text": "music"}, "retriever": {"top_k": 9}})
    assert len(found["retriever"]["documents"]) == 2


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_serialised_embedder_comes_back_as_it_was(kind, space):
    made = kind(device="cpu").to_dict()
    assert made["init_parameters"]["id"] == space.id
    again = kind.from_dict(made)
    assert again.to_dict() == made


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_one_of_another_space_is_refused_before_it_embeds_and_both_are_named(kind, space):
    made = kind(device="cpu").to_dict()
    made["init_parameters"]["id"] = "offline@0123456789abcdef"
    with pytest.raises(SpaceMismatchError) as caught:
        kind.from_dict(made).warm_up()
    assert space.id in str(caught.value)
    assert "offline@0123456789abcdef" in str(caught.value)


def test_a_pipeline_is_opened_again_in_a_new_process_and_refuses_another_space(store, tmp_path):
    made = make_query_pipeline(store, MmencodeTextEmbedder(device="cpu")).dumps()
    (tmp_path / "same.yaml").write_text(made)
    (tmp_path / "other.yaml").write_text(made.replace("offline@", "offline@0"))
    store.save_to_disk(str(tmp_path / "documents.json"))
    code = (
        "import sys; from haystack import Pipeline; "
        "from haystack.document_stores.in_memory import InMemoryDocumentStore; "
        "pipeline = Pipeline.loads(open(sys.argv[1]).read()); "
        "store = InMemoryDocumentStore.load_from_disk(sys.argv[2]); "
        "pipeline.get_component('retriever').document_store = store; "
        "found = pipeline.run({'embedder': {'text': 'music'}}); "
        "print(found['retriever']['documents'][0].content)"
    )

    def run(name):
        arguments = [tmp_path / name, tmp_path / "documents.json"]
        return subprocess.run(
            [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=300
        )

    assert run("same.yaml").stdout.strip() == "a violin concerto"
    assert "SpaceMismatchError: space 'offline' is offline@" in run("other.yaml").stderr


def test_async_code_gets_the_same_vectors(pictures):
    async def embed():
        return (
            await MmencodeTextEmbedder(device="cpu").run_async("rain"),
            await MmencodeDocumentEmbedder(device="cpu").run_async([Document(content="rain")]),
            await MmencodeMediaEmbedder(device="cpu").run_async(pictures["red"]),
            await MmencodeMediaDocumentEmbedder(device="cpu").run_async(
                [Document(meta={"file_path": str(pictures["red"])})]
            ),
        )

    text, document, image, picture = asyncio.run(embed())
    assert text["embedding"] == document["documents"][0].embedding
    assert image["embedding"] == picture["documents"][0].embedding


def test_embedders_are_of_the_kinds_that_haystack_expects():
    text: TextEmbedder = MmencodeTextEmbedder()
    documents: DocumentEmbedder = MmencodeDocumentEmbedder()
    assert "text" in text.__haystack_input__._sockets_dict
    assert "documents" in documents.__haystack_input__._sockets_dict


def test_an_item_that_cannot_be_encoded_is_named(pictures, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    documents = [
        Document(meta={"file_path": str(path)}) for path in (pictures["red"], tmp_path / "broken.png")
    ]
    with pytest.raises(InputError, match=r"broken\.png") as caught:
        MmencodeMediaDocumentEmbedder(device="cpu").run(documents)
    assert caught.value.index == 1


def test_a_document_without_an_image_is_named():
    with pytest.raises(ValueError, match="document 0, seven, has no image"):
        MmencodeMediaDocumentEmbedder(device="cpu").run([Document(id="seven", content="rain")])


def test_what_is_no_text_is_refused():
    with pytest.raises(TypeError, match="text is list"):
        MmencodeTextEmbedder(device="cpu").run(["rain"])


def test_a_misspelt_option_is_an_error():
    with pytest.raises(TypeError, match="devise"):
        MmencodeTextEmbedder(devise="cpu")
