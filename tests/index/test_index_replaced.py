"""What becomes of an open index whose folder is rebuilt, moved or removed: an error, never a mixture."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from mmencode import Embeddings, Index, Space
from mmencode.errors import StoreError
from mmencode.index import lance
from mmencode.index.pending import NewRows
from mmencode.testing import fake_specs

REBUILD = """
import shutil
shutil.rmtree(path)
with Index.create(path, space) as index:
    index.add("text", ["new one", "new two"])
"""


@pytest.fixture
def foreign(space):
    """Another space of equal width."""
    with Space("other", fake_specs("other"), runtime=space.runtime) as foreign:
        assert (foreign.dim, foreign.id != space.id) == (space.dim, True)
        yield foreign


def every_use(index, vectors):
    query = vectors("q")[:1]
    return {
        "add vectors": lambda: index.add_embeddings(vectors("late")),
        "add": lambda: index.add("text", ["late"]),
        "search": lambda: index.search_embeddings(query, 3),
        "search of many": lambda: index.search_embeddings(vectors("q", "r", "s", "t", "u", "v"), 3),
        "centred": lambda: index.search_embeddings(query, 3, centred=True),
        "rows": index.rows,
        "delete": lambda: index.delete("true"),
        "delete keys": lambda: index.delete(keys=["new one"]),
        "failures": index.failures,
        "compact": index.compact,
        "length": lambda: len(index),
        "state": index.state,
        "recall": index.recall,
        "modalities": lambda: index.modalities,
    }


def refused(uses, match):
    for name, use in uses.items():
        with pytest.raises(StoreError, match=match):
            use()
        assert name


@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_a_rebuilt_index_refuses_the_old_handle_in_every_use(index, space, vectors, count):
    """Whatever number of commits the new one has: LanceDB's caches go by path and version."""
    index.add_embeddings(vectors("old a", "old b"))
    index.search_embeddings(vectors("q"), 2)
    shutil.rmtree(index.path)
    with Index.create(index.path, space) as new:
        for number in range(count):
            new.add_embeddings(vectors(f"new {number}", seed=number))
        refused(every_use(index, vectors), "replaced by another one")
        assert [key[:3] for key in new.rows().embeddings.keys] == ["new"] * count
    with Index.open(index.path, space=space) as again:
        assert len(again) == count


def test_an_index_of_another_space_in_the_old_folder_never_answers_the_old_handle(index, foreign, vectors):
    index.add_embeddings(vectors("old a", "old b"))
    shutil.rmtree(index.path)
    with Index.create(index.path, foreign) as new:
        rows = np.eye(8, dtype=np.float32)[:2]
        new.add_embeddings(Embeddings(rows, space=foreign.id, modality="image", keys=["new a", "new b"]))
        refused(every_use(index, vectors), "replaced by another one")
        assert new.rows().embeddings.space == foreign.id
        np.testing.assert_array_equal(new.rows().embeddings.vectors, rows)


def test_an_index_that_another_process_rebuilt_refuses_the_old_handle(other, index, vectors):
    index.add("text", ["old one", "old two"])
    other.run(REBUILD, index.path)
    refused(every_use(index, vectors), "replaced by another one")


def test_another_index_moved_into_the_place_refuses_the_old_handle_until_its_own_is_back(
    index, space, vectors, tmp_path
):
    index.add_embeddings(vectors("old a"))
    with Index.create(tmp_path / "second", space) as second:
        second.add_embeddings(vectors("new a"))
    index.path.rename(tmp_path / "away")
    (tmp_path / "second").rename(index.path)
    refused(every_use(index, vectors), "replaced by another one")
    index.path.rename(tmp_path / "second")
    (tmp_path / "away").rename(index.path)
    assert index.rows().embeddings.keys == ("old a",)
    index.add_embeddings(vectors("old b"))
    assert index.rows().embeddings.keys == ("old a", "old b")


def test_a_copy_from_a_backup_is_the_same_index_with_the_rows_that_it_has(index, vectors, tmp_path):
    index.add_embeddings(vectors("a", "b"))
    shutil.copytree(index.path, tmp_path / "backup")
    index.add_embeddings(vectors("c", seed=1))
    assert index.add_embeddings(vectors("a", seed=2)).replaced == 1
    shutil.rmtree(index.path)
    shutil.copytree(tmp_path / "backup", index.path)
    assert index.rows().embeddings.keys == ("a", "b")
    assert index.add_embeddings(vectors("c", seed=3)).replaced == 0  # no memory of the row that is gone
    assert index.rows().embeddings.keys == ("a", "b", "c")


def test_tables_in_place_of_others_under_the_same_names_are_noticed(index, space, vectors, tmp_path):
    """As a synchronising tool leaves them, which writes into the folders that are there."""
    index.add_embeddings(vectors("old a"))
    with Index.create(tmp_path / "second", space) as second:
        second.add_embeddings(vectors("new a"))
    for path in sorted((tmp_path / "second").rglob("*")):
        target = index.path / path.relative_to(tmp_path / "second")
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    refused(every_use(index, vectors), "replaced by another one")


@pytest.mark.parametrize("table", ["rows.lance", "failures.lance"])
def test_one_table_of_another_index_is_refused_open_and_when_opened(index, space, vectors, tmp_path, table):
    index.add_embeddings(vectors("a"))
    with Index.create(tmp_path / "second", space) as second:
        second.add_embeddings(vectors("b"))
    shutil.rmtree(index.path / table)
    shutil.copytree(tmp_path / "second" / table, index.path / table)
    refused(every_use(index, vectors), "replaced by another one")
    with pytest.raises(StoreError, match="aren't those of one index"):
        Index.open(index.path, space=space)


def test_a_card_of_another_space_is_refused(index, foreign, vectors, tmp_path):
    index.add_embeddings(vectors("a"))
    with Index.create(tmp_path / "second", foreign):
        pass
    shutil.copyfile(tmp_path / "second" / "card.json", index.path / "card.json")
    with pytest.raises(StoreError, match="its card is that of"):
        Index.open(index.path)
    assert "other" in json.loads((index.path / "card.json").read_text())["name"]


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_folder_that_is_gone_is_a_store_error_in_every_use(index, vectors, tmp_path, how):
    index.add_embeddings(vectors("a"))
    if how == "removed":
        shutil.rmtree(index.path)
    else:
        index.path.rename(tmp_path / "elsewhere")
    refused(every_use(index, vectors), "isn't there|lock can't be opened")
    assert not index.path.exists()


def test_an_index_by_two_paths_has_one_lock_and_the_same_rows(index, space, vectors, tmp_path):
    (tmp_path / "link").symlink_to(index.path, target_is_directory=True)
    with Index.open(tmp_path / "link", space=space) as linked:
        linked.add_embeddings(vectors("a"))
        index.add_embeddings(vectors("b"))
        assert linked.rows().embeddings.keys == index.rows().embeddings.keys == ("a", "b")


def test_an_index_of_an_older_format_says_that_it_must_be_made_again(index, vectors):
    import lancedb

    schema = index._store.rows.schema
    index.close()
    database = lancedb.connect(str(index.path))
    old = schema.with_metadata({"mmencode.index": "1"})
    database.create_table("rows", schema=old, mode="overwrite")
    with pytest.raises(StoreError, match=r"index of format 2(?s:.*)make the index again"):
        Index.open(index.path)


def overtake(index, folder):
    """Put the second index in the place of the first, behind every look at whose tables these are."""
    index.path.rename(folder / "away")
    (folder / "second").rename(index.path)


@pytest.mark.skipif(not lance._BY_HANDLE, reason="only Linux has folders by number")
def test_what_is_being_written_never_ends_up_in_an_index_that_takes_the_place_meanwhile(
    index, space, vectors, tmp_path
):
    index.add_embeddings(vectors("old a"))
    with Index.create(tmp_path / "second", space) as second:
        second.add_embeddings(vectors("new a"))
    replaced = pytest.raises(StoreError, match="replaced by another one")
    with replaced, index._store.writing() as writer:
        overtake(index, tmp_path)
        writer.put_rows(NewRows(["old b"], "image"), vectors("old b"))
    with Index.open(index.path, space=space) as new:
        assert new.rows().embeddings.keys == ("new a",)


@pytest.mark.skipif(not lance._BY_HANDLE, reason="only Linux has folders by number")
@pytest.mark.parametrize("where", [None, "key = 'new a'"])
def test_a_deletion_that_an_index_overtakes_reaches_none_of_its_rows(index, space, vectors, tmp_path, where):
    index.add_embeddings(vectors("new a"))
    with Index.create(tmp_path / "second", space) as second:
        second.add_embeddings(vectors("new a"))
    replaced = pytest.raises(StoreError, match="replaced by another one")
    with replaced, index._store.writing() as writer:
        overtake(index, tmp_path)
        writer.delete_rows(["new a"]) if where is None else writer.delete_rows_where(where)
    with Index.open(index.path, space=space) as new:
        assert new.rows().embeddings.keys == ("new a",)
