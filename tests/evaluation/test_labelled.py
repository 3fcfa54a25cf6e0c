"""Labelled items and pairs, read from folders and tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmencode import evaluation
from mmencode.errors import InputError
from mmencode.evaluation import LeftOut, read_labelled_folder, read_labelled_table, read_paired_table

HEADER = ("file", "label", "kind")


def test_each_folder_is_a_class_with_its_files_in_order(photos):
    found = read_labelled_folder(photos)
    assert found.labels == ("cat",) * 5 + ("fire engine",) * 3 + ("n01",) * 2
    assert found.items[0] == photos / "cat" / "0.png"
    assert found.origin.keys[-1] == "n01/1.png"


def test_file_beside_the_classes_is_left_out_and_said(photos):
    assert read_labelled_folder(photos).origin.left_out == (
        LeftOut("README.md", "it lies outside the folders of classes"),
    )


def test_files_in_folders_below_a_class_are_of_it(photos):
    (photos / "cat" / "more").mkdir()
    (photos / "cat" / "0.png").rename(photos / "cat" / "more" / "0.png")
    assert read_labelled_folder(photos).origin.keys[4] == "cat/more/0.png"


def test_class_without_items_is_refused(photos):
    (photos / "dog").mkdir()
    with pytest.raises(InputError, match="class 'dog' has no files") as caught:
        read_labelled_folder(photos)
    assert "remove the folder" in str(caught.value)


def test_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(InputError, match="the folder has no folders of classes"):
        read_labelled_folder(tmp_path)


def test_folder_of_texts_is_refused(photos):
    with pytest.raises(ValueError, match=r"folders have items of image, audio.*, not 'text'"):
        read_labelled_folder(photos, "text")


def test_names_take_the_place_of_folders(photos, table):
    names = table(("folder", "name"), ("n01", "tench"), ("cat", "cat"), ("fire engine", "lorry"), ("x", "y"))
    found = read_labelled_folder(photos, names=names)
    assert sorted(set(found.labels)) == ["cat", "lorry", "tench"]
    assert found.origin.keys == read_labelled_folder(photos).origin.keys


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("n01", "tench")], "it has no name for 'cat', 'fire engine'"),
        ([("n01", "crane"), ("cat", "crane"), ("fire engine", "x")], "it gives two classes the name 'crane'"),
        ([("n01", "tench"), ("n01", "fish")], "it gives 'n01' two names"),
    ],
)
def test_names_that_do_not_fit_are_refused(photos, table, rows, said):
    with pytest.raises(InputError, match=said):
        read_labelled_folder(photos, names=table(("folder", "name"), *rows))


def test_first_two_columns_of_a_table_are_file_and_label(table):
    path = table(HEADER, ("a.png", "cat", "x"), ("sub/b.png", " dog ", "y"))
    found = read_labelled_table(path)
    assert found.items == (path.parent / "a.png", path.parent / "sub/b.png")
    assert found.labels == ("cat", "dog")
    assert found.origin.keys == ("a.png", "sub/b.png")
    assert found.origin.source == f"{path}, columns 'file' and 'label'"


def test_columns_are_chosen_by_name(table):
    path = table(("kind", "label", "file"), ("x", "cat", "a.png"))
    found = read_labelled_table(path, items="file", labels="kind")
    assert (found.items, found.labels) == ((path.parent / "a.png",), ("x",))
    assert read_labelled_table(path, items="file").labels == ("x",)


def test_rows_with_an_empty_cell_are_left_out_and_nothing_shifts(table):
    path = table(HEADER, ("a.png", "", "1"), ("b.png", "cat", "2"), ("", "dog", "3"), ("d.png", "dog", ""))
    found = read_labelled_table(path)
    assert list(zip(found.origin.keys, found.labels, strict=True)) == [("b.png", "cat"), ("d.png", "dog")]
    assert found.origin.left_out == (
        LeftOut("row 0", "no value in 'label'"),
        LeftOut("row 2", "no value in 'file'"),
    )


def test_row_that_stands_there_before_is_left_out(table):
    found = read_labelled_table(
        table(HEADER, ("a.png", "cat", ""), ("./a.png", "cat", ""), ("b.png", "cat", ""))
    )
    assert found.origin.keys == ("a.png", "b.png")
    assert found.origin.left_out == (LeftOut("row 1", "an earlier row has the same item and label"),)


def test_item_with_two_labels_is_refused(table):
    with pytest.raises(InputError, match=r"row 1 gives 'a\.png' the label 'dog', and a row before it 'cat'"):
        read_labelled_table(table(HEADER, ("a.png", "cat", ""), ("a.png", "dog", "")))


@pytest.mark.parametrize("read", [read_labelled_table, read_paired_table])
def test_table_without_rows_is_refused(table, read):
    with pytest.raises(InputError, match="the table has no rows"):
        read(table(HEADER))


@pytest.mark.parametrize("columns", [{"labels": "colour"}, {"items": "colour"}])
def test_table_without_that_column_says_those_that_it_has(table, columns):
    with pytest.raises(InputError, match="the table has no column 'colour'") as caught:
        read_labelled_table(table(HEADER, ("a.png", "cat", "x")), **columns)
    assert "file, label, kind" in str(caught.value)


@pytest.mark.parametrize("read", [read_labelled_table, read_paired_table])
def test_table_of_one_column_is_refused(table, read):
    with pytest.raises(InputError, match=r"the table has no column '(label|caption)'"):
        read(table(("file",), ("a.png",)))


def test_labels_may_be_numbers_and_later_rows_may_have_more_columns(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"file": "a.png"}\n{"file": "b.png", "label": 3}\n')
    found = read_labelled_table(path)
    assert found.labels == ("3",)
    assert found.origin.left_out == (LeftOut("row 0", "no value in 'label'"),)


@pytest.mark.parametrize("row", [{"file": 3, "label": "x"}, {"file": "a.png", "label": ["x"]}])
@pytest.mark.parametrize("read", [read_labelled_table, read_paired_table])
def test_cell_of_another_kind_is_refused(tmp_path, read, row):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(row))
    if read is read_paired_table and row["label"] == ["x"]:
        assert read(path).pairs[0][1] == "x"
        return
    with pytest.raises(InputError, match="row 0 has"):
        read(path)


def test_texts_are_items_as_they_stand(table):
    found = read_labelled_table(table(("text", "label"), ("./a dog", "animal")), "text")
    assert (found.items, found.origin.keys) == (("./a dog",), ("./a dog",))


def test_pairs_are_rows_with_the_template_around_the_caption(table):
    path = table(HEADER, ("a.png", "cat", "x"), ("a.png", "pet", "y"))
    found = read_paired_table(path, template="a photo of a {label}")
    assert found.pairs == (
        (path.parent / "a.png", "a photo of a cat"),
        (path.parent / "a.png", "a photo of a pet"),
    )
    assert found.origin.keys == ("a.png", "a.png")
    assert found.origin.source.endswith("columns 'file', 'label' as 'a photo of a {label}'")


def test_several_columns_of_captions_are_several_pairs(table):
    path = table(("file", "caption_1", "caption_2"), ("a.wav", "rain", ""), ("b.wav", "wind", "a storm"))
    found = read_paired_table(path, "audio", captions=["caption_1", "caption_2"])
    assert [(Path(item).name, caption) for item, caption in found.pairs] == [
        ("a.wav", "rain"),
        ("b.wav", "wind"),
        ("b.wav", "a storm"),
    ]
    assert found.origin.left_out == (LeftOut("row 0", "no value in 'caption_2'"),)


def test_list_of_captions_is_several_pairs(tmp_path):
    path = tmp_path / "t.jsonl"
    path.write_text('{"file": "a.png", "captions": ["one", "two", " "]}\n{"file": "b.png", "captions": []}')
    found = read_paired_table(path)
    assert [caption for _, caption in found.pairs] == ["one", "two"]
    assert [row.source for row in found.origin.left_out] == ["row 0", "row 1"]


def test_template_without_its_slot_is_refused(table):
    with pytest.raises(ValueError, match=r'no "\{label\}" in it'):
        read_paired_table(table(HEADER, ("a.png", "cat", "")), template="a photo")


def test_two_classes_of_one_name_stay_two_where_they_are_to_be_kept(tmp_path):
    for name in ("n1", "n2", "n3"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "a.png").touch()
    names = tmp_path / "names.csv"
    names.write_text("folder,name\nn1,maillot\nn2,crane\nn3,maillot\n")
    with pytest.raises(InputError, match="two classes the name 'maillot'") as raised:
        read_labelled_folder(tmp_path / "data", names=names)
    assert "--duplicates keep" in raised.value.remedy
    found = read_labelled_folder(tmp_path / "data", names=names, duplicates="keep")
    assert found.labels == (0, 1, 2)
    assert found.classes == ("maillot", "crane", "maillot")
    table = tmp_path / "table.csv"
    table.write_text("file,kind\nx,n3\ny,n1\nz,n3\n")
    found = read_labelled_table(table, names=names, duplicates="keep")
    assert (found.labels, found.classes) == ((1, 0, 1), ("maillot", "maillot"))


@pytest.mark.parametrize("name", ["labelled_folder", "labelled_table", "paired_table"])
def test_former_name_of_a_reader_is_there_for_a_release(name):
    with pytest.warns(DeprecationWarning, match=f"is called read_{name} now"):
        assert getattr(evaluation, name) is getattr(evaluation, f"read_{name}")


def test_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'labeled_folder'"):
        _ = evaluation.labeled_folder
