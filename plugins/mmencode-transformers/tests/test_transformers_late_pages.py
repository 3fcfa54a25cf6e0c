"""Images of pages, and queries to them, have the vectors and scores of transformers' own classes."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import tiny_pages
import torch
import transformers as hf
from mmencode_transformers import late
from PIL import Image
from tiny_pages import QUERIES

import mmencode
from mmencode.errors import UnknownModalityError, WeightsError
from mmencode.inputs import reader

pytestmark = pytest.mark.slow

MODELS = {
    "colpali": (hf.ColPaliForRetrieval, hf.ColPaliProcessor),
    "colqwen2": (hf.ColQwen2ForRetrieval, hf.ColQwen2Processor),
    "colmodernvbert": (hf.ColModernVBertForRetrieval, hf.ColModernVBertProcessor),
}


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """A tiny checkpoint of each kind."""
    made = {kind: tmp_path_factory.mktemp(kind) for kind in MODELS}
    for kind, folder in made.items():
        getattr(tiny_pages, kind)(folder)
    return made


@torch.inference_mode()
def own(kind, folder):
    """The vectors of pages and queries by transformers, of a padded batch, without the padding's."""
    model, processor = (one.from_pretrained(folder) for one in MODELS[kind])
    found = []
    for batch in (processor.process_images(tiny_pages.pages()), processor.process_queries(QUERIES)):
        vectors = model.eval()(**batch).embeddings
        found.append([row[mask] for row, mask in zip(vectors, batch["attention_mask"].bool(), strict=True)])
    return *found, processor


def assert_equal(found, expected):
    """The vectors of each item are the library's, as many and in the same order."""
    assert found.counts.tolist() == [len(each) for each in expected]
    for ours, theirs in zip(found.arrays, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", MODELS)
def test_pages_and_queries_equal_transformers(kind, folders, load):
    pages, queries, processor = own(kind, folders[kind])
    space = load(f"transformers/late/{folders[kind]}")
    found, asked = space.encode_multi("image", tiny_pages.pages()), space.encode_multi("text", QUERIES)
    assert_equal(found, pages)
    assert_equal(asked, queries)
    scores = processor.score_retrieval(queries, pages, batch_size=1)  # alone, no padding scores 0
    np.testing.assert_allclose(mmencode.similarity(asked, found), scores, atol=1e-4)


@pytest.mark.parametrize("kind", MODELS)
def test_queries_need_no_part_that_looks_at_images(kind, folders):
    built = late.towers(str(folders[kind]), ("image", "text:query"))
    page, query = built["image"], built["text:query"]
    held = {id(parameter) for parameter in page.parameters()}
    assert {id(parameter) for parameter in query.parameters()} < held
    alone = late.towers(str(folders[kind]), ("text:query",))["text:query"]
    assert list(alone.state_dict()) == list(query.state_dict())


def test_long_queries_keep_their_suffix(folders):
    encoder = late.towers(str(folders["colpali"]), ("text:query",))["text:query"]
    with pytest.warns(UserWarning, match="longer than 512 tokens"):
        ids = encoder.preprocess("a dog " * 600)["input_ids"]
    assert len(ids) == 512
    assert ids[-11:].tolist() == encoder.preprocess("a dog")["input_ids"][-11:].tolist()


def test_tiles_that_are_all_zero_are_no_padding(folders, load):
    plain = load(f"transformers/late/{folders['colmodernvbert']}")
    encoder = plain.tower("image").encoder
    encoder._processor.image_processor.image_mean = [0.2, 0.2, 0.2]  # 51 of 255
    (found,) = plain.encode_multi("image", [Image.new("RGB", (96, 64), (51, 51, 51))]).arrays
    assert len(found) == len(encoder.preprocess(Image.new("RGB", (96, 64)))["input_ids"])


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("colpali", {"image_seq_length": 10**9}),
        ("colmodernvbert", {"image_seq_len": 10**9}),
        ("colmodernvbert", {"max_image_size": {"longest_edge": 1}}),
        ("colqwen2", {"size": {"shortest_edge": 2**40, "longest_edge": 2**40}}),
        ("colqwen2", {"auto_map": {"AutoProcessor": "evil.Processor"}}),
    ],
)
def test_preprocessing_that_would_take_all_memory_or_run_code_is_refused(kind, changes, folders, tmp_path):
    shutil.copytree(folders[kind], tmp_path / "late")
    path = tmp_path / "late" / "processor_config.json"
    settings = json.loads(path.read_text())
    inner = settings["image_processor"] if changes.keys() & settings["image_processor"].keys() else settings
    inner.update(changes)
    path.write_text(json.dumps(settings))
    with pytest.raises(WeightsError):
        late.towers(str(tmp_path / "late"), ("image",))


def test_missing_files_of_pages_are_named(folders, tmp_path):
    for name in ("processor_config.json", "tokenizer.json", "model.safetensors"):
        shutil.copytree(folders["colpali"], tmp_path / name)
        (tmp_path / name / name).unlink()
        with pytest.raises(WeightsError, match=name):
            late.towers(str(tmp_path / name), ("image",))


def test_texts_as_documents_are_refused(folders, load):
    space = load(f"transformers/late/{folders['colpali']}")
    with pytest.raises(UnknownModalityError, match="it has image, text:query"):
        space.encode_multi("text", ["a dog"], role="document")


def test_checkpoints_that_sentence_transformers_saved_equal_the_library(folders, load, tmp_path):
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.multi_vector_encoder.modules import HierarchicalTokenPooling, MultiVectorMask

    plain = MultiVectorEncoder(str(folders["colqwen2"]), device="cpu")
    patches = plain.tokenizer.convert_tokens_to_ids("<|image_pad|>")
    mask = MultiVectorMask(keep_only_token_ids=[patches])
    modules = [plain[0], mask, HierarchicalTokenPooling(2)]
    MultiVectorEncoder(modules=modules, prompts={"query": "find: "}, device="cpu").save(str(tmp_path / "st"))
    reference = MultiVectorEncoder(str(tmp_path / "st"), device="cpu")
    space = load(f"transformers/late/{tmp_path}/st")
    assert_equal(space.encode_multi("text", QUERIES), reference.encode_query(QUERIES, convert_to_numpy=True))
    pages = reference.encode_document(tiny_pages.pages(), convert_to_numpy=True)
    assert_equal(space.encode_multi("image", tiny_pages.pages()), pages)


def test_pages_of_documents_join_the_space(folders, load, tmp_path):
    documents = pytest.importorskip("mmencode_documents", reason="it declares pages")
    from mmencode_documents.drawing import samples

    name = f"transformers/late/{folders['colpali']}"
    plain = load(name)
    space = documents.join_pages(plain)
    assert space.id == plain.id
    assert space.tower("page").encoder.image is space.tower("image").encoder
    pages = [*samples(3), tiny_pages.pages()[0]]  # PDFs, and a picture of a page
    pictures = [reader("page")(page, mmencode.Limits()) for page in pages]
    found, expected = space.encode_multi("page", pages), plain.encode_multi("image", pictures)
    np.testing.assert_array_equal(found.vectors, expected.vectors)
    assert found.counts.tolist() == expected.counts.tolist()
    asked = space.encode_multi("text", QUERIES)
    np.testing.assert_array_equal(mmencode.similarity(asked, found), mmencode.similarity(asked, expected))

    alone = load(f"page/late/{name}")
    np.testing.assert_array_equal(alone.encode_multi("page", pages).vectors, found.vectors)
    space.save(tmp_path / "saved")
    again = load(str(tmp_path / "saved"), trust="names")
    np.testing.assert_array_equal(again.encode_multi("page", pages).vectors, found.vectors)
    assert again.tower("page").encoder.image is again.tower("image").encoder
