"""Columns are batches; tables, single items and other things are said not to be."""

from __future__ import annotations

import io
import sys
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pandas
import pyarrow
import pytest
import torch

from mmencode.arguments.columns import column_of, columns_of
from mmencode.errors import InputError
from mmencode.inputs import Waveform
from mmencode.inputs.batches import as_items, as_iterable
from mmencode.testing import sample_items

TEXTS = ["a dog", "a cat", "a red car"]
INDEX = [7, 0, "x"]  # of a Series, whose labels are no places


def numpy_strings(values):
    return np.array(values, dtype=np.dtypes.StringDType()) if hasattr(np.dtypes, "StringDType") else values


COLUMNS = {
    "a Series": lambda values: pandas.Series(values, index=INDEX),
    "a Series of strings": lambda values: pandas.Series(values, index=INDEX, dtype="string"),
    "a Series of Arrow's strings": lambda values: pandas.Series(values, dtype="string[pyarrow]"),
    "a categorical Series": lambda values: pandas.Series(values, dtype="category"),
    "an Index": pandas.Index,
    "an extension array": lambda values: pandas.array(values, dtype="string"),
    "an object array": lambda values: np.array(values, dtype=object),
    "an array of strings": np.array,
    "an array of strings of any length": numpy_strings,
    "an Arrow array": pyarrow.array,
    "a chunked Arrow array": lambda values: pyarrow.chunked_array([values[:1], [], values[1:]]),
    "an encoded Arrow array": lambda values: pyarrow.array(values).dictionary_encode(),
    "an Arrow array of large strings": lambda values: pyarrow.array(values, pyarrow.large_string()),
    "the column of an Arrow table": lambda values: pyarrow.table({"a": values})["a"],
}


@pytest.mark.parametrize("kind", COLUMNS)
def test_column_is_a_batch_in_its_order(space, kind):
    column = COLUMNS[kind](TEXTS)
    assert list(as_items("text", column)) == TEXTS
    assert all(type(value) is str for value in as_items("text", column))
    found = space.encode("text", column)
    np.testing.assert_array_equal(found, space.encode("text", TEXTS))
    np.testing.assert_array_equal(np.concatenate(list(space.stream("text", column, chunk=2))), found)
    parts = space.features("text", column)
    assert [part.rows.shape for part in parts] == [(3, 8)]
    assert len(space.encode_tokens("text", column)) == 3


@pytest.mark.parametrize("missing", [None, float("nan"), pandas.NA, pandas.NaT])
@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_missing_value_is_an_error_of_its_own_item(space, modality, missing):
    good = sample_items(modality, 2)
    column = pandas.Series([good[0], missing, good[1]], index=[5, 6, 7], dtype=object)
    with pytest.raises(InputError) as caught:
        space.encode(modality, column)
    assert caught.value.index == 1
    found = space.encode(modality, column, on_error="skip")
    assert found.positions.tolist() == [0, 2]
    assert [error.index for error in found.errors] == [1]
    np.testing.assert_allclose(found, space.encode(modality, good), atol=1e-6)


def test_null_of_arrow_is_an_error_of_its_own_item(space):
    found = space.encode("text", pyarrow.array(["a", None, "b"]), on_error="skip")
    assert found.positions.tolist() == [0, 2]
    found = space.encode("text", pandas.Series(["a", None, "b"], dtype="string"), on_error="skip")
    assert found.positions.tolist() == [0, 2]


@pytest.mark.parametrize("kind", ["a Series", "an object array", "an Arrow array"])
def test_column_of_paths_is_a_batch_of_files(space, tmp_path, kind):
    paths = []
    for place, image in enumerate(sample_items("image", 3)):
        paths.append(str(tmp_path / f"{place}.png"))
        image.save(paths[-1])
    found = space.encode("image", COLUMNS[kind](paths))
    np.testing.assert_array_equal(found, space.encode("image", paths))


def test_column_of_bytes_is_a_batch_of_files(space):
    contents = []
    for image in sample_items("image", 2):
        image.save(buffer := io.BytesIO(), "PNG")
        contents.append(buffer.getvalue())
    np.testing.assert_array_equal(
        space.encode("image", pyarrow.array(contents)), space.encode("image", contents)
    )


@pytest.mark.parametrize("hold", [pandas.Series, lambda images: np.array([*images, None], object)[:-1]])
def test_images_themselves_may_be_a_column(space, hold):
    images = sample_items("image", 3)
    np.testing.assert_array_equal(space.encode("image", hold(images)), space.encode("image", images))


def test_long_column_is_read_a_block_at_a_time():
    values = [str(number) for number in range(2500)]
    column = as_iterable(pyarrow.chunked_array([values[:1100], values[1100:]]))
    assert not isinstance(column, list)
    assert (len(column), column[0], column[-1], column[1100]) == (2500, "0", "2499", "1100")
    assert list(column) == values
    with pytest.raises(IndexError, match="value 2500 of 2500"):
        column[2500]


def test_column_of_polars_is_a_batch(space):
    polars = pytest.importorskip("polars")
    column = polars.Series(["a dog", None, "a red car"])
    assert space.encode("text", column, on_error="skip").positions.tolist() == [0, 2]
    with pytest.raises(TypeError, match=r"one DataFrame with the columns 'a'.*batch\['a'\]"):
        space.encode("text", polars.DataFrame({"a": TEXTS}))
    with pytest.raises(TypeError, match=r"batch.collect\(\)\['a'\]"):
        space.encode("text", polars.DataFrame({"a": TEXTS}).lazy())


def test_no_library_is_imported_to_look_at_a_batch(monkeypatch):
    for name in ("pandas", "pyarrow", "polars"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert column_of(["a"]) is None
    assert columns_of(["a"]) is None
    assert not {"pandas", "pyarrow", "polars"} & set(sys.modules)


FRAME = pandas.DataFrame({"path": TEXTS, "year": [1, 2, 3]})
TABLES = {
    "a DataFrame": FRAME,
    "a DataFrame without names": pandas.DataFrame([TEXTS, TEXTS]),
    "an Arrow table": pyarrow.table({"path": TEXTS}),
    "an Arrow batch": pyarrow.record_batch({"path": TEXTS}),
    "a DataFrame with a name twice": pandas.DataFrame([["a", "b"]], columns=["path", "path"]),
    "Arrow's structs": pyarrow.array([{"path": "a", "year": 1}]),
    "a chunked array of structs": pyarrow.chunked_array([[{"path": "a", "year": 1}]]),
    "a dict of columns": {"path": TEXTS},
    "an ordered dict": OrderedDict(path=TEXTS),
    "a structured array": np.array([("a", 1)], dtype=[("path", "U9"), ("year", int)]),
    "records": np.rec.array([("a", 1)], dtype=[("path", "U9"), ("year", int)]),
}


def uses(space, batch):
    """All that takes a batch of one modality."""
    return {
        "encode": lambda: space.encode("text", batch),
        "stream": lambda: space.stream("text", batch),
        "features": lambda: space.features("text", batch),
        "encode_tokens": lambda: space.encode_tokens("text", batch),
        "classify": lambda: space.classifier(["a", "b"]).classify("text", batch),
    }


@pytest.mark.parametrize("kind", TABLES)
def test_table_is_no_batch_and_the_remedy_takes_a_column_of_it(space, kind):
    table = TABLES[kind]
    name = repr(columns_of(table)[0])
    for use in uses(space, table).values():
        with pytest.raises(TypeError, match=rf"with the columns {name}") as caught:
            use()
    remedy = str(caught.value).partition("; ")[2].partition(" one of")[0]
    import pyarrow.compute

    found = eval(remedy, {"encode": space.encode, "batch": table, "pyarrow": pyarrow})
    assert len(found) == len(table) or isinstance(table, dict)


@pytest.mark.parametrize("kind", TABLES)
def test_table_is_no_pairs(space, kind):
    with pytest.raises(
        TypeError, match=r"the pairs are one .* with the columns.*not a sequence of \(modality"
    ):
        space.encode_mixed(TABLES[kind])


def test_pairs_may_be_any_iterable(space):
    pairs = [("text", "a"), ("text", "b")]
    expected = space.encode_mixed(pairs)
    for other in (
        iter(pairs),
        tuple(pairs),
        pandas.Series(pairs, index=[3, 3]),
        zip("xx", "ab", strict=True),
    ):
        if isinstance(other, zip):
            other = [("text", item) for _, item in other]
        np.testing.assert_array_equal(space.encode_mixed(other), expected)
    with pytest.raises(TypeError, match="the pairs are one int"):
        space.encode_mixed(3)


async def coming():
    yield "a"


async def one():
    return "a"


@pytest.mark.parametrize(
    ("modality", "batch", "said"),
    [
        ("text", "a dog", "one str"),
        ("text", b"a dog", "one bytes"),
        ("image", Path("cat.jpg"), "one PosixPath" if sys.platform != "win32" else "one WindowsPath"),
        ("image", io.BytesIO(b"picture"), "one BytesIO"),
        ("text", io.StringIO("a\nb"), r"one StringIO.*\[line.rstrip\('\\n'\) for line in file\]"),
        ("text", {"b", "a"}, r"one set.*a set has no order: sorted\(batch\)"),
        ("text", frozenset("ab"), "one frozenset.*no order"),
        ("text", coming(), r"one async_generator.*\[item async for item in batch\]"),
        ("text", 3, "one int"),
        ("text", None, "one NoneType"),
        ("text", np.array("a dog"), r"one ndarray of no dimensions.*batch.item\(\)"),
        ("image", np.array(None, dtype=object), "one ndarray of no dimensions"),
        ("image", torch.tensor(3), "one Tensor of no dimensions"),
        ("audio", np.float32(3), "one float32"),
        ("text", np.array([["a", "b"]]), r"one table of the shape \(1, 2\).*batch\[:, 0\]"),
        ("image", np.array([["a", "b"]], object), r"one ndarray"),
        ("image", np.zeros((8, 8, 3), np.uint8), "one ndarray"),
        ("audio", np.zeros(16000), r"one clip, ndarray, without its rate.*\[\(samples, rate\)\]"),
        ("audio", torch.zeros(2, 16000), "one clip, Tensor, without its rate"),
        ("audio", Waveform(np.zeros(9, np.float32), 9), "one clip, Waveform"),
        ("audio", (np.zeros(16000), 16000), "one clip, samples and their rate"),
        ("audio", (torch.zeros(16000), 16000.0), "one clip, samples and their rate"),
        ("audio", (16000, np.zeros(16000)), "one clip, samples and their rate"),
        ("audio", (np.zeros(16000), np.int64(16000)), "one clip, samples and their rate"),
        ("audio", ([0.0, 0.1], 16000), "one clip, samples and their rate"),
        ("audio", [np.zeros(16000), 16000], "one clip, samples and their rate"),
        ("audio", [16000, torch.zeros(16000)], "one clip, samples and their rate"),
        (
            "audio",
            {"path": None, "array": np.zeros(9), "sampling_rate": 9},
            r"one clip, dict.*\[batch\]\) this one",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and len(value) < 30 else "",
)
def test_what_is_no_batch_is_said_to_be_none(space, modality, batch, said):
    match = rf"the batch is {said}"
    for use in (space.encode, space.stream, space.features):
        with pytest.raises(TypeError, match=match) as caught:
            use(modality, batch)
        assert f"not a sequence of items: encode({modality!r}, [item]) encodes a single one" in str(
            caught.value
        )


def test_coroutine_is_no_batch(space):
    coroutine = one()
    with pytest.raises(TypeError, match=r"one coroutine.*await it first"):
        space.encode("text", coroutine)
    coroutine.close()


def test_keys_and_values_of_a_dict_are_batches_in_its_order(space):
    expected = space.encode("text", TEXTS)
    np.testing.assert_array_equal(space.encode("text", dict.fromkeys(TEXTS, 1).keys()), expected)
    np.testing.assert_array_equal(space.encode("text", dict(enumerate(TEXTS)).values()), expected)


def test_reader_of_arrow_is_no_batch_and_the_remedy_takes_a_column_of_it(space):
    batch = pyarrow.table({"path": TEXTS}).to_reader()
    with pytest.raises(TypeError, match=r"one RecordBatchReader with.*batch.read_all\(\)\['path'\]"):
        space.encode("text", batch)
    assert len(space.encode("text", batch.read_all()["path"])) == 3


@pytest.mark.parametrize("pairs", [{("text", "a")}, np.array("a"), "text"])
def test_pairs_have_an_order(space, pairs):
    with pytest.raises(TypeError, match="the pairs are one"):
        space.encode_mixed(pairs)


def test_two_recordings_are_a_batch_however_they_come(space):
    clips = sample_items("audio", 2)
    expected = space.encode("audio", clips)
    for batch in (tuple(clips), iter(clips), (clip for clip in clips)):
        np.testing.assert_array_equal(space.encode("audio", batch), expected)


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_batch_of_batches_names_the_first_item(space, modality):
    items = sample_items(modality, 4)
    batches = (items[start : start + 2] for start in (0, 2))
    with pytest.raises(InputError, match="list") as caught:
        space.encode(modality, batches)
    assert caught.value.index == 0
