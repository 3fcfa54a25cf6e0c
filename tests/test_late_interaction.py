"""Spaces whose encoders give many vectors for each item, from the batch to the search."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

import mmencode
from mmencode import MultiEncoder
from mmencode.embeddings.embeddings import Embeddings
from mmencode.embeddings.multi import MultiEmbeddings
from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, InputError, SpaceMismatchError, SpecError
from mmencode.plugins.spec import EncoderSpec
from mmencode.projection import Linear
from mmencode.spaces.space import Space
from mmencode.testing import FakeMultiText, FakeText, fake_multi_specs, fake_specs, sample_items


class TARGET:
    """Where the encoder under test is put, so that a spec's target can name it."""

    built = FakeMultiText


@pytest.fixture
def late():
    runtime = Runtime("cpu", batch_size=3, workers=2)
    with Space("late", fake_multi_specs("late"), runtime=runtime) as space:
        yield space


@pytest.fixture
def space_of(monkeypatch):
    def make(encoder, outputs="many"):
        monkeypatch.setattr(TARGET, "built", encoder)
        target = f"{__name__}:TARGET.built"
        spec = EncoderSpec(name="test", modality="text", target=target, dim=8, outputs=outputs)
        return Space("test", [spec], runtime=Runtime("cpu", batch_size=3, workers=2))

    return make


def test_each_item_has_the_vectors_of_what_counts(late):
    multi = late.encode_multi("text", ["a", "b c!", "seventeen letters"])
    assert multi.counts.tolist() == [1, 2, 16]
    assert (multi.space, multi.modality, multi.dim) == (late.id, "text", 8)
    multi.require_unit()
    np.testing.assert_array_equal(multi.arrays[1], late.encode_multi("text", ["bc"]).vectors)
    assert late.encode_multi("image", sample_items("image", 2)).counts.tolist() == [4, 4]


def test_vectors_are_the_normalised_tokens(late):
    texts = sample_items("text")
    for tokens, vectors in zip(
        late.encode_tokens("text", texts), late.encode_multi("text", texts).arrays, strict=True
    ):
        expected = tokens / np.linalg.norm(tokens, axis=1, keepdims=True)
        np.testing.assert_allclose(vectors, expected, atol=1e-6)


def test_vectors_go_through_the_projection():
    head = _linear()
    with Space("late", fake_multi_specs("late")[:1], projections={"text": head}) as space:
        multi = space.encode_multi("text", ["ab"])
        tokens = space.encode_tokens("text", ["ab"])[0]
    expected = head(torch.from_numpy(tokens)).numpy()
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(multi.vectors, expected, atol=1e-6)
    assert multi.dim == head.dim


def _linear():
    generator = torch.Generator().manual_seed(0)
    return Linear(torch.randn(4, 8, generator=generator), torch.randn(4, generator=generator))


def test_bad_items_are_named_and_shift_nothing(late):
    batch = ["a", None, "bcd", "", "..."]
    multi = late.encode_multi("text", batch, on_error="skip")
    assert multi.counts.tolist() == [1, 3]
    assert multi.positions.tolist() == [0, 2]
    assert [error.index for error in multi.errors] == [1, 3, 4]
    assert "none of its positions counts" in str(multi.errors[2])
    with pytest.raises(InputError) as caught:
        late.encode_multi("text", batch)
    assert caught.value.index == 1


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_a_vector_without_direction_is_that_items_error(space_of, value):
    class Broken(FakeMultiText):
        def forward_tokens(self, tensors):
            hidden, mask = super().forward_tokens(tensors)
            hidden = hidden.clone()
            hidden[mask.sum(dim=1) == 2, 1] = value
            return hidden, mask

    with space_of(Broken) as space:
        multi = space.encode_multi("text", ["abc", "ab", "c"], on_error="skip")
    assert multi.positions.tolist() == [0, 2]
    assert "without direction at 1" in str(multi.errors[0])


def test_empty_batch_has_no_items(late):
    multi = late.encode_multi("text", [])
    assert (len(multi), multi.vectors.shape, multi.space) == (0, (0, 8), late.id)


def test_pooling_while_encoding_is_pooling_afterwards(late):
    texts = sample_items("text")
    pooled, whole = late.encode_multi("text", texts, pool=2, protected=1), late.encode_multi("text", texts)
    np.testing.assert_array_equal(pooled.vectors, whole.pool(2, protected=1).vectors)
    assert pooled.space == f"{late.id}:pool2+1"
    assert late.encode_multi("text", [], pool=2).space == f"{late.id}:pool2"
    assert late.search(whole, pooled, 1).rows.shape == (len(texts), 1)


def test_encoding_into_the_other_kind_is_refused(late, space):
    for call in (
        lambda: late.encode("text", ["a"]),
        lambda: late.stream("text", ["a"]),
        lambda: late.encode_mixed([("text", "a")]),
    ):
        with pytest.raises(EncoderError, match="have many vectors each in space 'late'") as caught:
            call()
        assert "encode_multi() gives them" in caught.value.remedy
    for call in (space.encode_multi, space.stream_multi):
        with pytest.raises(EncoderError, match="have one vector each in space 'fake'"):
            call("text", ["a"])
    with pytest.raises(EncoderError, match="a classifier compares single vectors") as caught:
        late.classifier(["cat", "dog"])
    assert "mmencode.similarity(" in caught.value.remedy


def test_a_stream_gives_the_vectors_of_one_call_in_chunks(late):
    texts = [f"the number {number}" for number in range(10)]
    whole = late.encode_multi("text", texts, pool=2, protected=1)
    parts = list(late.stream_multi("text", iter(texts), pool=2, protected=1, chunk=4))
    assert [part.positions.tolist() for part in parts] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    joined = MultiEmbeddings.concatenate(parts)
    np.testing.assert_array_equal(joined.vectors, whole.vectors)
    assert (joined.space, joined.towers, joined.counts.tolist()) == (
        whole.space,
        whole.towers,
        whole.counts.tolist(),
    )


def test_a_stream_gives_what_came_before_a_failure_and_skips_failures(late):
    stream = late.stream_multi("text", ["a", "b", " ", "c"], chunk=1)
    assert [len(next(stream)) for _ in range(2)] == [1, 1]
    with pytest.raises(InputError) as caught:
        next(stream)
    assert caught.value.index == 2
    parts = list(late.stream_multi("text", ["a", " ", "c"], chunk=1, on_error="skip"))
    assert sum(len(part) for part in parts) == 2
    assert [error.index for part in parts for error in part.errors] == [1]


def test_a_stream_without_end_is_drawn_no_further_than_it_is_read(late):
    drawn = []

    def letters():
        while True:
            drawn.append(1)
            yield "letters"

    stream = late.stream_multi("text", letters(), chunk=1)
    assert [len(next(stream)) for _ in range(3)] == [1, 1, 1]
    stream.close()
    assert len(drawn) <= 4


def test_towers_are_saved_and_loaded(late, tmp_path):
    multi = late.encode_multi("text", ["a", "bc"])
    for suffix in ("safetensors", "npz", "parquet"):
        multi.save(tmp_path / f"multi.{suffix}")
        assert MultiEmbeddings.load(tmp_path / f"multi.{suffix}").towers == multi.towers
    codes = multi.quantize("float16")
    codes.save(tmp_path / "codes.npz")
    assert mmencode.MultiQuantised.load(tmp_path / "codes.npz").towers == multi.towers
    assert codes.dequantize().towers == multi.mean().towers == multi.pool(2).towers == multi.towers


def test_mixed_kinds_are_refused_as_mixed_spaces_are(late, space):
    many, one = late.encode_multi("text", ["a", "bc"]), space.encode("text", ["a"])
    for compare in (mmencode.similarity, mmencode.search):
        with pytest.raises(SpaceMismatchError, match="single vectors and many can't be"):
            compare(many, one)
        with pytest.raises(SpaceMismatchError, match=r"has many for each item, and .* has one"):
            compare(one, many.quantize("binary"))
        with pytest.raises(TypeError, match="is ndarray, which doesn't say"):
            compare(many, one.vectors)
    with pytest.raises(SpaceMismatchError, match="two spaces"):
        mmencode.search(many, MultiEmbeddings(many.vectors, many.counts, space="b@2", modality="text"))


def test_kinds_do_not_mix_in_one_space():
    specs = [*fake_specs()[:1], *fake_multi_specs()[1:]]
    with Space("both", specs) as space, pytest.raises(EncoderError, match=r"one vector .* and others many"):
        space.encode("text", ["a"])


def test_a_spec_that_says_the_other_kind_is_refused(space_of):
    with space_of(FakeText) as space, pytest.raises(EncoderError, match="says 'many'"):
        space.encode_multi("text", ["a"])
    with space_of(FakeMultiText, "one") as space, pytest.raises(EncoderError, match="says 'one'"):
        space.encode("text", ["a"])
    with pytest.raises(SpecError, match="outputs"):
        EncoderSpec(name="a", modality="text", target="a:b", dim=8, outputs="several")


def test_many_vectors_are_in_the_identity(late):
    pooling = {tower.modality: tower.identity.pooling for tower in late.card.towers}
    assert pooling["text"] == "many vectors: all but spaces and ASCII punctuation"
    assert issubclass(FakeMultiText, MultiEncoder)


def test_space_is_saved_and_verified(late, tmp_path):
    probes = late.exact()
    found = probes.verify(_with_probes(late))
    assert found.same
    assert set(found.angles) == {"text", "image"}


def _with_probes(space):
    from dataclasses import replace

    from mmencode.spaces.verification import encode_probes

    probes = encode_probes(space._encode_singly, space.specs.values(), space.limits.wait)
    return replace(space.card, probes=probes)


def test_a_match_of_a_token_is_found_that_a_single_vector_misses(late):
    # One word of a long document is asked for; the means of the long ones are all alike.
    long = ["abcdefghij" * 3 + letter for letter in "klmno"]
    documents, query = late.encode_multi("text", long), late.encode_multi("text", ["n"])
    assert late.search(query, documents, 1).positions.tolist() == [[3]]
    assert mmencode.search(query, documents, 5).scores[0, 0] == pytest.approx(1)
    assert mmencode.similarity(query, documents)[0].argmax() == 3
    assert isinstance(documents.mean(), Embeddings)
