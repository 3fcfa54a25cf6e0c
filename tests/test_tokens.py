from __future__ import annotations

import numpy as np
import pytest
import torch

from mmencode.engine.runtime import Runtime
from mmencode.errors import EncoderError, InputError
from mmencode.plugins.spec import EncoderSpec
from mmencode.spaces.space import Space
from mmencode.testing import FakeText, sample_items


class TARGET:
    """Where the encoder under test is put, so that a spec's target can name it."""

    built = FakeText


@pytest.fixture
def space_of(monkeypatch):
    def make(encoder):
        monkeypatch.setattr(TARGET, "built", encoder)
        spec = EncoderSpec(name="test", modality="text", target=f"{__name__}:TARGET.built", dim=8)
        return Space("test", [spec], runtime=Runtime("cpu", batch_size=3, workers=2))

    return make


def test_each_item_has_its_own_tokens_without_padding(space):
    texts = ["a", "four", "seventeen letters"]
    tokens = space.encode_tokens("text", texts)
    assert [array.shape for array in tokens] == [(len(text), 8) for text in texts]
    assert all(array.dtype == np.float32 for array in tokens)
    assert len(tokens) == 3
    assert (tokens.encoder, tokens.modality, tokens.grid) == ("fake/text", "text", None)


def test_mean_of_the_tokens_is_the_embedding_of_an_encoder_that_pools_so(space):
    texts = sample_items("text")
    means = np.stack([array.mean(axis=0) for array in space.encode_tokens("text", texts)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    np.testing.assert_allclose(means, space.encode("text", texts), atol=1e-6)


def test_bad_items_are_named_and_shift_nothing(space):
    batch = ["a", None, "bcd", ""]
    tokens = space.encode_tokens("text", batch, on_error="skip")
    assert [len(array) for array in tokens] == [1, 3]
    assert tokens.positions.tolist() == [0, 2]
    assert [error.index for error in tokens.errors] == [1, 3]
    with pytest.raises(InputError) as caught:
        space.encode_tokens("text", batch)
    assert caught.value.index == 1


def test_tokens_that_are_not_finite_are_that_items_error(space_of):
    class Broken(FakeText):
        def forward_tokens(self, tensors):
            hidden, mask = super().forward_tokens(tensors)
            hidden[0] = torch.nan
            return hidden, mask

    with pytest.raises(InputError, match="aren't finite") as caught:
        space_of(Broken).encode_tokens("text", ["a", "bb"])
    assert caught.value.index == 0


def test_mask_of_another_shape_is_the_encoders_error(space_of):
    class Broken(FakeText):
        def forward_tokens(self, tensors):
            hidden, mask = super().forward_tokens(tensors)
            return hidden[:, :1], mask

    with pytest.raises(EncoderError, match="gave tokens of shape"):
        space_of(Broken).encode_tokens("text", ["a", "bb"])


def test_encoder_without_tokens_says_so(space):
    with pytest.raises(EncoderError, match="FakeImage has no token outputs"):
        space.encode_tokens("image", sample_items("image", 1))


def test_empty_batch_has_no_tokens(space):
    assert len(space.encode_tokens("text", [])) == 0
