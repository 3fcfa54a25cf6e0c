"""The function in LanceDB's embedding registry: tables encode, are opened again, know their space."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("mmencode_adapters", reason="mmencode-adapters: .ci/run hosts installs it")
pytest.importorskip("mmencode_offline", reason="the tests encode in the default space")
pytest.importorskip("lancedb", reason="LanceDB: pip install 'mmencode-adapters[lancedb]'")

import lancedb
from adapting import run_anew, save_twin
from lancedb.embeddings import get_registry
from lancedb.pydantic import LanceModel, Vector
from mmencode_adapters.lancedb import NAME, SpaceFunction, register
from skimage import data

import mmencode
from mmencode.errors import InputError, SpaceMismatchError, TrustError

pytestmark = pytest.mark.hosts

TEXTS = ["a cat", "a cup of coffee", "a rocket launch"]


@pytest.fixture(scope="module")
def space():
    with mmencode.load("default") as loaded:
        yield loaded


def make_table(folder, function, rows, kind=str, **options):
    class Row(LanceModel):
        item: kind | None = function.SourceField()
        vector: Vector(function.ndims()) | None = function.VectorField()

    table = lancedb.connect(folder).create_table("items", schema=Row)
    table.add(rows, **options)
    return table


@pytest.fixture
def table(tmp_path):
    return make_table(tmp_path, get_registry().get(NAME).create(), [{"item": text} for text in TEXTS])


def test_rows_and_queries_have_the_vectors_of_the_space(table, space):
    np.testing.assert_allclose(
        np.stack(table.to_pandas()["vector"].to_list()), space.encode("text", TEXTS).vectors, atol=1e-6
    )
    assert [row["item"] for row in table.search("space travel").limit(1).to_list()] == ["a rocket launch"]


def test_pictures_are_found_by_words_and_by_a_picture(tmp_path):
    from PIL import Image

    names = ("chelsea", "coffee", "rocket")
    pictures = [Image.fromarray(getattr(data, name)()) for name in names]
    for name, picture in zip(names, pictures, strict=True):
        picture.save(tmp_path / f"{name}.png")
    rows = [{"item": (tmp_path / f"{name}.png").read_bytes()} for name in names]
    table = make_table(tmp_path / "db", SpaceFunction.create(modality="image"), rows, bytes)
    assert table.search("a kitten").limit(1).to_list()[0]["item"] == rows[0]["item"]
    assert table.search(pictures[2]).limit(1).to_list()[0]["item"] == rows[2]["item"]


def test_a_row_without_an_item_gets_no_vector_and_moves_no_other(tmp_path, space):
    rows = [{"item": "a cat"}, {"item": None}, {"item": "a rocket launch"}]
    table = make_table(tmp_path, SpaceFunction.create(), rows, on_bad_vectors="null")
    found = table.to_arrow()["vector"].to_pylist()
    assert found[1] is None
    np.testing.assert_allclose(
        [found[0], found[2]], space.encode("text", ["a cat", "a rocket launch"]).vectors
    )


def test_an_item_that_cannot_be_read_is_named_at_once_and_no_row_is_added(table):
    with pytest.raises(RuntimeError, match="item 1, text ''"):  # LanceDB's, around the InputError
        table.add([{"item": "a dog"}, {"item": ""}])
    assert table.count_rows() == len(TEXTS)
    with pytest.raises(InputError):
        table.search(" ")


def test_a_table_is_opened_again_in_a_new_process(table, tmp_path):
    lines = """
import sys, lancedb, mmencode_adapters.lancedb
table = lancedb.connect(sys.argv[1]).open_table("items")
table.add([{"item": "an espresso"}])
print(table.search("espresso").limit(1).to_list()[0]["item"], table.count_rows())
"""
    assert run_anew(lines, tmp_path) == "an espresso 4"


def test_the_table_keeps_name_and_fingerprint_of_the_space(table, space):
    (kept,) = json.loads(table.schema.metadata[b"embedding_functions"])
    assert kept["model"]["space"] == "default"
    assert kept["model"]["fingerprint"] == space.id.rpartition("@")[2]


def test_a_table_refuses_the_space_that_took_the_place_of_its_own(tmp_path, space):
    folder = tmp_path / "space"
    space.save(folder)
    table = make_table(tmp_path / "db", SpaceFunction.create(space=str(folder)), [{"item": "a cat"}])
    folder.rename(tmp_path / "old")
    save_twin(folder)
    lines = """
import sys, lancedb, mmencode_adapters.lancedb
from mmencode.errors import SpaceMismatchError
table = lancedb.connect(sys.argv[1]).open_table("items")
for use in (lambda: table.add([{"item": "a dog"}]), lambda: table.search("a dog").to_list()):
    try:
        use()
    except (RuntimeError, SpaceMismatchError) as error:
        print(str(error).splitlines()[0])
print(table.count_rows())
"""
    *facts, count = run_anew(lines, tmp_path / "db").splitlines()
    assert len(facts) == 2
    assert all("twin@" in fact and space.id.rpartition("@")[2] in fact for fact in facts)
    assert count == "1"
    assert table.count_rows() == 1


def test_vectors_are_accepted_of_the_same_space_only(table, space, tmp_path):
    function = table.embedding_functions["vector"].function
    sound = space.encode("audio", [(np.sin(np.arange(16000) / 8).astype(np.float32), 16000)])
    table.add([{"item": "a tone", "vector": vector} for vector in function.accept(sound)])
    assert table.count_rows() == 4
    with (
        mmencode.load(save_twin(tmp_path / "twin")) as twin,
        pytest.raises(SpaceMismatchError, match="twin@"),
    ):
        function.accept(twin.encode("text", ["a cat"]))
    with pytest.raises(TypeError, match="encode"):
        function.accept(sound.vectors)


def test_a_bare_list_of_equal_width_gets_into_a_table(table):
    """LanceDB asks nobody about vectors that it is given, as the page about it says."""
    table.add([{"item": "nothing", "vector": [0.0] * 384}])
    assert table.count_rows() == 4


def test_a_second_registration_does_nothing_and_a_reset_is_followed_by_another():
    register()
    register()
    assert get_registry().get(NAME) is SpaceFunction
    others = dict(get_registry()._functions)
    try:
        get_registry().reset()
        register()
        assert get_registry().get(NAME) is SpaceFunction
    finally:
        get_registry()._functions.update(others)


def test_a_table_that_names_a_checkpoint_to_be_fetched_is_not_obeyed():
    function = SpaceFunction(space="openclip/ViT-B-32/laion2b_s34b_b79k", fingerprint="0" * 16)
    with pytest.raises(TrustError, match="ViT-B-32"):
        function.compute_source_embeddings(["a cat"])
