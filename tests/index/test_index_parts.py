"""An index that follows files which hold several items."""

from __future__ import annotations

import os
from dataclasses import replace

import leaflets
import numpy as np
import pytest

from mmencode import Index, Space
from mmencode.engine.runtime import Runtime
from mmencode.errors import InputError


@pytest.fixture
def opened(tmp_path, install):
    install(leaves=(leaflets.SPEC, *leaflets.SPECS))
    leaflets.counted.clear()
    runtime = Runtime("cpu", "float32", batch_size=4, workers=2)
    with (
        Space("fake", leaflets.SPECS, runtime=runtime) as space,
        Index.create(tmp_path / "index", space) as index,
    ):
        yield index


@pytest.fixture
def folder(tmp_path):
    """Two files of three leaves and of one, both changed long ago, and a single one."""
    top = tmp_path / "leaflets"
    top.mkdir()
    write(top / "a.leaves", "red\ngreen\nblue")
    write(top / "b.leaves", "black")
    write(top / "c.leaf", "white")
    return top


def write(path, content, seconds=1):
    path.write_text(content)
    os.utime(path, (seconds, seconds))


def names(index):
    return [os.path.basename(key) for key in index.rows().embeddings.keys]


ALL = ["a.leaves#line=1", "a.leaves#line=2", "a.leaves#line=3", "b.leaves#line=1", "c.leaf"]


@pytest.fixture
def encoded(opened, monkeypatch):
    """The names of the items that are encoded from now on."""
    seen = []
    stream = type(opened.space).stream

    def watched(space, modality, items, **options):
        return stream(
            space, modality, (seen.append(os.path.basename(item)) or item for item in items), **options
        )

    monkeypatch.setattr(type(opened.space), "stream", watched)
    return seen


def test_each_item_has_a_row_with_its_own_vector(opened, folder):
    done = opened.sync(folder)
    assert (done.added, done.failed) == (5, ())
    assert names(opened) == ALL
    rows = opened.rows().embeddings
    expected = opened.space.encode("text", ["red", "green", "blue", "black", "white"])
    np.testing.assert_allclose(rows.vectors, expected.vectors, atol=1e-6)


def test_unchanged_files_are_neither_opened_nor_encoded_again(opened, folder, encoded):
    opened.sync(folder)
    leaflets.counted.clear()
    encoded.clear()
    done = opened.sync(folder)
    assert (done.added, done.unchanged, done.removed) == (0, 5, 0)
    assert (leaflets.counted, encoded) == ([], [])


def test_a_touched_file_is_hashed_once_and_nothing_is_encoded(opened, folder, encoded, monkeypatch):
    opened.sync(folder)
    encoded.clear()
    leaflets.counted.clear()
    os.utime(folder / "a.leaves", (2, 2))
    hashed = []
    from mmencode.index import looking

    plain = looking.stamp_of_file
    monkeypatch.setattr(looking, "stamp_of_file", lambda path, most: hashed.append(path) or plain(path, most))
    assert opened.sync(folder).unchanged == 5
    assert (leaflets.counted, encoded, len(hashed)) == ([], [], 1)
    assert opened.sync(folder).unchanged == 5
    assert len(hashed) == 1  # the new time was noted


def test_a_file_that_grows_or_shrinks_has_the_rows_that_it_has(opened, folder, encoded):
    opened.sync(folder)
    encoded.clear()
    write(folder / "a.leaves", "red\nviolet", 5)
    write(folder / "b.leaves", "black\ngrey", 5)
    done = opened.sync(folder)
    assert (done.added, done.removed) == (4, 1)
    assert names(opened) == [
        "a.leaves#line=1",
        "a.leaves#line=2",
        "b.leaves#line=1",
        "b.leaves#line=2",
        "c.leaf",
    ]
    assert len(encoded) == 4
    expected = opened.space.encode("text", ["red", "violet", "black", "grey", "white"])
    np.testing.assert_allclose(opened.rows().embeddings.vectors, expected.vectors, atol=1e-6)


def test_what_a_file_has_no_longer_goes_even_where_missing_files_are_kept(opened, folder):
    opened.sync(folder)
    write(folder / "a.leaves", "red", 5)
    (folder / "b.leaves").unlink()
    done = opened.sync(folder, missing="keep")
    assert (done.added, done.removed) == (1, 2)
    assert names(opened) == ["a.leaves#line=1", "b.leaves#line=1", "c.leaf"]


def test_a_removed_file_takes_all_its_rows_and_counts_as_one(opened, folder):
    write(folder / "a.leaves", "x\n" * 30)
    opened.sync(folder)
    (folder / "a.leaves").unlink()
    assert opened.sync(folder).removed == 30  # though it had nearly all of the rows
    assert names(opened) == ALL[3:]


def test_files_that_are_all_gone_are_no_reason_to_remove_rows(opened, folder):
    opened.sync(folder)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(InputError, match="3 of 3 files"):
        opened.sync(folder)
    assert names(opened) == ALL


@pytest.mark.parametrize("content", ["!torn", "?", "raise", "many", "x\n" * 60])
def test_a_file_that_cant_be_counted_is_a_failure_and_keeps_its_rows(opened, folder, content):
    opened.sync(folder)
    write(folder / "a.leaves", content, 5)
    done = opened.sync(folder)
    assert [os.path.basename(failure.key) for failure in done.failed] == ["a.leaves"]
    assert (done.added, done.unchanged, done.removed) == (0, 2, 0)
    assert names(opened) == ALL
    assert opened.failures() == done.failed
    again = opened.sync(folder)
    assert [failure.key for failure in again.failed] == [failure.key for failure in done.failed]
    assert names(opened) == ALL


def test_a_torn_file_isnt_opened_again_until_it_changes(opened, folder):
    write(folder / "a.leaves", "!torn")
    opened.sync(folder)
    leaflets.counted.clear()
    assert len(opened.sync(folder).failed) == 1
    assert leaflets.counted == []
    opened.sync(folder, retry=True)
    assert leaflets.counted == ["a.leaves"]
    write(folder / "a.leaves", "red\ngreen\nblue", 5)
    done = opened.sync(folder)
    assert (done.added, done.failed, opened.failures()) == (3, (), ())
    assert names(opened) == ALL


def test_a_bad_item_hurts_no_other_and_is_tried_again_once_its_file_changes(opened, folder, encoded):
    write(folder / "a.leaves", "red\nbad\nblue")
    done = opened.sync(folder)
    assert [os.path.basename(failure.key) for failure in done.failed] == ["a.leaves#line=2"]
    assert names(opened) == [ALL[0], *ALL[2:]]
    encoded.clear()
    opened.sync(folder)
    assert encoded == []
    write(folder / "a.leaves", "red\ngreen\nblue", 5)
    assert opened.sync(folder).failed == ()
    assert names(opened) == ALL


def test_a_row_that_was_deleted_comes_back(opened, folder):
    opened.sync(folder)
    opened.delete(keys=[folder / "a.leaves#line=2"])
    assert opened.sync(folder).added == 1
    assert names(opened) == ALL


def test_an_interrupted_sync_goes_on_with_the_rest(opened, folder, monkeypatch):
    from mmencode.index import filling

    write(folder / "a.leaves", "".join(f"line {number}\n" for number in range(40)))
    monkeypatch.setattr(filling, "CHUNK", 4)
    monkeypatch.setattr(filling, "SECONDS", 0.0)
    commit, commits = filling.Filling._commit, []

    def until(self, parts, sent):
        if len(commits) == 3:
            raise KeyboardInterrupt
        commits.append(parts)
        return commit(self, parts, sent)

    monkeypatch.setattr(filling.Filling, "_commit", until)
    with pytest.raises(KeyboardInterrupt):
        opened.sync(folder)
    monkeypatch.setattr(filling.Filling, "_commit", commit)
    before = len(opened)
    assert 0 < before < 42
    done = opened.sync(folder)
    assert (done.unchanged, done.added) == (before, 42 - before)


def test_items_that_are_added_by_name_are_those_of_a_sync(opened, folder, encoded):
    keys = [folder / "a.leaves#line=1", folder / "a.leaves#line=2"]
    assert opened.add("leaf", keys).added == 2
    assert opened.add("leaf", keys).unchanged == 2
    encoded.clear()
    done = opened.sync(folder)
    assert (done.added, done.unchanged) == (3, 2)
    leaflets.counted.clear()
    assert opened.sync(folder).unchanged == 5
    assert leaflets.counted == []  # the number of items was noted


def test_an_item_without_its_number_is_refused_with_the_remedy(opened, folder):
    with pytest.raises(InputError, match="it has 3 lines"):
        opened.add("leaf", [folder / "a.leaves"])


def test_thousands_of_items_are_never_held_at_once(opened, folder, monkeypatch):
    write(folder / "a.leaves", "x\n" * 15_000)
    install_limit = replace(opened.space.limits, declared={"leaf.lines": 20_000})
    monkeypatch.setattr(opened.space, "limits", install_limit)
    from mmencode.index import filling

    most = 0
    find = filling.Filling._send_changed

    def watched(self, entries, sent):
        nonlocal most
        for item in find(self, entries, sent):
            most = max(most, len(sent))
            yield item

    monkeypatch.setattr(filling.Filling, "_send_changed", watched)
    assert opened.sync(folder).added == 15_002
    assert most < 9000


def test_a_key_that_names_another_item_of_the_same_file_is_encoded_again(opened, folder, encoded):
    leaves = [f"{folder / 'a.leaves'}#line={number}" for number in (1, 2)]
    for item, count in ((leaves[0], 1), (leaves[0], 0), (leaves[1], 1)):
        assert opened.add("leaf", [item], keys=["mine"]).added == count
    assert encoded == ["a.leaves#line=1", "a.leaves#line=2"]
    expected = opened.space.encode("leaf", leaves[1:]).vectors
    np.testing.assert_allclose(opened.rows().embeddings.vectors, expected, atol=1e-6)
