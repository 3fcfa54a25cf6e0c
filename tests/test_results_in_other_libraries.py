"""Libraries for learning, searching and tables take Embeddings for an array or a table, as they are used."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from mmencode import Embeddings, MultiEmbeddings, Quantised

pytestmark = pytest.mark.hosts
COUNT, DIM = 40, 16


def unit(count=COUNT, seed=0):
    vectors = np.random.default_rng(seed).normal(size=(count, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rows():
    return Embeddings(unit(), space="a@1", modality="text", keys=[f"k{row}" for row in range(COUNT)])


LABELS = np.arange(COUNT) % 2


# scikit-learn


def test_classifier_of_scikit_learn_fits_and_predicts(rows):
    neighbours = pytest.importorskip("sklearn.neighbors")
    fitted = neighbours.KNeighborsClassifier(1).fit(rows, LABELS)
    np.testing.assert_array_equal(fitted.predict(rows), LABELS)
    np.testing.assert_array_equal(fitted.predict(rows[3]), LABELS[3:4])


def test_split_of_scikit_learn_keeps_keys_with_their_rows(rows):
    selection = pytest.importorskip("sklearn.model_selection")
    train, test, labels, _ = selection.train_test_split(rows, LABELS, random_state=0, stratify=LABELS)
    assert isinstance(train, Embeddings)
    assert (len(train), len(test)) == (30, 10)
    places = [int(key[1:]) for key in train.keys]
    np.testing.assert_array_equal(train.vectors, rows.vectors[places])
    np.testing.assert_array_equal(labels, LABELS[places])
    assert train.positions.tolist() == places


@pytest.mark.parametrize("jobs", [None, 2])
def test_cross_validation_of_scikit_learn_scores_as_on_the_vectors(rows, jobs):
    linear, selection = (
        pytest.importorskip(f"sklearn.{name}") for name in ("linear_model", "model_selection")
    )
    scores = [
        selection.cross_val_score(linear.LogisticRegression(), given, LABELS, cv=4, n_jobs=jobs)
        for given in (rows, rows.vectors)
    ]
    np.testing.assert_array_equal(*scores)


@pytest.mark.parametrize("name", ["decomposition.PCA", "manifold.TSNE", "preprocessing.StandardScaler"])
def test_transformations_of_scikit_learn_are_those_of_the_vectors(rows, name):
    module, kind = name.split(".")
    make = getattr(pytest.importorskip(f"sklearn.{module}"), kind)
    options = {"PCA": {"n_components": 2}, "TSNE": {"perplexity": 5, "random_state": 0}}.get(kind, {})
    found, expected = (make(**options).fit_transform(given) for given in (rows, rows.vectors))
    np.testing.assert_array_equal(found, expected)


def test_clusters_of_scikit_learn_leave_the_vectors_as_they_are(rows):
    cluster = pytest.importorskip("sklearn.cluster")
    before = rows.vectors.copy()
    assert set(cluster.KMeans(3, n_init=2, random_state=0).fit_predict(rows)) == {0, 1, 2}
    with pytest.raises(ValueError, match="read-only"):  # for what is to be done in place
        cluster.KMeans(3, n_init=2, copy_x=False).fit(rows)
    np.testing.assert_array_equal(rows, before)


def test_joblib_gives_processes_the_rows(rows):
    joblib = pytest.importorskip("joblib")
    sums = joblib.Parallel(2)(joblib.delayed(sum_of)(rows[start::2]) for start in range(2))
    assert sum(sums) == pytest.approx(float(rows.vectors.sum()), abs=1e-4)


def sum_of(rows):
    return float(np.asarray(rows).sum())


# torch


def test_data_set_of_torch_is_in_the_memory_of_the_rows(rows):
    data = TensorDataset(torch.as_tensor(rows), torch.as_tensor(LABELS))
    assert data.tensors[0].data_ptr() == rows.vectors.ctypes.data
    batches = list(DataLoader(data, batch_size=16))
    np.testing.assert_array_equal(torch.cat([batch for batch, _ in batches]), rows.vectors)


# Indexes of nearest neighbours


def test_faiss_finds_the_neighbours_that_search_finds(rows):
    faiss = pytest.importorskip("faiss", reason="faiss: .ci/run hosts installs it")
    index = faiss.IndexFlatIP(rows.dim)
    index.add(rows)
    scores, found = index.search(rows[:5], 3)
    own = rows.vectors @ rows.vectors[:5].T
    np.testing.assert_array_equal(found, np.argsort(-own, axis=0)[:3].T)
    np.testing.assert_allclose(scores[:, 0], 1, atol=1e-5)


def test_faiss_takes_codes_of_signs(rows):
    faiss = pytest.importorskip("faiss", reason="faiss: .ci/run hosts installs it")
    codes = rows.quantize("binary")
    index = faiss.IndexBinaryFlat(rows.dim)
    index.add(codes)
    distances, found = index.search(codes, 1)
    assert distances.max() == 0
    np.testing.assert_array_equal(codes.codes[found[:, 0]], codes.codes)


def test_usearch_finds_the_neighbours(rows):
    usearch = pytest.importorskip("usearch.index", reason="usearch: .ci/run hosts installs it")
    index = usearch.Index(ndim=rows.dim, metric="ip")
    index.add(np.arange(len(rows)), np.asarray(rows))
    assert index.search(np.asarray(rows), 1).keys.ravel().tolist() == list(range(len(rows)))


def test_chroma_takes_the_array(rows, tmp_path):
    chromadb = pytest.importorskip("chromadb", reason="chromadb: .ci/run hosts installs it")
    collection = chromadb.PersistentClient(str(tmp_path)).create_collection("rows")
    collection.add(ids=list(rows.keys), embeddings=np.asarray(rows))
    found = collection.query(query_embeddings=np.asarray(rows[[7, 3]]), n_results=1)
    assert found["ids"] == [["k7"], ["k3"]]


# Tables


def test_pyarrow_reads_keys_positions_vectors_and_the_space(rows):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table(rows[[3, 1]])
    assert table.column_names == ["key", "position", "vector"]
    assert table.schema.field("vector").type == arrow.list_(arrow.float32(), DIM)
    assert table.schema.metadata[b"space"] == b"a@1"
    assert table.column("key").to_pylist() == ["k3", "k1"]
    assert table.column("position").to_pylist() == [3, 1]


def test_arrow_takes_the_vectors_where_they_are(rows):
    arrow = pytest.importorskip("pyarrow")
    numbers = arrow.table(rows).column("vector").chunk(0).flatten()
    assert numbers.buffers()[1].address == rows.vectors.ctypes.data


def test_polars_makes_a_frame(rows):
    polars = pytest.importorskip("polars", reason="polars: .ci/run hosts installs it")
    frame = polars.DataFrame(rows)
    assert frame.columns == ["key", "position", "vector"]
    assert frame.schema["vector"] == polars.Array(polars.Float32, DIM)
    np.testing.assert_array_equal(frame["vector"].to_numpy(), rows.vectors)


def test_duckdb_queries_the_rows(rows):
    duckdb = pytest.importorskip("duckdb", reason="duckdb: .ci/run hosts installs it")
    # The name of the variable is that of the table.
    found = duckdb.sql(
        f"select key, array_inner_product(vector, (select vector from rows where key = 'k5')::float[{DIM}])"
        " as score from rows order by score desc limit 1"
    ).fetchall()
    assert found == [("k5", pytest.approx(1, abs=1e-5))]


def test_pandas_takes_rows_as_a_column_and_as_numbers(rows):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"key": rows.keys, "vector": list(rows)})
    np.testing.assert_array_equal(np.stack(frame["vector"]), rows.vectors)
    np.testing.assert_array_equal(pandas.DataFrame(rows.vectors), pandas.DataFrame(np.asarray(rows)))


# Back from tables


def frames(rows):
    """A table of the rows by each library that is installed, after it dropped the metadata where it does."""
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table(rows)
    yield "pyarrow", table.replace_schema_metadata(None)
    yield "batch", table.replace_schema_metadata(None).to_batches()[0]
    yield "pandas", table.to_pandas()
    polars = pytest.importorskip("polars", reason="polars: .ci/run hosts installs it")
    yield "polars", polars.DataFrame(rows)
    duckdb = pytest.importorskip("duckdb", reason="duckdb: .ci/run hosts installs it")
    yield "duckdb", duckdb.sql("select * from rows").fetch_arrow_table()


@pytest.mark.parametrize("name", ["pyarrow", "batch", "pandas", "polars", "duckdb"])
def test_rows_come_back_from_a_table(rows, name):
    table = next(table for kind, table in frames(rows[[4, 2, 9]]) if kind == name)
    found = Embeddings.from_table(table, space="a@1", modality="text")
    np.testing.assert_array_equal(found, rows[[4, 2, 9]])
    assert (found.space, found.modality, found.keys) == ("a@1", "text", ("k4", "k2", "k9"))
    assert found.positions.tolist() == [4, 2, 9]


def test_table_that_kept_its_metadata_needs_nothing_said(rows):
    arrow = pytest.importorskip("pyarrow")
    whole = Embeddings(unit(), space="a@1", modality="text", towers={"text": "t1"}, widths=[4, 8])
    found = Embeddings.from_table(arrow.table(whole))
    assert (found.space, found.modality, found.towers, found.widths) == (
        "a@1",
        "text",
        {"text": "t1"},
        (4, 8),
    )
    assert found.keys is None


def test_rows_of_a_table_are_those_of_a_space_that_is_given(space):
    arrow = pytest.importorskip("pyarrow")
    made = space.encode("text", ["a", "b"])
    table = arrow.table(made).replace_schema_metadata(None)
    found = Embeddings.from_table(table, space=space, modality="text")
    assert space.search(found, made, 1).rows.ravel().tolist() == [0, 1]


def test_columns_may_be_said_by_name(rows):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {"path": ["a", "b"], "clip": list(rows[:2].vectors.astype(float)), "year": [1, 2]}
    )
    found = Embeddings.from_table(frame, space="a@1", modality="image", vectors="clip", keys="path")
    assert found.keys == ("a", "b")
    assert found.vectors.dtype == np.float32
    np.testing.assert_allclose(found, rows[:2])


def test_table_of_a_metric_that_says_nothing_is_refused_by_name(rows):
    arrow = pytest.importorskip("pyarrow")
    bare = arrow.table(rows).replace_schema_metadata(None)
    with pytest.raises(ValueError, match="doesn't say what space its vectors belong to"):
        Embeddings.from_table(bare, modality="text")
    with pytest.raises(ValueError, match="doesn't say the modality"):
        Embeddings.from_table(bare, space="a@1")


def test_table_of_another_space_is_refused(rows, space):
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="two spaces can't be read as one: a@1 and b@2"):
        Embeddings.from_table(arrow.table(rows), space="b@2")
    bare = arrow.table(rows).replace_schema_metadata(None)
    with pytest.raises(ValueError, match=f"vectors of 16 numbers can't be of space {space.id}"):
        Embeddings.from_table(bare, space=space, modality="text")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (
            [[1.0, 0.0], [1.0]],
            "item 1, column 'vector' of .*|its vector has 1 numbers, and that of row 0 has 2",
        ),
        ([[1.0, 0.0], None], "it has no vector"),
        ([[1.0, 0.0], [None, 1.0]], "missing numbers"),
        ([[1.0, 0.0], [float("nan"), 1.0]], "row 1 isn't finite"),
        ([[1.0, 0.0], [3.0, 4.0]], "row 1 has length 5"),
        ([["1"], ["2"]], "its lists hold string"),
        ([1.0, 2.0], "it holds double, and no lists"),
    ],
)
def test_vectors_that_do_not_fit_are_refused_by_column_and_row(column, words):
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match=words):
        Embeddings.from_table(arrow.table({"vector": column}), space="a@1", modality="text")


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"vektor": [[1.0]]}, "no column 'vector', or several; its columns are 'vektor'"),
        ({"vector": [[1.0]], "key": [1.5]}, "its key is 1.5, and no text"),
        ({"vector": [[1.0]], "position": [-1]}, "a position is -1"),
        ({"vector": [[1.0]], "position": ["x"]}, "it holds string with 0 missing"),
    ],
)
def test_columns_that_do_not_fit_are_refused_by_name(columns, words):
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match=words):
        Embeddings.from_table(arrow.table(columns), space="a@1", modality="text")


def test_what_is_no_table_is_refused():
    pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match="it is no table that can be read"):
        Embeddings.from_table([[1.0]], space="a@1", modality="text")


# Many vectors, and codes


def test_many_vectors_are_a_table_with_a_list_for_each_item():
    arrow = pytest.importorskip("pyarrow")
    many = MultiEmbeddings(unit(5), [2, 3], space="a@1", modality="text", keys=["x", "y"])
    table = arrow.table(many)
    assert table.column_names == ["key", "position", "vectors"]
    assert [len(rows) for rows in table.column("vectors").to_pylist()] == [2, 3]
    np.testing.assert_array_equal(table.column("vectors")[1].as_py(), many.arrays[1])
    assert table.schema.metadata[b"space"] == b"a@1"


@pytest.fixture
def many():
    keys = ["x", "y", "z"]
    return MultiEmbeddings(
        unit(9), [2, 3, 4], space="a@1", modality="text", keys=keys, positions=[5, 0, 2], towers={"text": "t"}
    )


@pytest.mark.parametrize("name", ["pyarrow", "batch", "pandas", "polars", "duckdb"])
def test_items_with_many_vectors_come_back_from_a_table(many, name):
    given = many[[2, 0]]
    table = next(table for kind, table in frames(given) if kind == name)
    found = MultiEmbeddings.from_table(table, space="a@1", modality="text")
    np.testing.assert_array_equal(found.vectors, given.vectors)
    assert found.counts.tolist() == [4, 2]
    assert (found.space, found.modality, found.keys) == ("a@1", "text", ("z", "x"))
    assert found.positions.tolist() == [2, 5]


def test_table_of_many_vectors_that_kept_its_metadata_needs_nothing_said(many):
    arrow = pytest.importorskip("pyarrow")
    found = MultiEmbeddings.from_table(arrow.concat_tables([arrow.table(many[:1]), arrow.table(many[1:])]))
    np.testing.assert_array_equal(found.vectors, many.vectors)
    assert (found.space, found.modality, found.towers) == ("a@1", "text", {"text": "t"})
    assert found.counts.tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="two spaces can't be read as one"):
        MultiEmbeddings.from_table(arrow.table(many), space="b@2")
    with pytest.raises(ValueError, match="doesn't say what space"):
        MultiEmbeddings.from_table(arrow.table(many).replace_schema_metadata(None), modality="text")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([[[1.0, 0.0]], []], "item 1, column 'vectors' of .*|it has no vectors"),
        ([[[1.0, 0.0]], None], "it has no vector"),
        ([[[1.0, 0.0]], [[0.0, 1.0], [1.0]]], "its vector has 1 numbers, and that of row 0 has 2"),
        ([[[1.0, 0.0]], [[0.0, 1.0], None]], "it has no vector"),
        ([[[1.0, 0.0]], [[3.0, 4.0]]], "row 1 has length 5"),
        ([[1.0, 0.0], [0.0, 1.0]], "it holds double, and no lists of numbers"),
        ([1.0, 0.0], "it holds double, and no lists of vectors"),
    ],
)
def test_many_vectors_that_do_not_fit_are_refused_by_column_and_item(column, words):
    arrow = pytest.importorskip("pyarrow")
    with pytest.raises(ValueError, match=words) as caught:
        MultiEmbeddings.from_table(arrow.table({"vectors": column}), space="a@1", modality="text")
    assert getattr(caught.value, "index", None) in (None, 1)


def test_many_vectors_are_no_array_and_say_so():
    many = MultiEmbeddings(unit(5), [2, 3], space="a@1", modality="text")
    assert [rows.shape for rows in many] == [(2, DIM), (3, DIM)]
    with pytest.raises(TypeError, match=r"\.vectors are those of all items"):
        np.asarray(many)


@pytest.mark.parametrize(("kind", "width"), [("int8", DIM), ("binary", DIM // 8)])
def test_codes_are_the_array_of_their_codes(rows, kind, width):
    codes = rows.quantize(kind)
    assert isinstance(codes, Quantised)
    assert (codes.shape, codes.ndim, codes.dtype) == ((COUNT, width), 2, codes.codes.dtype)
    np.testing.assert_array_equal(np.asarray(codes), codes.codes)
    np.testing.assert_array_equal(torch.as_tensor(codes), codes.codes)


@pytest.mark.parametrize(("kind", "number"), [("int8", "int8"), ("binary", "uint8")])
def test_codes_are_a_table_that_says_what_they_stand_for(rows, kind, number):
    arrow = pytest.importorskip("pyarrow")
    codes = rows.quantize(kind)
    table = arrow.table(codes)
    assert table.column_names == ["key", "position", "code"]
    assert str(table.schema.field("code").type.value_type) == number
    assert table.column("code").to_pylist() == codes.codes.tolist()
    assert table.column("key").to_pylist() == list(rows.keys)
    assert table.column("code").chunk(0).flatten().buffers()[1].address == codes.codes.ctypes.data
    facts = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    assert (facts["space"], facts["kind"], facts["dim"]) == ("a@1", kind, str(DIM))
    if kind == "int8":
        assert np.array_equal(np.float32(json.loads(facts["low"])), codes.ranges.low)
        assert np.array_equal(np.float32(json.loads(facts["high"])), codes.ranges.high)


@pytest.mark.parametrize("kind", ["float16", "binary"])
def test_codes_of_many_vectors_are_a_table_with_a_list_for_each_item(many, kind):
    arrow = pytest.importorskip("pyarrow")
    codes = many.quantize(kind)
    table = arrow.table(codes)
    assert table.column_names == ["key", "position", "codes"]
    assert np.array_equal(np.concatenate(table.column("codes").to_pylist()), codes.codes)
    assert [len(each) for each in table.column("codes").to_pylist()] == [2, 3, 4]
    assert table.schema.metadata[b"kind"] == kind.encode()


def test_other_libraries_take_codes_as_a_table(rows, many):
    polars = pytest.importorskip("polars", reason="polars: .ci/run hosts installs it")
    duckdb = pytest.importorskip("duckdb", reason="duckdb: .ci/run hosts installs it")
    codes = rows.quantize("int8")
    np.testing.assert_array_equal(polars.DataFrame(codes)["code"].to_numpy(), codes.codes)
    assert duckdb.sql("select key, code[1] from codes where key = 'k5'").fetchall() == [
        ("k5", int(codes.codes[5, 0]))
    ]
    assert polars.DataFrame(many.quantize("float16"))["codes"].list.len().to_list() == [2, 3, 4]
