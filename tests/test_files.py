"""Files and folders appear whole or not at all, under names that nobody else has."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from mmencode._atomic import content_aside, file_aside, folder_aside, open_regular


def test_a_file_appears_when_the_block_ends_well(tmp_path):
    with file_aside(tmp_path / "a") as aside:
        aside.write_bytes(b"new")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a").read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_a_block_that_fails_leaves_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"old")

    def save():
        with file_aside(tmp_path / "a") as aside:
            aside.write_bytes(b"half")
            raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        save()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_threads_that_save_one_path_leave_one_of_their_files_whole(tmp_path):
    together = threading.Barrier(8, timeout=60)

    def save(number):
        with file_aside(tmp_path / "a") as aside:
            together.wait()
            aside.write_bytes(bytes([number]) * 100_000)
            together.wait()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(save, range(8)))
    content = (tmp_path / "a").read_bytes()
    assert len(content) == 100_000
    assert len(set(content)) == 1
    assert os.listdir(tmp_path) == ["a"]


def test_a_target_that_is_a_link_is_replaced_and_not_followed(tmp_path):
    (tmp_path / "victim").write_bytes(b"mine")
    (tmp_path / "a").symlink_to(tmp_path / "victim")
    with file_aside(tmp_path / "a") as aside:
        aside.write_bytes(b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "a").read_bytes() == b"new"


def test_a_name_of_the_longest_length_can_be_written(tmp_path):
    with file_aside(tmp_path / ("x" * 255)) as aside:
        aside.write_bytes(b"new")
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"


def test_a_folder_that_appeared_meanwhile_is_left_as_it_is(tmp_path):
    def make():
        with folder_aside(tmp_path / "a") as aside:
            aside.mkdir()
            (tmp_path / "a").mkdir()
            (tmp_path / "a" / "old").touch()

    with pytest.raises(FileExistsError, match="there already"):
        make()
    assert os.listdir(tmp_path) == ["a"]
    assert os.listdir(tmp_path / "a") == ["old"]


def test_the_content_of_an_empty_folder_appears_at_once_and_the_folder_stays_the_same(tmp_path):
    target = tmp_path / "a"
    target.mkdir()
    before = target.stat().st_ino
    with content_aside(target) as aside:
        (aside / "inner").mkdir(parents=True)
        (aside / "inner" / "file").write_bytes(b"new")
        assert not os.listdir(target)
    assert (target / "inner" / "file").read_bytes() == b"new"
    assert target.stat().st_ino == before
    assert os.listdir(tmp_path) == ["a"]


def test_a_block_that_fails_leaves_an_empty_folder_empty(tmp_path):
    target = tmp_path / "a"
    target.mkdir()

    def fill():
        with content_aside(target) as aside:
            aside.mkdir()
            (aside / "half").write_bytes(b"half")
            raise ValueError("midway")

    with pytest.raises(ValueError, match="midway"):
        fill()
    assert os.listdir(target) == []
    assert os.listdir(tmp_path) == ["a"]


def test_a_folder_is_no_regular_file_to_open(tmp_path):
    with pytest.raises(OSError, match="it is no regular file"), open_regular(tmp_path):
        pass
