"""Results with many vectors for each item: their form, their files and codes, and how they are pooled."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mmencode
from mmencode.embeddings.files import FORMATS, TABLES
from mmencode.embeddings.multi import MultiEmbeddings, MultiQuantised
from mmencode.embeddings.token_pooling import pool_tokens, ward_labels
from mmencode.errors import InputError, SpaceMismatchError

NEEDS_ARROW = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason="tables need pyarrow: pip install 'mmencode[arrow]'"
)
SUFFIXES = [pytest.param(suffix, marks=NEEDS_ARROW if suffix in TABLES else ()) for suffix in FORMATS]
ERROR = InputError("it is empty", source="a.jpg", remedy="fetch it", index=2)


def unit(rows, dim=4, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make(counts=(2, 1, 3), dim=4, seed=0, **options):
    options = {"space": "a@1", "modality": "text", **options}
    return MultiEmbeddings(unit(sum(counts), dim, seed), np.array(counts, np.int64), **options)


def test_items_have_their_own_vectors():
    multi = make(keys=["a", "b", "c"])
    assert (len(multi), multi.dim, multi.counts.tolist()) == (3, 4, [2, 1, 3])
    assert [len(array) for array in multi.arrays] == [2, 1, 3]
    np.testing.assert_array_equal(np.concatenate(multi.arrays), multi.vectors)
    assert all(np.shares_memory(array, multi.vectors) for array in multi.arrays)
    assert repr(multi) == "<MultiEmbeddings 3 items, 6 x 4, text, a@1>"


@pytest.mark.parametrize(
    ("rows", "places"),
    [
        (1, [1]),
        (-1, [2]),
        (slice(1, None), [1, 2]),
        (slice(None, None, -1), [2, 1, 0]),
        ([2, 0, 2], [2, 0, 2]),
        (np.array([True, False, True]), [0, 2]),
        ([], []),
        (np.array([], np.int64), []),
    ],
)
def test_an_index_picks_whole_items(rows, places):
    multi = make(positions=np.array([4, 5, 9]), keys=["a", "b", "c"], errors=[ERROR])
    picked = multi[rows]
    assert picked.positions.tolist() == [[4, 5, 9][place] for place in places]
    assert picked.keys == tuple("abc"[place] for place in places)
    assert picked.counts.tolist() == [[2, 1, 3][place] for place in places]
    for found, place in zip(picked.arrays, places, strict=True):
        np.testing.assert_array_equal(found, multi.arrays[place])
    assert (picked.space, picked.modality, picked.errors) == ("a@1", "text", (ERROR,))


def test_an_index_beyond_the_last_item_is_an_error():
    with pytest.raises(IndexError, match="item 3 of 3"):
        make()[3]
    assert [item.positions.tolist() for item in map(make().__getitem__, range(3))] == [[0], [1], [2]]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([2, 0, 4], r"item 1 has 0 vectors \(1 such items of 3\)"),
        ([2, -1, 5], "item 1 has -1 vectors"),
        ([2, 2], "have 4 vectors by their counts, and there are 6"),
        ([7], "item 0 has 7 vectors, and there are 6"),
        ([2.0, 4.0], "give an int for each item"),
        ([[2, 4]], "give an int for each item"),
        ([2**62, 2**62, 2**62], "item 0 has"),
    ],
)
def test_counts_that_do_not_fit_are_named(counts, words):
    with pytest.raises(ValueError, match=words):
        MultiEmbeddings(unit(6), counts, space="a@1", modality="text")


def test_positions_and_keys_are_one_for_each_item():
    with pytest.raises(ValueError, match="3 items have positions of shape"):
        make(positions=np.arange(6))
    with pytest.raises(ValueError, match="3 items have 6 keys"):
        make(keys=list("abcdef"))


def test_keys_are_given_by_the_batch():
    multi = make(positions=np.array([0, 2, 3])).with_keys(["a", "skipped", "c", "d"])
    assert multi.keys == ("a", "c", "d")
    with pytest.raises(ValueError, match="there are 3 keys"):
        multi.with_keys(["a", "b", "c"])


def test_parts_are_put_behind_each_other():
    first, second = make((2, 1), errors=[ERROR], keys=["a", "b"]), make((3,), seed=1, keys=["c"])
    whole = MultiEmbeddings.concatenate([first, second])
    assert whole.counts.tolist() == [2, 1, 3]
    assert (whole.keys, whole.errors, whole.positions.tolist()) == (("a", "b", "c"), (ERROR,), [0, 1, 0])
    np.testing.assert_array_equal(whole.arrays[2], second.vectors)
    assert MultiEmbeddings.concatenate([first, make((1,), modality="image")]).modality == "mixed"
    with pytest.raises(SpaceMismatchError):
        MultiEmbeddings.concatenate([first, make(space="a@2")])
    with pytest.raises(SpaceMismatchError):  # else an index would hold some items whole and others pooled
        MultiEmbeddings.concatenate([make((6,)), make((6,)).pool(2)])
    with pytest.raises(ValueError, match="nothing"):
        MultiEmbeddings.concatenate([])


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("with_keys", [True, False])
@pytest.mark.parametrize("counts", [(2, 1, 3), (1,), ()])
def test_file_restores_everything(tmp_path, suffix, with_keys, counts):
    keys = [f"k\udce4{place}" for place in range(len(counts))] if with_keys else None
    multi = make(counts, positions=np.arange(len(counts)) * 2 + 1, errors=[ERROR], keys=keys)
    multi.save(tmp_path / f"x{suffix}")
    loaded = MultiEmbeddings.load(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(loaded.vectors, multi.vectors)
    assert loaded.counts.tolist() == list(counts)
    assert loaded.positions.tolist() == multi.positions.tolist()
    assert (loaded.space, loaded.modality, loaded.keys, loaded.dim) == ("a@1", "text", multi.keys, 4)
    assert [vars(error) for error in loaded.errors] == [vars(ERROR)]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_items_of_one_position_and_key_stay_two(tmp_path, suffix):
    multi = make((2, 2), positions=np.array([0, 0]), keys=["a", "a"])
    multi.save(tmp_path / f"x{suffix}")
    assert MultiEmbeddings.load(tmp_path / f"x{suffix}").counts.tolist() == [2, 2]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_files_of_single_and_of_many_vectors_are_told_apart(tmp_path, suffix):
    make().save(tmp_path / f"many{suffix}")
    mmencode.Embeddings(unit(2), space="a@1", modality="text").save(tmp_path / f"one{suffix}")
    with pytest.raises(InputError, match="multi-embeddings"):
        mmencode.Embeddings.load(tmp_path / f"many{suffix}")
    with pytest.raises(InputError, match="no file of mmencode-multi-embeddings-1"):
        MultiEmbeddings.load(tmp_path / f"one{suffix}")


@pytest.mark.parametrize(
    ("ends", "words"), [([2, 2, 6], "item 1 has 0"), ([2, 3, 5], "there are 6"), ([3, 2, 6], "item 1 has -1")]
)
def test_file_whose_ends_are_damaged_is_named(tmp_path, ends, words):
    from safetensors.numpy import save_file

    facts = {"format": "mmencode-multi-embeddings-1", "space": "a@1", "modality": "text", "errors": "[]"}
    arrays = {"vectors": unit(6), "positions": np.arange(3), "ends": np.array(ends, np.int64)}
    save_file(arrays, tmp_path / "x.safetensors", facts)
    with pytest.raises(InputError, match=words) as caught:
        MultiEmbeddings.load(tmp_path / "x.safetensors")
    assert caught.value.source == str(tmp_path / "x.safetensors")


@NEEDS_ARROW
@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("item", [0, 0, 2, 2], "don't count up"),
        ("item", [1, 1, 2, 2], "don't count up"),
        ("item", [0, 0, 1, 0], "don't count up"),
        ("position", [0, 1, 2, 2], "several positions"),
        ("key", ["a", "b", "c", "c"], "several keys"),
    ],
)
def test_table_whose_rows_make_no_items_is_named(tmp_path, column, values, words):
    import pyarrow as pa
    from pyarrow import parquet

    make((2, 2), keys=["a", "c"]).save(tmp_path / "x.parquet")
    table = parquet.read_table(tmp_path / "x.parquet")
    place, kind = table.column_names.index(column), table.schema.field(column)
    parquet.write_table(table.set_column(place, kind, pa.array(values, kind.type)), tmp_path / "y.parquet")
    with pytest.raises(InputError, match=words):
        MultiEmbeddings.load(tmp_path / "y.parquet")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("kind", ["float16", "binary"])
def test_codes_are_kept_and_stand_for_near_vectors(tmp_path, kind, suffix):
    multi = make((3, 5), dim=32, keys=["a", "b"])
    codes = multi.quantize(kind)
    codes.save(tmp_path / f"x{suffix}")
    loaded = MultiQuantised.load(tmp_path / f"x{suffix}")
    np.testing.assert_array_equal(loaded.codes, codes.codes)
    assert (loaded.kind, loaded.dim, loaded.counts.tolist(), loaded.keys) == (kind, 32, [3, 5], ("a", "b"))
    again = loaded.dequantize()
    again.require_unit()
    cosines = (again.vectors * multi.vectors).sum(axis=1)
    assert cosines.min() > (0.999999 if kind == "float16" else 0.6)
    assert loaded.codes.nbytes * (2 if kind == "float16" else 32) == multi.vectors.nbytes


def test_codes_of_binary_have_the_similarity_of_their_bits():
    one, two = make((3,), dim=32).quantize("binary"), make((4,), dim=32, seed=1).quantize("binary")
    bits = [np.unpackbits(codes.codes, axis=1) for codes in (one, two)]
    hamming = (bits[0][:, None] != bits[1][None]).sum(axis=2)
    expected = (1 - hamming * 2 / 32).max(axis=1).sum()
    assert mmencode.similarity(one.dequantize(), two.dequantize())[0, 0] == pytest.approx(expected, abs=1e-5)


def test_codes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="no kind 'int4'"):
        make().quantize("int4")
    good = make().quantize("float16")
    for changes, words in [({"dim": 5}, "float16 ones of 5"), ({"counts": np.array([6, 1])}, "there are 6")]:
        fields = {name: getattr(good, name) for name in ("codes", "counts", "dim", "positions")} | changes
        with pytest.raises(ValueError, match=words):
            MultiQuantised(kind="float16", space="a@1", modality="text", **fields)
    vectors = make().vectors.copy()
    vectors[0, 0] = np.nan
    broken = make()._with(vectors=vectors)
    with pytest.raises(ValueError, match="aren't finite"):
        broken.quantize("binary")


def test_mean_is_one_unit_vector_in_a_space_of_its_own():
    multi = make(keys=["a", "b", "c"])
    mean = multi.mean()
    for row, array in zip(mean.vectors, multi.arrays, strict=True):
        np.testing.assert_allclose(row, array.mean(axis=0) / np.linalg.norm(array.mean(axis=0)), atol=1e-6)
    assert (mean.space, mean.keys, make(()).mean().vectors.shape) == ("a@1:mean", ("a", "b", "c"), (0, 4))
    with pytest.raises(ValueError, match="of row 0 are all zero"):
        MultiEmbeddings(np.array([[1, 0], [-1, 0]]), [2], space="a@1", modality="text").mean()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 40), st.integers(1, 8), st.integers(0, 10**6))
def test_clusters_are_those_of_scipy(count, factor, seed):
    hierarchy = pytest.importorskip("scipy.cluster.hierarchy")
    from scipy.spatial.distance import squareform

    vectors = unit(count, 6, seed).astype(np.float64)
    distances = np.clip(1 - vectors @ vectors.T, 0, 2)
    np.fill_diagonal(distances, 0)
    wanted = max(1, count // factor)
    tree = hierarchy.linkage(squareform(distances, checks=False), method="ward")
    expected = hierarchy.fcluster(tree, t=wanted, criterion="maxclust")
    found = ward_labels(distances, wanted)
    assert (
        len(set(zip(found.tolist(), expected.tolist(), strict=True)))
        == len(set(found.tolist()))
        == expected.max()
    )
    assert [label for place, label in enumerate(found) if label not in found[:place]] == sorted(set(found))


@pytest.mark.parametrize("factor", [2, 3, 5])
@pytest.mark.parametrize("protected", [0, 1])
def test_pooling_is_that_of_sentence_transformers(factor, protected):
    pooling = pytest.importorskip("sentence_transformers.multi_vector_encoder.modules.token_pooling")
    import torch

    rows = unit(37, 16)
    theirs = pooling.HierarchicalTokenPooling(factor, num_protected_tokens=protected).pool_one(
        torch.from_numpy(rows)
    )
    ours = pool_tokens(rows, factor, protected)
    assert ours.shape == tuple(theirs.shape)

    def order(array):
        return array[np.lexsort(np.round(array, 4).T)]

    np.testing.assert_allclose(order(ours), order(theirs.numpy()), atol=1e-5)
    np.testing.assert_array_equal(ours[:protected], rows[:protected])


def test_pooling_is_part_of_the_identity_and_leaves_items_whole():
    multi = make((9, 1, 2), dim=8, keys=["a", "b", "c"])
    pooled = multi.pool(3)
    assert (pooled.counts.tolist(), pooled.space, pooled.keys) == ([3, 1, 1], "a@1:pool3", ("a", "b", "c"))
    assert multi.pool(2, protected=1).space == "a@1:pool2+1"
    assert multi.pool(1) is multi
    pooled.require_unit()
    assert make(()).pool(2).counts.tolist() == []
    with pytest.raises(ValueError, match="pooled already"):
        pooled.pool(2)
    for factor in (0, 1.5, True):
        with pytest.raises(ValueError, match="factor is"):
            multi.pool(factor)


def test_pooled_documents_are_compared_with_whole_queries():
    multi = make((9, 4), dim=8)
    scores = mmencode.similarity(multi, multi.pool(2))
    assert scores.shape == (2, 2)
    with pytest.raises(SpaceMismatchError):
        mmencode.similarity(multi, make((3,), dim=8, space="b@2").pool(2))


def test_equal_vectors_become_one_and_opposite_ones_stay():
    equal = np.repeat(np.eye(4, dtype=np.float32)[:2], 4, axis=0)  # two clusters of four
    np.testing.assert_allclose(pool_tokens(equal, 4), np.eye(4)[:2], atol=1e-6)
    opposite = np.array([[1, 0], [-1, 0]], np.float32)
    np.testing.assert_array_equal(pool_tokens(opposite, 2), opposite)
