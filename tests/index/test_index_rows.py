"""Adding, reading, deleting: rows and their metadata."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest
from PIL import Image

from mmencode import Embeddings, Index
from mmencode.errors import ClosedError, InputError, UnknownModalityError
from mmencode.index import Failure
from mmencode.index.entries import Entry
from mmencode.index.pending import NewRows, Pending
from mmencode.index.stamps import ContentStamp

NAMES = ["it's", 'a "b"', "' OR true --", "a\\b", "new\nline", "\udcff.png", "\ufdd0dcff", "日本", "x" * 500]


def test_new_index_is_empty(index):
    assert (len(index), index.modalities, index.failures()) == (0, (), ())
    assert index.search("text", ["a"]) == [[]]
    assert index.search("text", ["a"] * 9, centred=True) == [[]] * 9


def test_rows_are_what_the_space_encodes(index, space):
    done = index.add("text", ["b", "a"])
    assert (done.added, done.unchanged, done.failed) == (2, 0, ())
    rows = index.rows()
    assert rows.embeddings.keys == ("a", "b")
    assert rows.embeddings.space == space.id
    np.testing.assert_allclose(rows.embeddings.vectors, space.encode("text", ["a", "b"]).vectors, atol=1e-6)


def test_several_modalities_are_in_one_index(index, vectors):
    index.add("text", ["a"])
    index.add_embeddings(vectors("1.png", "2.png"))
    assert index.modalities == ("image", "text")
    assert index.rows().embeddings.modality == "mixed"
    assert index.rows().modalities == ("image", "image", "text")
    assert index.rows("modality = 'image'").embeddings.modality == "image"


@pytest.mark.parametrize("name", NAMES)
def test_key_of_any_characters_is_found_and_deleted_alone(index, vectors, name):
    index.add_embeddings(vectors("other", name))
    assert set(index.rows().embeddings.keys) == {"other", name}
    assert index.delete(keys=[name]) == 1
    assert index.rows().embeddings.keys == ("other",)


def test_where_may_name_a_key_that_is_not_utf_8(index, vectors):
    index.add_embeddings(vectors("a", "\udcff.png"))
    assert index.rows("key = '\udcff.png'").embeddings.keys == ("\udcff.png",)


def test_row_with_the_same_key_is_replaced(index, vectors):
    index.add_embeddings(vectors("a", "b"))
    newer = vectors("b", "c", seed=1)
    index.add_embeddings(newer)
    rows = index.rows()
    assert rows.embeddings.keys == ("a", "b", "c")
    np.testing.assert_array_equal(rows.embeddings.vectors[1], newer.vectors[0])


def test_unchanged_texts_are_not_encoded_again(index, monkeypatch):
    index.add("text", ["a", "b"])
    monkeypatch.setattr(type(index.space), "stream", None)
    assert index.add("text", ["b", "a"]).unchanged == 2


def test_changed_content_under_a_key_is_encoded_again(index, space):
    index.add("text", ["one", "two"], keys=["1", "2"])
    done = index.add("text", ["one", "three"], keys=["1", "2"])
    assert (done.added, done.unchanged) == (1, 1)
    expected = space.encode("text", ["one", "three"]).vectors
    np.testing.assert_allclose(index.rows().embeddings.vectors, expected, atol=1e-6)


def test_metadata_of_each_type_comes_back(index):
    said = [{"n": 1, "Title": "é"}, {"f": 0.5, "b": True}, {}, {"n": None}]
    index.add("text", ["a", "b", "c", "d"], metadata=said)
    assert index.rows().metadata == ({"n": 1, "Title": "é"}, {"f": 0.5, "b": True}, {}, {})


def test_where_is_over_metadata(index):
    index.add("text", ["a", "b", "c"], metadata=[{"year": 1990}, {"year": 2020, "place": "O'Hare"}, {}])
    assert index.rows("year > 2000").embeddings.keys == ("b",)
    assert [hit.key for hit in index.search("text", ["a"], where="place = 'O''Hare'")[0]] == ["b"]


def test_new_metadata_of_unchanged_content_is_written_without_encoding(index, monkeypatch):
    index.add("text", ["a", "b"], metadata=[{"n": 1}, {"n": 2}])
    monkeypatch.setattr(type(index.space), "stream", None)
    index.add("text", ["a"], metadata=[{"n": 7, "m": "new"}])
    assert index.rows().metadata == ({"n": 7, "m": "new"}, {"n": 2})


@pytest.mark.parametrize(
    ("metadata", "error", "words"),
    [
        ({"n": "one"}, TypeError, "n of row 0 is of type str, and the column n holds int"),
        ({"n": 1.5}, TypeError, "holds int"),
        ({"l": [b"a"]}, TypeError, "is of type bytes"),
        ({"n": [1]}, TypeError, "n of row 0 is of type list, and the column n holds int"),
        ({"key": 1}, ValueError, "'key'"),
        ({"_hash": 1}, ValueError, "'_hash'"),
        ({"two words": 1}, ValueError, "'two words'"),
        ({"N": 1}, ValueError, "case"),
        ({"m": 2**63}, ValueError, "64 bits"),
    ],
)
def test_metadata_that_no_column_can_hold_is_refused_and_writes_nothing(index, metadata, error, words):
    index.add("text", ["a"], metadata=[{"n": 1}])
    with pytest.raises(error, match=words):
        index.add("text", ["b"], metadata=[metadata])
    assert index.rows().embeddings.keys == ("a",)


def test_int_is_welcome_in_a_column_of_floats(index):
    index.add("text", ["a", "b"], metadata=[{"f": 1}, {"f": 0.5}])
    index.add("text", ["c"], metadata=[{"f": 2}])
    assert [row["f"] for row in index.rows().metadata] == [1.0, 0.5, 2.0]


def test_bad_item_raises_with_its_index_in_the_batch_and_what_was_written_stays(index):
    index.add("text", ["a"])
    with pytest.raises(InputError) as raised:
        index.add("text", ["a", *map(str, range(1000)), " "])
    assert raised.value.index == 1001
    assert len(index) > 700


def test_skipped_item_is_listed_and_not_tried_again_until_asked(index, monkeypatch):
    failure = Failure("2", "text", "the text is blank")
    assert index.add("text", ["a", " "], keys=["1", "2"], on_error="skip").failed == (failure,)
    assert index.failures() == (failure,)
    tried = []
    stream = type(index.space).stream

    def watched(space, modality, items, **options):
        return stream(space, modality, (tried.append(item) or item for item in items), **options)

    monkeypatch.setattr(type(index.space), "stream", watched)
    again = index.add("text", ["a", " "], keys=["1", "2"], on_error="skip")
    assert (again.unchanged, again.failed, tried) == (1, (failure,), [])
    index.add("text", ["a", " "], keys=["1", "2"], on_error="skip", retry=True)
    assert tried == [" "]


def test_item_that_failed_and_was_mended_is_a_row_and_no_failure(index):
    index.add("text", [" "], keys=["1"], on_error="skip")
    index.add("text", ["mended"], keys=["1"], on_error="skip")
    assert index.failures() == ()
    assert len(index) == 1


def test_item_that_fails_now_loses_its_older_row(index):
    index.add("text", ["fine"], keys=["1"], on_error="skip")
    index.add("text", [" "], keys=["1"], on_error="skip")
    assert len(index) == 0
    assert [failure.key for failure in index.failures()] == ["1"]


def test_iterators_are_taken_and_must_be_as_long(index):
    assert index.add("text", iter("abc"), keys=iter("xyz"), metadata=({"n": n} for n in range(3))).added == 3
    with pytest.raises(ValueError, match="differ in number"):
        index.add("text", iter("abc"), keys=["1", "2"])


def test_key_that_comes_twice_is_refused(index):
    with pytest.raises(ValueError, match="'a'"):
        index.add("text", ["a", "b", "a"])


def test_item_without_a_name_needs_a_key(index):
    with pytest.raises(ValueError, match="give keys"):
        index.add("image", [np.zeros((4, 4, 3), np.uint8)])
    assert index.add("image", [np.zeros((4, 4, 3), np.uint8)], keys=["black"]).added == 1


def test_delete_says_how_many_rows_there_were(index, vectors):
    index.add_embeddings(vectors("a", "b", "c"), metadata=[{"n": 1}, {"n": 2}, {"n": 2}])
    assert index.delete("n = 2") == 2
    assert index.delete("n = 2") == 0
    assert index.delete(keys=["a", "nothing"]) == 1
    assert len(index) == 0


@pytest.mark.parametrize("arguments", [{}, {"where": "true", "keys": ["a"]}])
def test_delete_wants_to_be_told_what(index, arguments):
    with pytest.raises(ValueError, match="which rows"):
        index.delete(**arguments)


@pytest.mark.parametrize("where", ["nonsense", "key = 3", "n >"])
def test_condition_that_is_not_understood_is_refused(index, vectors, where):
    index.add_embeddings(vectors("a"))
    for use in (index.rows, index.delete, lambda where: index.search("text", ["a"], where=where)):
        with pytest.raises(ValueError, match=r"where is .*isn't understood"):
            use(where)
    assert len(index) == 1


def test_vectors_without_keys_or_of_another_length_are_refused(index, space, vectors):
    with pytest.raises(ValueError, match="keys"):
        index.add_embeddings(space.encode("text", ["a"]))
    rows = vectors("a", "b").vectors
    for wrong in (rows * [[1], [2]], rows * [[1], [np.nan]]):
        with pytest.raises(ValueError, match="row 1"):
            index.add_embeddings(Embeddings(wrong, space=space.id, modality="image", keys=["a", "b"]))
    assert len(index) == 0


def test_unknown_modality_to_search_among_is_refused(index):
    with pytest.raises(UnknownModalityError, match="'imagee'"):
        index.search("text", ["a"], among="imagee")


def test_closed_index_says_so(index):
    index.close()
    for use in (lambda: len(index), lambda: index.space, lambda: index.add("text", ["a"]), index.compact):
        with pytest.raises(ClosedError, match="open it again"):
            use()


def test_a_writer_can_write_within_its_block_only(index, vectors):
    with index._store.writing() as writer:
        assert writer.put_rows(NewRows(["a"], "image"), vectors("a")) == 0
    for use in (
        lambda: writer.put_rows(NewRows(["b"], "image"), vectors("b")),
        lambda: writer.delete_rows(["a"]),
        writer.compact,
    ):
        with pytest.raises(ClosedError, match="after its block"):
            use()
    assert index.rows().embeddings.keys == ("a",)


def test_compaction_changes_no_row(index, vectors):
    for number in range(5):
        index.add_embeddings(vectors(f"{number}", seed=number))
    index.delete(keys=["3"])
    before = index.rows()
    index.compact()
    after = index.rows()
    assert after.embeddings.keys == before.embeddings.keys
    np.testing.assert_array_equal(after.embeddings.vectors, before.embeddings.vectors)


def test_other_index_on_the_same_folder_sees_each_commit(index, space, vectors):
    with Index.open(index.path, space=space) as other:
        index.add_embeddings(vectors("a"))
        assert len(other) == 1
        other.add_embeddings(vectors("a", "b", seed=1))
        index.add_embeddings(vectors("b", "c"))
        assert other.rows().embeddings.keys == ("a", "b", "c")


def test_threads_that_add_the_same_keys_double_none(index, vectors):
    def add(seed):
        for start in range(0, 20, 4):
            index.add_embeddings(vectors(*map(str, range(start, start + 4)), seed=seed))

    threads = [threading.Thread(target=add, args=[seed]) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(index.rows().embeddings.keys, key=int) == [str(number) for number in range(20)]


def test_a_failure_takes_no_row_of_another_modality_with_it(index, vectors):
    """As a writer leaves it that adds the row while another is encoding the item."""
    index.add_embeddings(vectors("a"))
    pending = Pending(Entry("a", "text", " ", 0), ContentStamp("hash"), None)
    error = InputError("the text is blank", source="' '", remedy="leave it out")
    with index._store.writing() as writer:
        writer.put_failures([(pending, error)])
    assert index.rows().modalities == ("image",)
    assert [failure.key for failure in index.failures()] == ["a"]


def test_a_key_that_names_another_file_of_the_same_size_and_time_is_encoded_again(index, space, tmp_path):
    paths = [tmp_path / "red.bmp", tmp_path / "blue.bmp"]
    for path in paths:
        Image.new("RGB", (9, 9), path.stem).save(path)
        os.utime(path, (1, 1))
    for path, counts in ((paths[0], (1, 0)), (paths[0], (0, 1)), (paths[1], (1, 0))):
        done = index.add("image", [path], keys=["mine"])
        assert (done.added, done.unchanged) == counts
    expected = space.encode("image", paths[1:]).vectors
    np.testing.assert_allclose(index.rows().embeddings.vectors, expected, atol=1e-6)
