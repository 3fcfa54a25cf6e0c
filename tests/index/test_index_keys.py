"""A key is one row's, whatever else has that name."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

FEW = """
import resource
index = Index.create(path, space)
index.add_embeddings(vectors("a"))
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
held, refused = [], []
try:
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    while True:
        held.append(os.open("/dev/null", os.O_RDONLY))
except OSError:
    pass
for use in (
    lambda: index.add_embeddings(vectors("b")),
    lambda: index.search_embeddings(vectors("a"), 1),
    lambda: index.rows(),
    lambda: index.compact(),
    lambda: Index.open(path, space=space),
    lambda: Index.create(path + "2", space),
):
    try:
        use()
    except (MmencodeError, OSError) as error:
        refused.append(type(error))
for handle in held:
    os.close(handle)
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
index.add_embeddings(vectors("c"))
assert set(index.rows().embeddings.keys) >= {"a", "c"}, index.rows().embeddings.keys
assert index.search_embeddings(vectors("a"), 1)
assert StoreError in refused, refused
"""


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(path)
    return path


def test_a_caption_never_takes_the_place_of_its_picture(index, picture):
    index.add("image", [picture], keys=["1"], metadata=[{"album": "one"}])
    before = index.rows().embeddings.vectors
    for on_error in ("raise", "skip"):
        with pytest.raises(ValueError, match="the key '1' is that of a row of image, and an item of text"):
            index.add("text", ["another", "a caption"], keys=["0", "1"], on_error=on_error)
    rows = index.rows("key = '1'")
    assert rows.modalities == ("image",)
    np.testing.assert_array_equal(rows.embeddings.vectors, before)
    assert index.add("text", ["a caption"], keys=["1 text"]).added == 1


def test_vectors_never_take_the_place_of_another_modality_and_nothing_of_them_is_written(index, vectors):
    index.add_embeddings(vectors("a"))
    with pytest.raises(ValueError, match="give it another key, or delete that row first"):
        index.add_embeddings(vectors("b", "a", "c", modality="text"), metadata=[{"n": 1}] * 3)
    assert index.rows().embeddings.keys == ("a",)
    assert index.rows().metadata == ({},)
    index.delete(keys=["a"])
    assert index.add_embeddings(vectors("b", "a", "c", modality="text")).replaced == 0


def test_rows_that_are_replaced_are_counted(index, vectors):
    assert index.add_embeddings(vectors("a", "b")).replaced == 0
    assert index.add_embeddings(vectors("b", "c", "a", seed=1)).replaced == 2
    assert index.add("text", ["one"], keys=["t"]).replaced == 0
    assert index.add("text", ["two"], keys=["t"]).replaced == 1
    assert index.add("text", ["two"], keys=["t"]).replaced == 0


def test_recall_counts_rows_whose_keys_are_not_utf_8(index, vectors):
    index.add_embeddings(vectors("a", "\udcff", "\ufdd0dcff", "é"))
    assert index.recall(2) == 1
    assert {hit.key for hit in index.search_embeddings(vectors("q"), 4)[0]} == {
        "a",
        "\udcff",
        "\ufdd0dcff",
        "é",
    }


@pytest.mark.parametrize("keys", ["abc", b"abc"])
def test_one_str_is_not_a_list_of_keys(index, vectors, keys):
    index.add_embeddings(vectors("a", "b", "c"))
    with pytest.raises(TypeError, match=r"keys is one (str|bytes): give a list"):
        index.delete(keys=keys)
    assert len(index) == 3


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits there")
def test_few_descriptors_are_a_store_error_and_the_index_goes_on(other, tmp_path):
    other.run(FEW, tmp_path / "index")
