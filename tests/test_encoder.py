from __future__ import annotations

import pytest
import torch
from torch import nn

from mmencode.encoder import Encoder, digest, identify, known
from mmencode.projection import LabelAnchored
from mmencode.testing import FakeImage, FakeText


def test_digest_sees_names_types_shapes_and_values():
    def module(**tensors):
        built = nn.Module()
        for name, tensor in tensors.items():
            built.register_buffer(name, tensor)
        return built

    base = digest(module(a=torch.zeros(4)))
    assert base.startswith("sha256:")
    assert base == digest(module(a=torch.zeros(4)))
    for other in (
        module(b=torch.zeros(4)),
        module(a=torch.zeros(4, dtype=torch.float64)),
        module(a=torch.zeros(2, 2)),
        module(a=torch.tensor([0, 0, 0, 1e-30])),
        module(a=torch.zeros(4), b=torch.zeros(0)),
    ):
        assert digest(other) != base


def test_digest_does_not_see_memory_layout():
    weight = torch.arange(6.0).reshape(2, 3)
    one, other = nn.Linear(3, 2, bias=False), nn.Linear(3, 2, bias=False)
    one.weight.data = weight
    other.weight.data = weight.t().contiguous().t()
    assert digest(one) == digest(other)


def test_identity_is_the_encoders_words_and_digests():
    identity = identify(FakeText(), LabelAnchored(torch.eye(8)))
    assert identity.pooling == "mean"
    assert identity.projection.startswith("sha256:")
    assert identify(FakeImage()).projection == "identity"


def test_weights_made_by_rounded_sums_are_known_by_where_they_come_from():
    encoder = FakeText()
    assert identify(encoder).weights == digest(encoder)
    encoder.weights_digest = "sha256:base and adapter"
    assert identify(encoder).weights == "sha256:base and adapter"


def test_projection_is_known_by_its_digest_and_the_reservation_about_it():
    projection = LabelAnchored(torch.eye(8))
    assert known(projection) == digest(projection)
    projection.note = "not above chance"
    assert known(projection) == f"not above chance, {digest(projection)}"
    assert known(nn.Identity()) == "class:Identity"


def test_encoder_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Encoder()


def test_default_collate_stacks_and_default_cost_counts():
    items = [{"stripes": torch.zeros(8)}, {"stripes": torch.ones(8)}]
    assert FakeImage().collate(items)["stripes"].shape == (2, 8)
    assert FakeImage().cost(items[0]) == 8


def test_encoder_without_tokens_says_so():
    with pytest.raises(NotImplementedError, match="FakeImage has no token outputs"):
        FakeImage().forward_tokens({})
