"""Which files of a folder are taken, and that the others are counted."""

from __future__ import annotations

import os
import sys

import pytest

from mmencode.inputs import walking
from mmencode.inputs.walking import Walk, endings_of, summary

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")


@pytest.fixture
def top(tmp_path):
    """A folder of files with the names of some; what they hold doesn't matter here."""
    top = tmp_path / "top"
    for name in ("a.jpg", "sub/b.PNG", "sub/.c.jpg", ".store/d.jpg", "e.mp3", "f.txt", "g"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).touch()
    return top


def taken(walk):
    return [os.path.relpath(path, walk.folder) for path in walk]


def test_files_come_in_order_and_the_others_are_counted_by_reason(top):
    walk = Walk(str(top), "image")
    assert taken(walk) == ["a.jpg", os.path.join("sub", "b.PNG")]
    assert walk.left_out == {
        "with the ending .mp3": 1,
        "with the ending .txt": 1,
        "without an ending": 1,
        "hidden": 1,
        "hidden folders": 1,
    }


def test_files_of_another_modality_that_is_walked_for_are_not_left_out(top):
    walk = Walk(str(top), "image", others=["audio"])
    list(walk)
    assert "with the ending .mp3" not in walk.left_out


@pytest.mark.parametrize("ending", [".jfif", ".jpe", ".pjpeg", ".JFIF"])
def test_every_ending_of_jpeg_is_taken(tmp_path, ending):
    (tmp_path / f"a{ending}").touch()
    assert taken(Walk(str(tmp_path), "image")) == [f"a{ending}"]


@pytest.mark.parametrize(
    ("modality", "ending", "module", "package"),
    [
        ("image", ".heic", "pillow_heif", "pillow-heif"),
        ("image", ".jxl", "pillow_jxl", "pillow-jxl-plugin"),
        ("audio", ".m4a", "av", "av"),
    ],
)
def test_what_another_package_reads_is_taken_with_it_and_counted_without(
    tmp_path, monkeypatch, modality, ending, module, package
):
    (tmp_path / f"a{ending}").touch()
    monkeypatch.setattr(walking, "find_spec", lambda name: None)
    without = Walk(str(tmp_path), modality)
    assert taken(without) == []
    assert f"pip install {package}" in summary(without.left_out)
    monkeypatch.setattr(walking, "find_spec", lambda name: name == module or None)
    assert taken(Walk(str(tmp_path), modality)) == [f"a{ending}"]
    assert ending in endings_of(modality)


@needs_links
def test_links_out_of_the_folder_are_followed_only_when_asked_for(top, tmp_path):
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "x.jpg").touch()
    (top / "folder").symlink_to(tmp_path / "outside", target_is_directory=True)
    (top / "file.jpg").symlink_to(tmp_path / "outside" / "x.jpg")
    (top / "nowhere.jpg").symlink_to(tmp_path / "nothing.jpg")
    walk = Walk(str(top), "image")
    assert taken(walk) == ["a.jpg", os.path.join("sub", "b.PNG")]
    assert walk.left_out["links out of the folder"] == 3
    followed = taken(Walk(str(top), "image", follow_links=True))
    assert set(followed) >= {"file.jpg", "nowhere.jpg", os.path.join("folder", "x.jpg")}


@needs_links
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="only Linux has /proc")
def test_a_link_to_the_root_of_the_machine_is_not_walked(top):
    (top / "root").symlink_to("/", target_is_directory=True)
    (top / "proc").symlink_to("/proc", target_is_directory=True)
    walk = Walk(str(top), "image")
    assert len(taken(walk)) == 2
    assert walk.left_out["links out of the folder"] == 2


@needs_links
def test_a_link_within_the_folder_takes_nothing_twice(top):
    (top / "again.jpg").symlink_to("a.jpg")
    (top / "sub" / "up").symlink_to(top, target_is_directory=True)
    walk = Walk(str(top), "image")
    assert len(taken(walk)) == 2
    assert walk.left_out["links within the folder"] == 2


@needs_links
def test_a_link_to_a_hidden_file_of_the_folder_is_that_files_only_name(top):
    (top / "kept.jpg").symlink_to(os.path.join(".store", "d.jpg"))
    assert "kept.jpg" in taken(Walk(str(top), "image"))


@needs_links
def test_a_folder_named_by_a_link_is_walked(top, tmp_path):
    (tmp_path / "link").symlink_to(top, target_is_directory=True)
    walk = Walk(str(tmp_path / "link"), "image")
    assert len(taken(walk)) == 2
    assert not any("link" in reason for reason in walk.left_out)


def test_the_summary_names_the_most_frequent_reasons_first():
    counted = {f"with the ending .{letter}": 1 for letter in "abcdefghij"} | {"hidden": 5}
    said = summary(counted)
    assert said.startswith("5 hidden, 1 with the ending .a")
    assert said.endswith("3 for other reasons")
