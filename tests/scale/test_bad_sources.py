"""What is wrong with a source or an output as a whole is one sentence, before anything is encoded."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmencode import Embeddings
from mmencode.errors import InputError, StoreError
from mmencode.scale import embed

PARQUETS = {
    "lacks": (pa.table({"caption": ["a"]}), "no column 'text'; there are caption"),
    "numbers": (pa.table({"text": [1]}), "'text' holds int64, and so no items of text"),
    "lists": (pa.table({"text": [["a"]]}), "holds list<.*>, and so no items of text"),
    "keys": (pa.table({"text": ["a"], "key": [1.5]}), "'key' holds double, and so no keys"),
    "twice": (pa.table([["a"], ["b"]], names=["text", "text"]), "two of its columns are called 'text'"),
}
TEXTS = {
    "a.csv": ("caption\na\n", "no column 'text'; there are caption"),
    "b.csv": ("text,text\na,b\n", "two of its columns are called 'text'"),
    "c.jsonl": ('{"caption": "a"}\n[]\n{"title": "b"}\n', "no column 'text'; there are caption, title"),
}


def refuse(source, folder, space, message, **asked):
    with pytest.raises(InputError, match=message) as caught:
        embed(str(source), str(folder / "out"), "text", space=space, **asked)
    assert str(source) in caught.value.source
    assert caught.value.remedy
    assert not (folder / "out").exists()


@pytest.mark.parametrize("name", PARQUETS)
def test_parquet_without_items_is_refused(space, tmp_path, name):
    table, message = PARQUETS[name]
    pq.write_table(table, tmp_path / "a.parquet")
    refuse(tmp_path / "a.parquet", tmp_path, space, message)


@pytest.mark.parametrize("name", TEXTS)
def test_a_table_without_items_is_refused(space, tmp_path, name):
    content, message = TEXTS[name]
    (tmp_path / name).write_text(content)
    refuse(tmp_path / name, tmp_path, space, message)


def test_a_column_of_keys_that_is_not_there_is_refused(space, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}')
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.parquet"):
        refuse(tmp_path / name, tmp_path, space, "no column 'number'", key="number")


def test_one_table_of_several_without_the_column_is_named(space, tmp_path):
    folder = tmp_path / "tables"
    folder.mkdir()
    (folder / "a.csv").write_text("text\na\n")
    (folder / "b.csv").write_text("caption\na\n")
    with pytest.raises(InputError, match="no column 'text'") as caught:
        embed(str(folder), str(tmp_path / "out"), "text", space=space)
    assert caught.value.source == str(folder / "b.csv")


def test_rows_that_mix_types_are_failures_and_other_columns_are_not_read(space, tmp_path):
    (tmp_path / "a.jsonl").write_text('{"key": "a", "text": "a"}\n{"key": "b", "text": 1}\n{"key": "c"}\n')
    report = embed(str(tmp_path / "a.jsonl"), str(tmp_path / "out"), "text", space=space)
    assert (report.vectors, report.failures) == (1, 2)
    others = pa.array([[{"deep": 1}], None])
    pq.write_table(
        pa.table({"key": ["a", "b"], "text": ["a", None], "other": others}), tmp_path / "b.parquet"
    )
    report = embed(str(tmp_path / "b.parquet"), str(tmp_path / "out2"), "text", space=space)
    assert (report.vectors, report.failures) == (1, 1)


def test_texts_of_every_type_of_arrow_are_items(space, tmp_path):
    words = ["one", "two"]
    for number, kind in enumerate((pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string()))):
        pq.write_table(pa.table({"text": pa.array(words).cast(kind)}), tmp_path / f"{number}.parquet")
        report = embed(
            str(tmp_path / f"{number}.parquet"), str(tmp_path / f"out{number}"), "text", space=space
        )
        assert (report.vectors, report.failures) == (2, 0)
        (part,) = (tmp_path / f"out{number}" / "vectors").iterdir()
        assert Embeddings.load(part).keys == (f"{number}.parquet#0", f"{number}.parquet#1")


def test_two_files_of_one_name_are_refused(space, tmp_path, monkeypatch):
    from mmencode.scale.storage import Disk

    (tmp_path / "a.csv").write_text("text\na\n")
    find = Disk.find

    def find_twice(disk, source, modality):
        (file,) = find(disk, source, modality)
        return [file, type(file)("elsewhere/a.csv", file.name, 1, "")]

    monkeypatch.setattr(Disk, "find", find_twice)
    refuse(tmp_path / "a.csv", tmp_path, space, "two of its files are called 'a.csv'")


def test_a_full_disk_is_one_sentence_and_costs_nothing(space, tmp_path, monkeypatch):
    (tmp_path / "a.jsonl").write_text('{"key": "a", "text": "one"}')
    write = Path.write_bytes

    def fill(path, content):
        if "vectors" in str(path):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", fill)
        with pytest.raises(StoreError, match="the disk is full"):
            embed(str(tmp_path / "a.jsonl"), str(tmp_path / "out"), "text", space=space)
    assert list((tmp_path / "out" / "vectors").iterdir()) == []
    assert embed(str(tmp_path / "a.jsonl"), str(tmp_path / "out"), "text", space=space).vectors == 1
