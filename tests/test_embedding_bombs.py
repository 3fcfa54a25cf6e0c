"""Files of vectors from anywhere take no more than a few times their own size, or are refused by name."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
import zipfile
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec

import numpy as np
import pytest
from safetensors.numpy import save_file

from mmencode.embeddings.embeddings import Embeddings, Quantised
from mmencode.embeddings.files import ARRAYS, TABLES
from mmencode.errors import InputError

FACTS = {"format": "mmencode-embeddings-1", "space": "a@1", "modality": "text", "errors": "[]"}
NEEDS_ARROW = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="tables need pyarrow: pip install 'mmencode[arrow]'"
)
SUFFIXES = [
    *ARRAYS,
    *(pytest.param(suffix, marks=NEEDS_ARROW) for suffix in TABLES),
]


def refused(path, words, load=Embeddings.load):
    """That the file is refused for this reason, with little memory taken.

    Arrow's memory isn't traced, and its threads, which call the file, don't bear that tracing stops.
    """
    with (
        pytest.raises(InputError, match=words) as raised,
        traced() if path.suffix in ARRAYS else nullcontext(),
    ):
        load(path)
    assert raised.value.source == str(path)
    assert len(str(raised.value)) < 2000


@contextmanager
def traced():
    tracemalloc.start()
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 24 * 2**20


def arrays(path, facts=None, **content):
    """A file of these arrays and facts."""
    content = {"vectors": np.eye(2, dtype=np.float32), "positions": np.arange(2), **content}
    facts = {**FACTS, **(facts or {})}
    if path.suffix == ".npz":
        np.savez(path, metadata=np.array(json.dumps(facts)), **content)
    else:
        save_file(content, path, facts)
    return path


def table(path, facts=None, **columns):
    """A file of these columns and facts."""
    import pyarrow as pa

    vectors = pa.array(np.eye(2, dtype=np.float32).tolist(), pa.list_(pa.float32(), 2))
    content = {"key": ["a", "b"], "position": [0, 1], "vector": vectors, **columns}
    made = pa.table(content).replace_schema_metadata({**FACTS, **(facts or {})})
    if path.suffix == ".parquet":
        pa.parquet.write_table(made, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, made.schema) as writer:
            writer.write_table(made)
    return path


def made(path, facts=None, **content):
    if path.suffix in ARRAYS:
        return arrays(path, facts, **content)
    import pyarrow as pa
    import pyarrow.parquet

    vectors = content.get("vectors", np.eye(2, dtype=np.float32))
    column = pa.array(vectors.tolist(), pa.list_(pa.float32(), vectors.shape[1]))
    return table(path, facts, vector=column, position=content.get("positions", np.arange(2)))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_vectors_that_are_not_finite_are_refused(tmp_path, suffix, wrong):
    vectors = np.eye(2, dtype=np.float32)
    vectors[1, 0] = wrong
    refused(made(tmp_path / f"x{suffix}", vectors=vectors), "vectors aren't all finite numbers: row 1")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_positions_below_zero_are_refused(tmp_path, suffix):
    refused(made(tmp_path / f"x{suffix}", positions=np.array([0, -2])), "positions are .*, and one is -2")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "errors",
    [
        "[" * 100_000,
        "{}",
        "[1]",
        '[{"fact": 1, "source": "a"}]',
        '[{"fact": "a", "source": "a", "index": -1}]',
        '[{"fact": "a", "source": "a", "fault": "yours"}]',
        '[{"fact": "a", "source": "a", "__class__": "b"}]',
        '[{"source": "a"}]',
    ],
)
def test_errors_that_are_none_are_refused(tmp_path, suffix, errors):
    refused(
        made(tmp_path / f"x{suffix}", {"errors": errors}), "can't be read: (one of )?(its errors|maximum rec)"
    )


@pytest.mark.parametrize("fact", ["space", "modality", "errors"])
@pytest.mark.parametrize("value", [3, None, ["a@1"], {"a": 1}])
def test_facts_that_are_no_text_are_refused(tmp_path, fact, value):
    refused(arrays(tmp_path / "x.npz", {fact: value}), f"its {fact} is .*, which is no text")


@pytest.mark.parametrize("facts", ["[]", "3", '"a"', "[" * 100_000, "9" * 100_000])
def test_facts_that_are_no_object_are_refused(tmp_path, facts):
    np.savez(tmp_path / "x.npz", metadata=np.array(facts))
    refused(tmp_path / "x.npz", "can't be read: .")


@pytest.mark.parametrize("name", ["vectors", "keys", "metadata", "positions"])
def test_an_archive_that_unpacks_to_many_times_its_size_is_refused_before(tmp_path, name):
    content = {
        "vectors": np.zeros((2, 2), np.float32),
        "positions": np.arange(2),
        "metadata": np.array(json.dumps(FACTS)),
        name: np.zeros(2**25, np.uint8),
    }
    np.savez_compressed(tmp_path / "x.npz", **content)
    assert (tmp_path / "x.npz").stat().st_size < 2**20
    refused(tmp_path / "x.npz", "its 33[0-9]* bytes would unpack to 335[0-9]+")


def test_an_archive_whose_other_members_are_large_is_read_without_them(tmp_path):
    np.savez_compressed(
        tmp_path / "x.npz",
        vectors=np.eye(2, dtype=np.float32),
        positions=np.arange(2),
        metadata=np.array(json.dumps(FACTS)),
        more=np.zeros(2**25, np.uint8),
    )
    assert len(Embeddings.load(tmp_path / "x.npz")) == 2


def npy(shape, descr="<f4", content=b""):
    header = repr({"descr": descr, "fortran_order": False, "shape": shape}).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content


@pytest.mark.parametrize(
    "member",
    [
        npy((2**40,)),
        npy((2**40, 0)),
        npy((-1, 2), content=bytes(8)),
        npy((2, 2), content=bytes(15)),
        npy((2, 2), content=bytes(17)),
        npy((2, 2), "|V9", bytes(16)),
        npy((2, 2), "|O", bytes(32)),
        b"\x93NUMPY\x03\x00",
        b"",
    ],
)
def test_an_array_that_is_not_what_its_header_says_is_refused(tmp_path, member):
    arrays(tmp_path / "good.npz")
    with zipfile.ZipFile(tmp_path / "good.npz") as good, zipfile.ZipFile(tmp_path / "x.npz", "w") as bad:
        for name in ("metadata.npy", "positions.npy"):
            bad.writestr(name, good.read(name))
        bad.writestr("vectors.npy", member)
    refused(tmp_path / "x.npz", "can't be read: .")


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_packed_in_a_way_that_no_array_is_is_refused(tmp_path, kind):
    arrays(tmp_path / "good.npz")
    with (
        zipfile.ZipFile(tmp_path / "good.npz") as good,
        zipfile.ZipFile(tmp_path / "x.npz", "w", kind) as bad,
    ):
        for name in good.namelist():
            bad.writestr(name, good.read(name))
    refused(tmp_path / "x.npz", "compressed in a way that no array is")


@pytest.mark.parametrize("length", [2**25 + 1, 2**40, 2**64 - 1])
def test_a_header_that_is_longer_than_any_is_refused(tmp_path, length):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    os.truncate(path, 2**26)
    refused(path, f"its header has {length} bytes")


@NEEDS_ARROW
def test_rows_that_are_runs_of_one_value_are_refused_before_they_are_made(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    count, dim = 200_000, 64
    runs = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["a"]))
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(count * dim, np.float32)), dim)
    content = {"key": runs.cast(pa.string()), "position": np.zeros(count, np.int64), "vector": vectors}
    parquet.write_table(
        pa.table(content).replace_schema_metadata(FACTS), tmp_path / "x.parquet", compression="zstd"
    )
    assert (tmp_path / "x.parquet").stat().st_size < 2**20
    refused(tmp_path / "x.parquet", "would unpack to 54400000")


@NEEDS_ARROW
def test_a_long_key_that_comes_again_and_again_is_made_once(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    path, count = table(tmp_path / "x.parquet"), 2000
    vectors = pa.FixedSizeListArray.from_arrays(
        pa.array(np.tile(np.eye(1, 2, dtype=np.float32), count)[0]), 2
    )
    key = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), ["x" * 2**20])
    content = pa.table({"key": key, "position": np.arange(count), "vector": vectors})
    parquet.write_table(content.replace_schema_metadata(FACTS), path, compression="none")
    assert path.stat().st_size < 2**21
    loaded = Embeddings.load(path)
    assert set(loaded.keys) == {"x" * 2**20}
    assert len(set(map(id, loaded.keys))) == 1


@NEEDS_ARROW
@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_arrow_files_are_refused_before_they_are_unpacked(tmp_path, compression):
    import pyarrow as pa

    path = table(tmp_path / "x.arrow")
    packed = pa.ipc.open_file(path).read_all()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, packed.schema, options=options) as writer:
        writer.write_table(packed)
    refused(path, "it is compressed or has dictionaries")


@NEEDS_ARROW
@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_columns_of_other_types_are_refused(tmp_path, suffix):
    import pyarrow as pa
    import pyarrow.parquet

    for columns in (
        {"key": pa.nulls(2)},
        {"key": [1, 2]},
        {"vector": [[1.0, 0.0], [0.0, 1.0]]},
        {"vector": pa.array([[1.0, 0.0], [0.0, 1.0]], pa.list_(pa.float64(), 2))},
        {"position": [0.0, 1.0]},
        {"position": ["a", "b"]},
    ):
        refused(table(tmp_path / f"x{suffix}", **columns), "can't be read: its (keys|vectors|positions) are")


@NEEDS_ARROW
def test_an_arrow_file_whose_end_lists_other_batches_is_refused(tmp_path):
    import pyarrow as pa

    path = tmp_path / "x.arrow"
    one = pa.ipc.open_file(table(path)).read_all()
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, one.schema) as writer:
        writer.write_table(one)
        writer.write_table(one)
    content = path.read_bytes()
    start = pa.BufferReader(content[8:])
    reader = pa.ipc.MessageReader.open_stream(start)
    reader.read_next_message(), reader.read_next_message()
    first = 8 + start.tell()
    shorter = content[:first] + struct.pack("<II", 0xFFFFFFFF, 0) + content[first + 8 :]
    path.write_bytes(shorter)
    refused(path, "it has 1 batches, and lists 2")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("load", [Embeddings.load, Quantised.load])
@pytest.mark.parametrize("kind", ["pipe", "device", "link to a device"])
def test_pipes_and_devices_are_refused_at_once(tmp_path, suffix, load, kind):
    if load is Quantised.load and suffix not in ARRAYS:
        pytest.skip("codes are kept as arrays")
    path = tmp_path / f"x{suffix}"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/zero" if kind == "device" else "/dev/null")
    refused(path, "it is no regular file", load)


@pytest.mark.parametrize("suffix", list(ARRAYS))
@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"dim": "-3"}, "no width"),
        ({"dim": "9" * 5000}, "no width"),
        ({"dim": "٣"}, "no width"),
        ({"dim": "0"}, "dim is 0"),
        ({"kind": "float2"}, "no kind 'float2'"),
    ],
)
def test_codes_that_say_nonsense_are_refused(tmp_path, suffix, changed, words):
    path = tmp_path / f"x{suffix}"
    facts = {"format": "mmencode-codes-1", "kind": "binary", "dim": "3", "space": "a@1", "modality": "text"}
    content = {"codes": np.zeros((2, 1), np.uint8), "positions": np.arange(2)}
    arrays(path, {**facts, **changed}, **content)
    refused(path, words, Quantised.load)


@pytest.mark.parametrize("suffix", list(ARRAYS))
def test_codes_at_positions_below_zero_are_refused(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    facts = {"format": "mmencode-codes-1", "kind": "binary", "dim": "3"}
    arrays(path, facts, codes=np.zeros((2, 1), np.uint8), positions=np.array([-1, 0]))
    refused(path, "one is -1", Quantised.load)
