from __future__ import annotations

import os

import pytest

from mmencode.cli.items import gather
from mmencode.errors import InputError, MmencodeError


def _names(folder, batch):
    return [os.path.relpath(item, folder) for item in batch]


def test_folder_gives_its_files_of_the_modality_sorted_and_no_hidden_ones(folder):
    found = gather("image", [str(folder)])
    assert _names(folder, found.batch) == ["a.png", "b.JPG", "broken.png", os.path.join("sub", "c.png")]
    assert found.errors == []


def test_loop_of_links_is_harmless_and_each_folder_is_taken_once(folder):
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "sub" / "up").symlink_to(folder / "sub", target_is_directory=True)
    assert len(gather("image", [str(folder)]).batch) == 4


def test_named_file_is_taken_whatever_its_ending(folder):
    note = str(folder / "note.txt")
    assert gather("image", [note]).batch == [note]


def test_folder_that_cannot_be_listed_is_an_error_of_that_folder(folder, monkeypatch):
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = gather("image", [str(folder)])
    assert len(found.batch) == 3
    assert [error.source for error in found.errors] == [str(folder / "sub")]


def test_empty_folder_is_an_error_that_says_what_counts(tmp_path):
    with pytest.raises(MmencodeError, match=r"(?s)no audio files in .*\.wav \.wave \.flac"):
        gather("audio", [str(tmp_path)])


def test_lines_of_a_file_are_items_and_blank_ones_are_not(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\ufefffirst\n\n  \nsecond line\r\n", encoding="utf-8")
    assert gather("text", ["zeroth"], lines).batch == ["zeroth", "first", "second line"]


def test_file_of_blank_lines_or_of_other_bytes_is_an_error(tmp_path):
    lines = tmp_path / "lines.txt"
    lines.write_text("\n\n")
    with pytest.raises(MmencodeError, match="every line is blank"):
        gather("text", [], lines)
    lines.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InputError, match="can't be read"):
        gather("text", [], lines)


NO_ENDS = "\u2028\u2029\x0c\x0b\x1c\x1d\x1e\x85"


def test_a_line_with_characters_that_others_call_line_ends_is_one_item(run_json, tmp_path):
    words = [f"red{sign}car" for sign in NO_ENDS]
    (tmp_path / "lines.txt").write_text("\r\n".join(words), encoding="utf-8", newline="")
    assert gather("text", [], tmp_path / "lines.txt").batch == words
    document = run_json("encode", "text", "--file", tmp_path / "lines.txt", "-o", tmp_path / "x.npz")
    assert document["rows"] == words
    piped = run_json("encode", "text", "-", "-o", tmp_path / "x.npz", input="\n".join(words))
    assert piped["rows"] == words


def test_a_list_that_never_ends_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr("mmencode.cli.lists.MOST", 1000)
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(InputError, match="it has more than 1000 bytes"):
        gather("text", [], tmp_path / "endless")
