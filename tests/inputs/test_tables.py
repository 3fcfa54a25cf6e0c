from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmencode.errors import InputError, MissingPackageError
from mmencode.inputs.tables import item_in_folder, read_pairs

ROWS = [
    ("a.png", "a dog, running"),
    ("b.png", 'it says "stop"'),
    ("c d.png", "naïve café – 日本"),
    ("e.png", "two\nlines"),
]


def write(path, rows, header=("image", "caption")):
    """A table of these rows in the format of the path's ending."""
    if path.suffix == ".parquet":
        arrow = pytest.importorskip("pyarrow", reason="reads Parquet")
        from pyarrow import parquet

        columns = {name: [row[i] for row in rows] for i, name in enumerate(header)}
        parquet.write_table(arrow.table(columns), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    else:
        quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in [header, *rows]]
        path.write_text("\r\n".join(quoted), encoding="utf-8", newline="")
    return path


@pytest.fixture(params=["csv", "jsonl", "parquet"])
def table(request, tmp_path):
    return tmp_path / f"pairs.{request.param}"


def error_of(path, columns=None):
    with pytest.raises(InputError) as caught:
        list(read_pairs(path, columns))
    assert str(path) in str(caught.value)
    assert "remedy:" in str(caught.value)
    return caught.value


def test_rows_come_as_they_are_written_in_order(table):
    assert list(read_pairs(write(table, ROWS))) == ROWS


def test_path_may_be_a_string(table):
    assert list(read_pairs(str(write(table, ROWS)))) == ROWS


def test_columns_are_chosen_by_name_in_either_order(table):
    rows = [(a, b, a.upper()) for a, b in ROWS]
    write(table, rows, ("image", "caption", "more"))
    assert list(read_pairs(table)) == ROWS
    assert list(read_pairs(table, ("more", "image"))) == [(c, a) for a, _, c in rows]


@pytest.mark.parametrize("empty", [("", "a"), ("a.png", "")])
def test_row_with_an_empty_value_is_named_by_its_number_and_column(table, empty):
    error = error_of(write(table, [*ROWS, empty, *ROWS]))
    assert error.fact == f"row 4 has no {'caption' if empty[0] else 'image'!r}, of image, caption"
    assert error.index == 4


def test_rows_before_a_bad_one_are_given(table):
    rows = read_pairs(write(table, [*ROWS, ("", "")]))
    assert [next(rows) for _ in ROWS] == ROWS


def test_column_that_is_not_there_is_said_with_those_that_are(table):
    error = error_of(write(table, ROWS), ("image", "captions"))
    assert error.fact == "row 0 has no 'captions', of image, caption"


def test_one_column_makes_no_pairs(table):
    error = error_of(write(table, [("a",)], ("image",)))
    assert error.fact == "it has the columns ['image'], and pairs need two"


def test_table_without_rows_has_no_pairs(table):
    assert list(read_pairs(write(table, []))) == []


def test_missing_file_is_said(table):
    if table.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="reads Parquet")
    assert "No such file" in error_of(table).fact


def test_file_that_is_something_else_is_said(table):
    if table.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="reads Parquet")
    table.write_bytes(b"\xff\xfe\x00\x80 nothing to read")
    assert "it can't be read" in error_of(table).fact


@pytest.mark.parametrize("name", ["pairs.txt", "pairs", "pairs.csv.gz", ".csv"])
def test_ending_that_is_not_known_is_said_at_once(tmp_path, name):
    with pytest.raises(ValueError, match=r"its ending must be one of \.csv, \.jsonl, \.parquet"):
        read_pairs(tmp_path / name)


def test_ending_may_be_in_capitals(tmp_path):
    write(tmp_path / "pairs.csv", ROWS).rename(tmp_path / "PAIRS.CSV")
    assert list(read_pairs(tmp_path / "PAIRS.CSV")) == ROWS


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_mark_of_the_byte_order_is_no_part_of_the_first_name(tmp_path, kind):
    path = write(tmp_path / f"pairs.{kind}", ROWS)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert list(read_pairs(path, ("image", "caption"))) == ROWS


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_empty_lines_are_no_rows(tmp_path, kind):
    path = write(tmp_path / f"pairs.{kind}", [*ROWS[:2], ("", "x")])
    path.write_bytes(path.read_bytes().replace(b"\n", b"\n\n"))
    assert error_of(path).index == 2


def test_comma_without_quotes_never_cuts_a_caption(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("image,caption\na.png,a dog\nb.png,a cat, asleep\n")
    error = error_of(path)
    assert error.fact.startswith("row 1 has more values than the header has names")
    assert error.index == 1


def test_csv_row_that_ends_early_is_named(tmp_path):
    path = tmp_path / "pairs.csv"
    path.write_text("image,caption\na.png,a dog\nb.png\n")
    assert error_of(path).index == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"image": "b.png", "caption": ', "row 1 isn't JSON: Expecting value"),
        ("b.png a cat", "row 1 isn't JSON: Expecting value"),
        ("[" * 100_000, "row 1 isn't JSON: "),
        ('["b.png", "a cat"]', "row 1 isn't a JSON object"),
        ("null", "row 1 isn't a JSON object"),
        ('{"image": "b.png"}', "row 1 has no 'caption', of image"),
        ('{"image": "b.png", "caption": null}', "row 1 has no 'caption', of image, caption"),
    ],
    ids=lambda value: value[:20],
)
def test_line_that_is_no_row_is_named(tmp_path, line, said):
    path = tmp_path / "pairs.jsonl"
    path.write_text(f'{{"image": "a.png", "caption": "a dog"}}\n{line}\n')
    error = error_of(path)
    assert error.fact.startswith(said)
    assert error.index == 1


def test_values_of_json_lines_keep_their_types(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"a": 0, "b": [1, 2]}\n{"a": false, "b": {"c": 3}}')
    assert list(read_pairs(path)) == [(0, [1, 2]), (False, {"c": 3})]


def test_bytes_in_parquet_stay_bytes(tmp_path):
    path = write(tmp_path / "pairs.parquet", [(b"\x89PNG", "a dog")])
    assert list(read_pairs(path)) == [(b"\x89PNG", "a dog")]


@pytest.mark.parametrize("package", ["pyarrow", "pyarrow.parquet"])
def test_parquet_without_its_package_says_the_pip_line(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=r"pip install 'mmencode\[arrow\]'"):
        list(read_pairs(tmp_path / "pairs.parquet"))


cells = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\x00"), min_size=1)


@given(st.lists(st.tuples(cells, cells), max_size=8))
def test_any_text_survives_in_csv_and_json_lines(tmp_path_factory, rows):
    for kind in ("csv", "jsonl"):
        path = write(tmp_path_factory.getbasetemp() / f"any.{kind}", rows)
        assert list(read_pairs(path)) == rows


@pytest.mark.parametrize(
    ("item", "modality", "expected"),
    [
        ("a.png", "image", Path("top/a.png")),
        ("sub/a.wav", "audio", Path("top/sub/a.wav")),
        ("/data/a.png", "image", Path("/data/a.png")),
        ("a.png", "text", "a.png"),
        (b"bytes", "image", b"bytes"),
        ("https://example.org/a.png", "image", "https://example.org/a.png"),
    ],
)
def test_file_of_a_table_is_relative_to_it_and_nothing_else_is(item, modality, expected):
    assert item_in_folder(item, modality, Path("top")) == expected


NO_ENDS = "\u2028\u2029\x0c\x0b\x1c\x1d\x1e\x85"


def test_characters_that_others_call_line_ends_are_part_of_a_value(table):
    rows = [(f"{number}.png", f"red{sign}car") for number, sign in enumerate(NO_ENDS)]
    assert list(read_pairs(write(table, rows))) == rows
    if table.suffix == ".csv":
        table.write_text("a,b\n" + "\n".join(map(",".join, rows)), encoding="utf-8", newline="")
        assert list(read_pairs(table)) == rows


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_table_that_is_no_regular_file_is_refused_at_once(table, kind):
    if table.suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="reads Parquet")
    os.mkfifo(table) if kind == "pipe" else table.symlink_to("/dev/zero")
    assert "it is no regular file" in error_of(table).fact


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_a_line_that_never_ends_is_given_up(tmp_path, kind):
    path = write(tmp_path / f"pairs.{kind}", [*ROWS, ("f.png", "x" * 2**24)])
    assert "a line has more than 16777216 bytes" in error_of(path).fact


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = write(tmp_path / "pairs.csv", [("a.png", "a dog", "a cat")], ("image", "caption", "caption"))
    assert "two of its columns are called 'caption'" in error_of(path).fact


def parquet_of(path, column, **options):
    arrow = pytest.importorskip("pyarrow", reason="reads Parquet")
    from pyarrow import parquet

    captions = arrow.DictionaryArray.from_arrays(arrow.array([0] * column[0], arrow.int32()), [column[1]])
    parquet.write_table(arrow.table({"image": captions, "caption": captions}), path, **options)
    return path


def test_rows_that_are_runs_of_one_value_are_refused_before_they_are_made(tmp_path):
    path = parquet_of(tmp_path / "pairs.parquet", (1_000_000, "a.png"))
    assert path.stat().st_size < 100_000
    assert "its metadata claims 1000000 rows" in error_of(path).fact


def test_long_values_that_come_again_and_again_are_given_up(tmp_path):
    # Without Arrow's schema each row is read as a string of its own.
    path = parquet_of(
        tmp_path / "pairs.parquet", (2**12, "x" * 2**16), compression="zstd", store_schema=False
    )
    assert path.stat().st_size < 10_000
    assert "its rows unpack to more than" in error_of(path).fact


def test_a_value_that_unpacks_to_many_times_the_file_is_refused_before(tmp_path):
    path = parquet_of(tmp_path / "pairs.parquet", (2, "x" * (2**25 + 2**20)), compression="zstd")
    assert path.stat().st_size < 10_000
    assert "its metadata claims" in error_of(path).fact
