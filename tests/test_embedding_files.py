from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from mmencode.embeddings.embeddings import Embeddings
from mmencode.embeddings.files import ARRAYS, FORMATS, TABLES
from mmencode.errors import InputError, MissingPackageError

NEEDS_ARROW = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="tables need pyarrow: pip install 'mmencode[arrow]'"
)
SUFFIXES = [pytest.param(suffix, marks=NEEDS_ARROW if suffix in TABLES else ()) for suffix in FORMATS]
ERROR = InputError("it is empty", source="a.jpg", remedy="fetch it", index=2)
EXAMPLES = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make(rows=5, dim=4, **options):
    vectors = np.random.default_rng(0).normal(size=(rows, dim)).astype(np.float32)
    return Embeddings(vectors, space="a@1", modality="text", **options)


def foreign(path):
    """Write a sound file of each format that isn't one of embeddings."""
    if path.suffix == ".safetensors":
        save_file({"vectors": np.zeros((2, 2), np.float32)}, path)
    elif path.suffix == ".npz":
        np.savez(path, vectors=np.zeros((2, 2), np.float32))
    else:
        import pyarrow as pa
        from pyarrow import feather, parquet

        table = pa.table({"key": ["a"], "vector": [[1.0, 2.0]]})
        (parquet.write_table if path.suffix == ".parquet" else feather.write_feather)(table, path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@EXAMPLES
@given(
    st.integers(0, 6),
    st.integers(1, 9),
    st.text(st.characters(codec="utf-8")),
    st.booleans(),
    st.integers(1, 3),
)
def test_file_restores_everything(tmp_path_factory, suffix, rows, dim, text, with_keys, step):
    path = tmp_path_factory.mktemp("e") / f"x{suffix}"
    error = InputError("fact", source=text, remedy="do", index=9)
    keys = [f"{text}{row}{text}" for row in range(rows)] if with_keys else None
    embeddings = make(rows, dim, positions=np.arange(rows) * 2, errors=[error], keys=keys)[::step]
    embeddings.save(path)
    loaded = Embeddings.load(path)
    np.testing.assert_array_equal(loaded.vectors, embeddings.vectors)
    np.testing.assert_array_equal(loaded.positions, embeddings.positions)
    assert (loaded.space, loaded.modality, loaded.keys) == ("a@1", "text", embeddings.keys)
    assert [vars(error) for error in loaded.errors] == [vars(error)]
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_vectors_of_a_file_can_be_written_to(tmp_path, suffix):
    make().save(tmp_path / f"x{suffix}")
    loaded = Embeddings.load(tmp_path / f"x{suffix}")
    loaded.torch()[0, 0] = 7
    assert loaded.vectors[0, 0] == 7


def test_suffix_may_be_in_capitals(tmp_path):
    make().save(tmp_path / "x.NPZ")
    assert len(Embeddings.load(tmp_path / "x.NPZ")) == 5


@pytest.mark.parametrize("use", [make().save, Embeddings.load])
@pytest.mark.parametrize("name", ["x.csv", "x", "x.npy"])
def test_another_suffix_is_refused_with_those_there_are(tmp_path, use, name):
    with pytest.raises(ValueError, match=r"one of \.safetensors, \.npz, \.parquet, \.arrow, \.feather$"):
        use(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("damage", ["missing", "empty", "nonsense", "first half", "folder"])
def test_damaged_file_is_an_input_error_that_names_it(tmp_path, suffix, damage):
    path = tmp_path / f"x{suffix}"
    make(50, keys=[f"{row}.jpg" for row in range(50)]).save(path)
    content = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        damaged = {"empty": b"", "nonsense": b"nonsense" * 9, "first half": content[: len(content) // 2]}
        path.write_bytes(damaged[damage])
    with pytest.raises(InputError, match=r"can't be read: .") as raised:
        Embeddings.load(path)
    assert raised.value.source == str(path)


@pytest.mark.parametrize("suffix", SUFFIXES)
@settings(EXAMPLES, max_examples=60, derandomize=True)
@given(st.data())
def test_a_changed_byte_never_raises_anything_else(tmp_path_factory, suffix, data):
    path = tmp_path_factory.mktemp("e") / f"x{suffix}"
    make(3, keys=["a", "b", "c"], errors=[ERROR]).save(path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        loaded = Embeddings.load(path)
    except InputError:
        return
    assert loaded.vectors.shape[0] == len(loaded.positions)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_file_of_something_else_is_an_input_error_that_says_so(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    foreign(path)
    with pytest.raises(InputError, match=r"no file of mmencode-embeddings-1: its format is None(.|\n)*x\."):
        Embeddings.load(path)


@pytest.mark.parametrize("suffix", list(ARRAYS))
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vectors": np.zeros((2, 2))}, "vectors are float64 instead of float32"),
        ({"vectors": None}, "vectors are missing"),
        ({"vectors": np.zeros(2, np.float32)}, r"shape \(2,\)"),
        ({"positions": np.zeros(3, np.int64)}, "positions of shape"),
        ({"key_ends": np.array([2, 1])}, "keys don't end"),
        ({"key_ends": np.array([-1, 2])}, "keys don't end"),
        ({"key_ends": np.array([1, 3])}, "keys don't end"),
        ({"key_ends": np.array([2])}, "2 vectors have 1 keys"),
        ({"space": None}, "doesn't say its space"),
        ({"errors": "["}, "can't be read"),
        ({"errors": '[{"fact": 1}]'}, "can't be read"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path, suffix, change, words):
    content = {
        "vectors": np.zeros((2, 2), np.float32),
        "positions": np.arange(2),
        "keys": np.frombuffer(b"ab", np.uint8),
        "key_ends": np.array([1, 2]),
        "format": "mmencode-embeddings-1",
        "space": "a@1",
        "modality": "text",
        "errors": "[]",
        **change,
    }
    arrays = {name: value for name, value in content.items() if isinstance(value, np.ndarray)}
    facts = {name: value for name, value in content.items() if isinstance(value, str)}
    path = tmp_path / f"x{suffix}"
    if suffix == ".npz":
        np.savez(path, metadata=np.array(json.dumps(facts)), **arrays)
    else:
        save_file(arrays, path, facts)
    with pytest.raises(InputError, match=words):
        Embeddings.load(path)


class Trap:
    def __reduce__(self):
        return (open, ("sprung", "w"))


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make().save("x.npz")
    np.save("vectors.npy", np.array([Trap()], dtype=object), allow_pickle=True)
    with zipfile.ZipFile("x.npz") as old, zipfile.ZipFile("bad.npz", "w") as new:
        new.writestr("metadata.npy", old.read("metadata.npy"))
        new.write("vectors.npy")
    with pytest.raises(InputError, match="allow_pickle"):
        Embeddings.load("bad.npz")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("suffix", list(ARRAYS))
def test_keys_that_are_no_unicode_keep_their_bytes(tmp_path, suffix):
    make(2, keys=[b"caf\xe9.jpg", "é"]).save(tmp_path / f"x{suffix}")
    assert Embeddings.load(tmp_path / f"x{suffix}").keys == ("caf\udce9.jpg", "é")


@pytest.mark.parametrize("suffix", list(ARRAYS))
def test_keys_that_a_format_cannot_hold_are_refused_and_leave_no_file(tmp_path, suffix):
    with pytest.raises(ValueError, match="is neither Unicode text"):
        make(2, keys=["a", "\ud800"]).save(tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []


@NEEDS_ARROW
@pytest.mark.parametrize("suffix", list(TABLES))
def test_keys_that_are_no_unicode_are_escaped_in_tables_and_read_as_they_were(tmp_path, suffix):
    from pyarrow import feather, parquet

    keys = ("caf\udce9.jpg", "é", "\ufdd0dce9", "\ud800", "plain")
    make(5, keys=keys).save(tmp_path / f"x{suffix}")
    assert Embeddings.load(tmp_path / f"x{suffix}").keys == keys
    reader = parquet.read_table if suffix == ".parquet" else feather.read_table
    held = reader(tmp_path / f"x{suffix}").column("key").to_pylist()
    assert held == ["caf\ufdd0dce9.jpg", "é", "\ufdd0fdd0dce9", "\ufdd0d800", "plain"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_failed_save_leaves_nothing_and_spares_what_was_there(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"x{suffix}"
    make(2).save(path)
    before = path.read_bytes()
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        make(3).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", list(TABLES))
@pytest.mark.parametrize("use", [make().save, Embeddings.load])
def test_tables_without_pyarrow_name_the_command_that_installs_it(tmp_path, monkeypatch, suffix, use):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'mmencode\[arrow\]'"):
        use(tmp_path / f"x{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_other_formats_do_without_pyarrow_and_torch():
    code = (
        "import sys; sys.modules['pyarrow'] = sys.modules['torch'] = None\n"
        "import numpy as np; from mmencode.embeddings.embeddings import Embeddings\n"
        "e = Embeddings(np.eye(3), space='a@1', modality='text')\n"
        "e.truncate(3, force=True).quantize('int8').dequantize()\n"
        "try: e.save('x.csv')\n"
        "except ValueError: print('done')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout == "done\n"


@NEEDS_ARROW
@pytest.mark.parametrize("suffix", list(TABLES))
def test_table_has_one_row_for_each_item_and_the_id_in_its_metadata(tmp_path, suffix):
    from pyarrow import feather, parquet

    embeddings = make(3, keys=["a.jpg", "b.jpg", "c.jpg"], positions=np.array([0, 2, 3]), errors=[ERROR])
    embeddings.save(tmp_path / f"x{suffix}")
    reader = parquet.read_table if suffix == ".parquet" else feather.read_table
    table = reader(tmp_path / f"x{suffix}")
    assert [str(kind).replace("element", "item") for kind in table.schema.types] == [
        "string",
        "int64",
        "fixed_size_list<item: float>[4]",
    ]
    assert table.to_pylist()[1] == {"key": "b.jpg", "position": 2, "vector": embeddings.vectors[1].tolist()}
    metadata = table.schema.metadata
    assert (metadata[b"space"], metadata[b"modality"]) == (b"a@1", b"text")
    assert json.loads(metadata[b"errors"])[0]["source"] == "a.jpg"


@NEEDS_ARROW
@pytest.mark.parametrize(
    ("column", "hole", "words"),
    [
        ("key", None, "can't be read"),
        ("position", None, "positions are float64 instead of int64"),
        # pyarrow before 18 doesn't read what it wrote there.
        ("vector", None, "some of its vectors are missing|Expected all lists to be of size=4"),
        ("vector", [1, None, 3, 4], "some of its vectors are missing"),
    ],
)
def test_table_with_holes_is_refused(tmp_path, column, hole, words):
    import pyarrow as pa
    from pyarrow import parquet

    make(3, keys=["a", "b", "c"]).save(tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    place = table.column_names.index(column)
    field = table.schema.field(place).with_nullable(True)
    values = pa.array([hole, *table.column(column).to_pylist()[1:]], field.type)
    parquet.write_table(table.set_column(place, field, values), tmp_path / "x.parquet")
    with pytest.raises(InputError, match=words):
        Embeddings.load(tmp_path / "x.parquet")


@NEEDS_ARROW
def test_table_whose_keys_end_before_they_begin_is_refused(tmp_path):
    import pyarrow as pa
    from pyarrow import feather

    make(2, keys=["a", "b"]).save(tmp_path / "x.arrow")
    table = feather.read_table(tmp_path / "x.arrow", memory_map=False)
    ends = pa.py_buffer(np.array([0, 9, 2], np.int32).tobytes())
    crossed = pa.StringArray.from_buffers(2, ends, pa.py_buffer(b"ab"))
    table = table.set_column(0, table.schema.field(0), crossed)
    with pa.OSFile(str(tmp_path / "x.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(InputError, match=r"[Oo]ffset"):
        Embeddings.load(tmp_path / "x.arrow")


@NEEDS_ARROW
def test_table_in_several_chunks_is_read_whole(tmp_path):
    from pyarrow import parquet

    embeddings = make(7)
    embeddings.save(tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    np.testing.assert_array_equal(Embeddings.load(tmp_path / "x.parquet").vectors, embeddings.vectors)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_threads_that_save_to_one_path_leave_one_of_their_files_whole(tmp_path, suffix):
    several = [make(40, keys=[f"{number}/{row}" for row in range(40)]) for number in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda embeddings: embeddings.save(tmp_path / f"x{suffix}"), several))
    assert Embeddings.load(tmp_path / f"x{suffix}").keys in [embeddings.keys for embeddings in several]
    assert os.listdir(tmp_path) == [f"x{suffix}"]
