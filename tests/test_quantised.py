from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmencode.embeddings.codes import Ranges
from mmencode.embeddings.embeddings import Embeddings, Quantised
from mmencode.embeddings.search import similarity
from mmencode.errors import InputError, SpaceMismatchError

EXAMPLES = settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def make(rows=50, dim=32, seed=0, space="a@1", **options):
    vectors = np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Embeddings(vectors, space=space, modality="text", **options)


def fan(dim=4096, steps=9):
    """A vector, and others that turn away from it up to its opposite, with their cosines."""
    x, y = np.linalg.qr(np.random.default_rng(0).normal(size=(dim, 2)))[0].T
    cosines = np.cos(np.linspace(0, np.pi, steps))
    vectors = cosines[:, None] * x + np.sqrt(1 - cosines[:, None] ** 2) * y
    return Embeddings(vectors, space="a@1", modality="text"), cosines


@EXAMPLES
@given(st.integers(0, 9), st.integers(1, 40), st.integers(0, 99))
def test_int8_errs_by_half_a_step_at_most(rows, dim, seed):
    embeddings = make(rows, dim, seed)
    codes = embeddings.quantize("int8")
    off = np.linalg.norm(codes.ranges.step) / 2  # the farthest that a vector's values can be off
    cosines = (codes.dequantize().vectors * embeddings.vectors).sum(axis=1)
    assert (cosines >= np.sqrt(1 - off**2) - 1e-6).all()


def test_cosines_of_int8_codes_are_near_those_of_the_vectors():
    a, b = make(100, 384), make(200, 384, seed=1)
    ranges = a.quantize("int8").ranges
    found = a.quantize("int8", ranges).similarity(b.quantize("int8", ranges))
    np.testing.assert_allclose(found, similarity(a, b), atol=0.005)


def test_code_of_a_vector_does_not_depend_on_the_call():
    embeddings, ranges = make(), Ranges.of(make(seed=1))
    whole, part = embeddings.quantize("int8", ranges=ranges), embeddings[7:9].quantize("int8", ranges=ranges)
    np.testing.assert_array_equal(part.codes, whole.codes[7:9])
    np.testing.assert_allclose(np.diag(part.similarity(whole)[:, 7:9]), 1, rtol=1e-6)


def test_codes_of_two_ranges_are_refused_with_the_way_out():
    first, other = make(), make(seed=1)
    with pytest.raises(SpaceMismatchError, match=r"different ranges(.|\n)*ranges=first\.ranges"):
        first.quantize("int8").similarity(other.quantize("int8"))


def test_values_outside_the_ranges_are_clipped():
    ranges = Ranges(np.full(3, -0.5), np.full(3, 0.5), "a@1")
    vectors = Embeddings(np.array([[-1, 0.5, 0.51], [0.9, -0.5, 0]]), space="a@1", modality="text")
    assert vectors.quantize("int8", ranges).codes[:, :2].tolist() == [[-128, 127], [127, -128]]


def test_ranges_hold_most_vectors_that_they_were_not_measured_on():
    ranges, others = Ranges.of(make(100, 384)), make(1000, 384, seed=1)
    outside = (others.vectors < ranges.low) | (others.vectors > ranges.high)
    assert outside.mean() < 0.0001


@pytest.mark.parametrize(("rows", "cosine"), [(0, 0.999), (1, 0.8), (10, 0.98)])
def test_ranges_of_a_few_vectors_are_of_use_to_others(rows, cosine):
    ranges, others = Ranges.of(make(rows, 64)), make(500, 64, seed=1)
    found = others.quantize("int8", ranges).dequantize()
    assert ((found.vectors * others.vectors).sum(axis=1) > cosine).all()


def test_ranges_are_equal_when_their_values_and_spaces_are():
    ranges = Ranges.of(make())
    assert ranges == Ranges(ranges.low.copy(), ranges.high.copy(), "renamed@1")
    assert ranges != Ranges(ranges.low, ranges.high, "a@2")
    assert ranges != Ranges(ranges.low - 1, ranges.high, "a@1")
    assert ranges != "a@1"


def test_ranges_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        Ranges.of(make()).low[0] = 3


@pytest.mark.parametrize(
    ("low", "high"),
    [([0, 1], [1, 1]), ([0], [np.nan]), ([-np.inf], [0]), ([0], [1, 1]), ([[0]], [[1]]), ([np.nan], [1])],
)
def test_ranges_that_hold_nothing_are_refused(low, high):
    with pytest.raises(ValueError, match="ranges"):
        Ranges(np.array(low, np.float32), np.array(high, np.float32), "a@1")


def test_ranges_of_another_space_or_width_are_refused():
    with pytest.raises(SpaceMismatchError, match="b@2 and a@1"):
        make().quantize("int8", Ranges.of(make(space="b@2")))
    with pytest.raises(SpaceMismatchError, match="first16"):
        make().truncate(16, force=True).quantize("int8", Ranges.of(make()))
    with pytest.raises(ValueError, match="those of 8 numbers"):
        make().quantize("int8", Ranges.of(make(dim=8)))


@EXAMPLES
@given(st.integers(0, 5), st.integers(0, 5), st.integers(1, 40), st.integers(0, 99))
def test_binary_similarity_counts_the_signs_that_differ(rows, others, dim, seed):
    a, b = make(rows, dim, seed), make(others, dim, seed + 1)
    signs = [np.where(side.vectors > 0, 1, -1) for side in (a, b)]
    found = a.quantize("binary").similarity(b.quantize("binary"))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, signs[0] @ signs[1].T / dim, atol=1e-6)


def test_binary_similarity_falls_with_the_cosine():
    vectors, cosines = fan()
    found = vectors[0].quantize("binary").similarity(vectors.quantize("binary"))[0]
    assert (np.diff(found) < 0).all()
    np.testing.assert_allclose(found, 1 - 2 * np.arccos(cosines) / np.pi, atol=0.07)


@pytest.mark.parametrize("change", ["older numpy", "small blocks"])
def test_binary_similarity_is_the_same_in_every_way_of_counting(monkeypatch, change):
    a, b = make(7, 100).quantize("binary"), make(20, 100, seed=1).quantize("binary")
    expected = a.similarity(b)
    if change == "older numpy":
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    else:
        monkeypatch.setattr("mmencode.embeddings.codes.BLOCK", 600)
    np.testing.assert_array_equal(a.similarity(b), expected)


@pytest.mark.parametrize(("kind", "bytes_each"), [("int8", 33), ("binary", 5)])
def test_codes_take_one_byte_or_one_bit_for_each_number(kind, bytes_each):
    assert make(4, 33).quantize(kind).codes.nbytes == 4 * bytes_each


@pytest.mark.parametrize("kind", ["int8", "binary"])
def test_dequantised_vectors_are_of_the_space_and_near(kind):
    embeddings = make(dim=33, positions=np.arange(50) * 2, keys=[f"{row}" for row in range(50)])
    found = embeddings.quantize(kind).dequantize()
    assert (found.space, found.modality, found.keys) == ("a@1", "text", embeddings.keys)
    np.testing.assert_array_equal(found.positions, embeddings.positions)
    np.testing.assert_allclose(np.linalg.norm(found.vectors, axis=1), 1, rtol=1e-6)
    assert (similarity(found, embeddings).argmax(axis=1) == np.arange(50)).all()


def test_former_spelling_of_dequantize_gives_the_same():
    codes = make().quantize("int8")
    np.testing.assert_array_equal(codes.dequantise().vectors, codes.dequantize().vectors)


@pytest.mark.parametrize("kind", ["int8", "binary"])
def test_codes_of_two_spaces_are_refused(kind):
    with pytest.raises(SpaceMismatchError, match=r"a@1 and b@2"):
        make().quantize(kind).similarity(make(space="b@2").quantize(kind))


def test_codes_of_two_kinds_are_refused():
    with pytest.raises(ValueError, match="int8 and of binary"):
        make().quantize("int8").similarity(make().quantize("binary"))


def test_codes_and_vectors_are_not_compared():
    with pytest.raises(TypeError, match="other is Embeddings: quantize it"):
        make().quantize("int8").similarity(make())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"kind": "int4"}, "no kind 'int4'"),
        ({"kind": "binary", "ranges": Ranges.of(make())}, "binary codes have no ranges"),
    ],
)
def test_what_cannot_be_quantised_like_that_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        make().quantize(**options)


@pytest.mark.parametrize("kind", ["int8", "binary"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_vectors_that_are_not_finite_are_refused(kind, value):
    vectors = Embeddings(np.array([[1, value]]), space="a@1", modality="text")
    with pytest.raises(ValueError, match="aren't finite"):
        vectors.quantize(kind, Ranges.of(make(dim=2)) if kind == "int8" else None)


def test_codes_that_stand_for_zero_have_no_direction():
    ranges = Ranges(np.zeros(2), np.ones(2), "a@1")
    vectors = Embeddings(-np.eye(2), space="a@1", modality="text")
    with pytest.raises(ValueError, match="all zero"):
        vectors.quantize("int8", ranges).dequantize()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"codes": np.zeros((2, 4), np.int8)}, "codes are int8"),
        ({"codes": np.zeros((2, 5), np.uint8)}, "codes are uint8"),
        ({"codes": np.zeros(5, np.int8)}, "codes are int8"),
        ({"positions": np.arange(3)}, "positions of shape"),
        ({"keys": ("a",)}, "1 keys"),
        ({"keys": ()}, "0 keys"),
        ({"ranges": None}, "have ranges"),
        ({"kind": "binary", "codes": np.zeros((2, 1), np.uint8)}, "have none"),
        ({"space": "b@2"}, "a@1 and b@2"),
    ],
)
def test_codes_whose_parts_do_not_fit_together_are_refused(change, words):
    parts = {
        "kind": "int8",
        "codes": np.zeros((2, 5), np.int8),
        "dim": 5,
        "space": "a@1",
        "modality": "text",
        "positions": np.arange(2),
        "ranges": Ranges.of(make(dim=5)),
    }
    with pytest.raises(ValueError, match=words):
        Quantised(**(parts | change))


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
@pytest.mark.parametrize("kind", ["int8", "binary"])
@EXAMPLES
@given(st.integers(0, 6), st.integers(1, 20), st.booleans())
def test_file_restores_codes_that_are_comparable(tmp_path_factory, suffix, kind, rows, dim, with_keys):
    path = tmp_path_factory.mktemp("q") / f"x{suffix}"
    keys = [f"{row}.jpg" for row in range(rows)] if with_keys else None
    codes = make(rows, dim, positions=np.arange(rows) * 2, keys=keys).quantize(kind)
    codes.save(path)
    loaded = Quantised.load(path)
    np.testing.assert_array_equal(loaded.codes, codes.codes)
    np.testing.assert_array_equal(loaded.positions, codes.positions)
    assert (loaded.kind, loaded.dim, loaded.space, loaded.modality) == (kind, dim, "a@1", "text")
    assert (loaded.keys, loaded.ranges) == (codes.keys, codes.ranges)
    np.testing.assert_array_equal(loaded.similarity(codes), codes.similarity(codes))


def test_file_of_vectors_is_not_taken_for_one_of_codes(tmp_path):
    make().save(tmp_path / "x.npz")
    with pytest.raises(InputError, match="no file of mmencode-codes-1: its format is 'mmencode-emb"):
        Quantised.load(tmp_path / "x.npz")


def test_damaged_file_of_codes_is_an_input_error(tmp_path):
    path = tmp_path / "x.safetensors"
    make().quantize("int8").save(path)
    path.write_bytes(path.read_bytes().replace(b'"dim":"32"', b'"dim":"31"'))
    with pytest.raises(InputError, match="can't be read: codes are"):
        Quantised.load(path)


@pytest.mark.parametrize("use", [make().quantize("binary").save, Quantised.load])
def test_codes_go_into_no_table(tmp_path, use):
    with pytest.raises(ValueError, match=r"make it one of \.safetensors, \.npz$"):
        use(tmp_path / "x.parquet")


def test_repr_of_codes_says_what_they_are():
    assert repr(make().quantize("binary")) == "<Quantised 50 x 32, binary, text, a@1>"
