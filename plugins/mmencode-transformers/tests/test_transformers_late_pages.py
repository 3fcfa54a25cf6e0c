"""Images of pages, and queries to them, have the vectors and scores of transformers' own classes."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_pages
import torch
import transformers as hf
from mmencode_transformers import late
from PIL import Image
from tiny_pages import QUERIES

from mmencode.errors import UnknownModalityError

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


@torch.inference_mode()
def ask(folder, texts):
    """The vectors of queries, by the encoder of that side alone."""
    encoder = late.towers(str(folder), ("text:query",))["text:query"].eval()
    tokens, counted = encoder.forward_tokens(encoder.collate([encoder.preprocess(text) for text in texts]))
    return [row[mask] for row, mask in zip(tokens, counted, strict=True)]


@pytest.mark.parametrize("kind", MODELS)
def test_pages_and_queries_equal_transformers(kind, folders, load):
    pages, queries, _ = own(kind, folders[kind])
    found = load(f"transformers/late/{folders[kind]}").encode_multi("image", tiny_pages.pages())
    assert found.counts.tolist() == [len(page) for page in pages]
    for ours, theirs in zip(found.arrays, pages, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    asked = ask(folders[kind], QUERIES)
    for ours, theirs in zip(asked, queries, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


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


def test_texts_as_documents_are_refused(folders, load):
    with pytest.raises(UnknownModalityError, match="nothing for 'text'"):
        load(f"transformers/late/{folders['colpali']}").encode_multi("text", ["a dog"])
