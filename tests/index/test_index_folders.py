"""An index that follows a folder."""

from __future__ import annotations

import os
import shutil
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from mmencode import Index, Limits, Space
from mmencode.errors import InputError
from mmencode.index import sync


def _names(index):
    return [os.path.basename(key) for key in index.rows().embeddings.keys]


@pytest.fixture
def encoded(index, monkeypatch):
    """The names of the files that are encoded from now on."""
    names = []
    stream = type(index.space).stream

    def watched(space, modality, items, **options):
        seen = (names.append(os.path.basename(item)) or item for item in items)
        return stream(space, modality, seen, **options)

    monkeypatch.setattr(type(index.space), "stream", watched)
    return names


def _draw(path, seed):
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)).save(path)


def test_files_are_rows_under_absolute_paths_and_bad_ones_failures(index, photos, space, monkeypatch):
    monkeypatch.chdir(photos.parent)
    done = index.sync("photos")
    assert (done.added, done.unchanged, done.removed) == (12, 0, 0)
    assert [failure.key for failure in done.failed] == [str(photos / "broken.png")]
    assert index.failures() == done.failed
    rows = index.rows().embeddings
    assert rows.keys[0] == str(photos / "00.png")
    np.testing.assert_allclose(rows.vectors, space.encode("image", rows.keys).vectors, atol=1e-6)


def test_second_time_nothing_is_encoded(index, photos, encoded):
    first = index.sync(photos)
    encoded.clear()
    second = index.sync(photos)
    assert (second.added, second.unchanged, second.failed) == (0, 12, first.failed)
    assert encoded == []


def test_touched_file_is_read_and_not_encoded_again(index, photos, encoded):
    index.sync(photos)
    encoded.clear()
    os.utime(photos / "00.png", (1, 1))
    assert index.sync(photos).unchanged == 12
    os.utime(photos / "01.png", (1, 1))
    assert index.sync(photos).unchanged == 12
    assert encoded == []


def test_changed_new_and_deleted_files_are_followed(index, photos, encoded, space):
    index.sync(photos)
    encoded.clear()
    _draw(photos / "00.png", 100)
    _draw(photos / "new.png", 101)
    (photos / "01.png").unlink()
    (photos / "broken.png").unlink()
    done = index.sync(photos)
    assert (done.added, done.unchanged, done.removed, done.failed) == (2, 10, 1, ())
    assert encoded == ["00.png", "new.png"]
    assert index.failures() == ()
    rows = index.rows().embeddings
    np.testing.assert_allclose(rows.vectors, space.encode("image", rows.keys).vectors, atol=1e-6)


def test_file_that_changes_within_its_time_and_size_is_noticed(index, photos, encoded):
    index.sync(photos)
    encoded.clear()
    path = photos / "00.png"
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-20] ^= 255  # the size stays
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    index.sync(photos)
    assert encoded == ["00.png"]


def test_mended_file_is_a_row_and_no_failure(index, photos):
    index.sync(photos)
    _draw(photos / "broken.png", 50)
    assert index.sync(photos).failed == ()
    assert index.failures() == ()
    assert "broken.png" in _names(index)


def test_broken_file_is_tried_again_on_demand_only(index, photos, encoded):
    index.sync(photos)
    encoded.clear()
    index.sync(photos, retry=True)
    assert encoded == ["broken.png"]


def test_rows_of_other_folders_and_vectors_that_were_given_stay(index, photos, tmp_path, vectors):
    other = tmp_path / "photos2"
    shutil.copytree(photos, other)
    index.sync(photos)
    index.sync(other)
    index.add_embeddings(vectors(str(photos / "given.png")))
    shutil.rmtree(photos)
    photos.mkdir()
    assert index.sync(photos, missing="remove").removed == 12
    assert len(index) == 13
    assert len(index.failures()) == 1


def test_rows_of_files_that_are_gone_are_kept_on_demand(index, photos):
    index.sync(photos)
    (photos / "01.png").unlink()
    assert index.sync(photos, missing="keep").removed == 0
    assert "01.png" in _names(index)


def test_a_folder_that_is_empty_of_a_sudden_removes_nothing_unless_asked(index, photos):
    """As a disk that isn't mounted looks."""
    index.sync(photos)
    before = index.rows().embeddings
    photos.rename(photos.with_name("elsewhere"))
    photos.mkdir()
    with pytest.raises(
        InputError, match=r"12 of 12 files .* aren't there.*is empty; their rows stay"
    ) as raised:
        index.sync(photos)
    assert 'missing="remove"' in raised.value.remedy
    np.testing.assert_array_equal(index.rows().embeddings.vectors, before.vectors)
    assert len(index.failures()) == 1
    assert index.sync(photos, missing="remove").removed == 12
    assert (len(index), index.failures()) == (0, ())


def test_a_folder_below_that_is_empty_of_a_sudden_removes_nothing_unless_asked(index, photos):
    index.sync(photos)
    for path in (photos / "sub").iterdir():
        path.unlink()
    with pytest.raises(InputError, match=r"2 of 12 files .*sub is empty"):
        index.sync(photos)
    assert len(index) == 12
    (photos / "sub").rmdir()  # which no disk does that isn't mounted
    assert index.sync(photos).removed == 2


def test_more_than_a_quarter_at_once_is_removed_only_on_demand(index, photos):
    index.sync(photos)
    for number in range(4):
        (photos / f"{number:02}.png").unlink()
    _draw(photos / "new.png", 101)
    with pytest.raises(InputError, match="4 of 13 files"):
        index.sync(photos)
    assert "new.png" in _names(index)  # what is there is indexed all the same
    _draw(photos / "00.png", 0)
    assert index.sync(photos).removed == 3


def test_a_row_whose_file_is_there_and_is_left_out_now_stays(index, photos, tmp_path):
    _draw(tmp_path / "outside.png", 7)
    (photos / "link.png").symlink_to(tmp_path / "outside.png")
    assert index.sync(photos, follow_links=True).added == 13
    done = index.sync(photos)
    assert (done.removed, done.left_out["links out of the folder"]) == (0, 1)
    assert "link.png" in _names(index)


def test_a_folder_and_a_link_to_it_are_one_folder(index, photos):
    link = photos.with_name("link")
    link.symlink_to(photos, target_is_directory=True)
    assert index.sync(photos).added == 12
    assert index.sync(link).unchanged == 12
    assert len(index) == 12


def test_a_word_for_missing_that_is_none_is_refused_before_anything(index, photos):
    with pytest.raises(ValueError, match='"few", "keep" or "remove"'):
        index.sync(photos, missing="all")
    assert len(index) == 0


def test_what_is_in_a_folder_that_cannot_be_listed_is_not_taken_for_gone(index, photos, monkeypatch):
    index.sync(photos)
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    done = index.sync(photos)
    assert done.removed == 0
    assert "it can't be listed: Permission denied" in [failure.reason for failure in done.failed]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' file names are text")
def test_names_that_are_no_utf_8_and_quotes_in_names_survive(index, photos):
    names = [b"\xff\xfe.png", "日本.png".encode(), b'it\'s "x".png', b"new\nline.png"]
    for place, name in enumerate(names):
        _draw(os.fsdecode(os.path.join(os.fsencode(photos), name)), place)
    assert index.sync(photos).added == 16
    assert index.sync(photos).unchanged == 16
    assert {os.fsencode(name) for name in _names(index)} >= set(names)
    for name in names:
        os.unlink(os.path.join(os.fsencode(photos), name))
    assert index.sync(photos).removed == 4


def test_links_that_loop_or_lead_nowhere_are_no_trouble(index, photos):
    (photos / "sub" / "up").symlink_to(photos, target_is_directory=True)
    (photos / "nowhere.png").symlink_to("nothing")
    (photos / "self.png").symlink_to("self.png")
    done = index.sync(photos)
    assert done.added == 12
    assert [os.path.basename(failure.key) for failure in done.failed] == ["broken.png"]
    done = index.sync(photos, follow_links=True)
    failed = {os.path.basename(failure.key) for failure in done.failed}
    assert failed == {"broken.png", "nowhere.png", "self.png"}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_pipe_in_a_folder_is_not_waited_for(index, photos):
    os.mkfifo(photos / "pipe.png")
    assert "not a regular file" in " ".join(failure.reason for failure in index.sync(photos).failed)


def test_thousands_of_unreadable_files_are_as_many_failures(index, tmp_path):
    folder = tmp_path / "bad"
    folder.mkdir()
    for number in range(3000):
        (folder / f"{number}.png").write_bytes(b"bad")
    assert len(index.sync(folder).failed) == 3000
    assert len(index.failures()) == 3000
    assert len(index.sync(folder).failed) == 3000


def test_row_and_failure_of_one_file_are_told_apart_by_its_content(index, photos, encoded):
    """As a process leaves them that is killed between its two commits."""
    index.sync(photos)
    store = index._store
    failure = store.failures.search().to_arrow()
    good, bad = str(photos / "00.png"), str(photos / "broken.png")
    for key in (good, bad):
        row = store.rows.search().where(f"key = '{good}'").to_arrow().to_pylist()[0]
        digest = "other" if key == good else failure.to_pylist()[0]["_hash"]
        store.failures.merge_insert("key").when_matched_update_all().when_not_matched_insert_all().execute(
            [{**failure.to_pylist()[0], "key": key, "_hash": digest}]
        )
        if key == bad:
            store.rows.add([{**row, "key": bad}])
    encoded.clear()
    done = index.sync(photos)
    assert (done.unchanged, encoded) == (12, [])
    assert [failure.key for failure in index.failures()] == [bad]
    assert bad not in index.rows().embeddings.keys


def test_metadata_stays_with_a_file_that_changes(index, photos):
    path = str(photos / "00.png")
    index.add("image", [path], metadata=[{"album": "one"}])
    _draw(path, 99)
    assert index.sync(photos).added == 12
    assert index.rows(f"key = '{path}'").metadata == ({"album": "one"},)


def test_folder_that_is_not_there_and_modalities_without_files_are_refused(index, photos):
    with pytest.raises(NotADirectoryError):
        index.sync(photos / "nothing")
    with pytest.raises(ValueError, match="not 'text'"):
        index.sync(photos, ["text"])


class _Broken(Exception):
    """What an encoder raises."""


@pytest.fixture
def preprocess(index, monkeypatch):
    """Have the image encoder's preprocess raise this error at files of these names."""
    encoder = type(index.space.tower("image").encoder)
    original = encoder.preprocess

    def do(error, *sizes):
        def failing(self, item):
            if item.size in sizes:
                raise error
            return original(self, item)

        monkeypatch.setattr(encoder, "preprocess", failing)

    return do


def _draw_wide(path, width=9):
    Image.fromarray(np.random.default_rng(width).integers(0, 256, (8, width, 3), np.uint8)).save(path)


@pytest.mark.parametrize(
    ("error", "fault", "kept"),
    [
        (_Broken("odd"), "encoder", True),
        (PermissionError(13, "Permission denied"), "access", True),
        (MemoryError(), "process", False),
        (OSError(28, "No space left on device"), "process", False),
    ],
)
def test_what_can_pass_leaves_the_older_row_and_is_tried_again(
    index, photos, encoded, preprocess, error, fault, kept, monkeypatch
):
    index.sync(photos)
    before = index.rows().embeddings
    _draw_wide(photos / "00.png")
    preprocess(error, (9, 8))
    done = index.sync(photos)
    assert [(failure.fault) for failure in done.failed if failure.key.endswith("00.png")] == [fault]
    np.testing.assert_array_equal(index.rows().embeddings.vectors, before.vectors)
    assert [failure.fault for failure in index.failures()] == [fault, "content"][1 - kept :]
    monkeypatch.undo()
    encoded_again = index.sync(photos)
    assert (encoded_again.added, encoded_again.replaced) == (1, 1)
    assert [failure.fault for failure in index.failures()] == ["content"]


def test_content_that_is_broken_now_takes_the_row_with_it(index, photos):
    index.sync(photos)
    (photos / "00.png").write_bytes(b"no image any more")
    done = index.sync(photos)
    assert {failure.fault for failure in done.failed} == {"content"}
    assert "00.png" not in _names(index)


def test_a_file_over_the_limit_is_not_read_and_is_taken_once_it_is_within(photos, space, tmp_path):
    small = Space("fake", space.specs.values(), limits=Limits(bytes=10**6), runtime=space.runtime)
    with open(photos / "huge.png", "wb") as file:
        file.truncate(2**40)  # a file of holes, whose hash would take an hour
    with Index.create(tmp_path / "small", small) as index:
        done = index.sync(photos)
        assert {os.path.basename(failure.key): failure.fault for failure in done.failed} == {
            "broken.png": "content",
            "huge.png": "limit",
        }
        _draw(photos / "huge.png", 40)
        assert index.sync(photos).added == 1


@pytest.mark.skipif(not os.path.exists("/proc/self/pagemap"), reason="only Linux has /proc")
def test_files_that_a_kernel_makes_up_end_when_they_say_so(index, tmp_path):
    (tmp_path / "odd").mkdir()
    for name in ("pagemap", "mem"):
        (tmp_path / "odd" / f"{name}.png").symlink_to(f"/proc/self/{name}")
    done = index.sync(tmp_path / "odd", follow_links=True)
    assert (done.added, len(done.failed)) == (0, 2)


def test_a_share_that_hangs_costs_its_file_alone(photos, space, tmp_path, monkeypatch):
    from mmencode.index import looking

    release = threading.Event()
    real = looking.stamp_of_file

    def hanging(path, most):
        if path.endswith("00.png"):
            release.wait(20)
        return real(path, most)

    monkeypatch.setattr(looking, "stamp_of_file", hanging)
    quick = Space("fake", space.specs.values(), limits=Limits(wait=0.3), runtime=space.runtime)
    with Index.create(tmp_path / "quick", quick) as index:
        done = index.sync(photos)
        release.set()
        assert done.added == 12  # only its hash isn't known, so that it will be looked at again
        assert index.sync(photos).unchanged == 11


def test_replaced_rows_are_counted(index, photos):
    first = index.sync(photos)
    _draw(photos / "00.png", 99)
    second = index.sync(photos)
    assert (first.replaced, second.added, second.replaced) == (0, 1, 1)


def test_the_function_of_earlier_releases_does_the_same(index, photos):
    done = sync(index, photos, ["image"], missing="keep")
    assert (done.added, len(done.failed)) == (12, 1)
    assert index.sync(photos).unchanged == 12
