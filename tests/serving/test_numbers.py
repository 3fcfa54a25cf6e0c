"""Vectors as the bytes and bits that protocols ask for."""

from __future__ import annotations

import base64

import numpy as np
import pytest

import mmencode
from mmencode.serving.numbers import show, to_numbers


@pytest.fixture(scope="module")
def vectors(default_space):
    return list(default_space.encode("text", ["a cat", "a rocket", "a cup of coffee"]).vectors)


def test_floats_are_the_vectors(vectors):
    assert np.array_equal(to_numbers(vectors, "float"), np.stack(vectors))


def test_a_code_stands_for_a_number_within_half_a_step(vectors):
    codes = to_numbers(vectors, "int8").astype(np.float64)
    assert np.abs((2 * codes + 1) / 255 - np.stack(vectors)).max() <= 1 / 255 + 1e-6


def test_int8_codes_are_those_of_the_librarys_quantisation(default_space):
    found = default_space.encode("text", ["a cat", "a rocket"])
    empty = default_space.encode("text", [])
    ranges = mmencode.embeddings.codes.Ranges.of(empty)
    assert np.array_equal(to_numbers(list(found.vectors), "int8"), found.quantize("int8", ranges).codes)


def test_codes_of_an_item_dont_depend_on_its_neighbours(vectors):
    for kind in ("int8", "uint8", "binary", "ubinary"):
        assert np.array_equal(to_numbers(vectors, kind)[1:2], to_numbers(vectors[1:2], kind))


def test_cosines_of_int8_codes_err_by_three_thousandths(default_space):
    found = default_space.encode("text", [f"the number {place} of {place * 7}" for place in range(50)])
    codes = to_numbers(list(found.vectors), "int8").astype(np.float64)
    codes /= np.linalg.norm(codes, axis=1, keepdims=True)
    errors = (codes @ codes.T - found.vectors @ found.vectors.T)[np.triu_indices(50, 1)]
    assert 0.002 < errors.std() < 0.004


def test_unsigned_bytes_are_signed_ones_plus_128(vectors):
    assert np.array_equal(
        to_numbers(vectors, "uint8").astype(int), to_numbers(vectors, "int8").astype(int) + 128
    )


def test_bits_are_signs_and_signed_ones_are_less_128(vectors):
    bits = to_numbers(vectors, "ubinary")
    assert np.array_equal(np.unpackbits(bits, axis=1), np.stack(vectors) > 0)
    assert np.array_equal(to_numbers(vectors, "binary").astype(int), bits.astype(int) - 128)


@pytest.mark.parametrize(("kind", "dtype"), [("float", "<f4"), ("int8", "i1"), ("ubinary", "u1")])
def test_base64_holds_the_bytes_of_the_numbers(vectors, kind, dtype):
    packed = [np.frombuffer(base64.b64decode(row), dtype) for row in show(vectors, kind, packed=True)]
    assert np.array_equal(packed, to_numbers(vectors, kind))
