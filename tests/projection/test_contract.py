from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

from mmencode.encoder import digest
from mmencode.projection import (
    Chain,
    IdentityProjection,
    LabelAnchored,
    Linear,
    Perceptron,
    Truncation,
)

ANCHORS = torch.eye(4, 3)  # of four labels


class Scaled(nn.Linear):
    """A linear layer that computes something else."""

    def forward(self, inputs):
        return 2 * super().forward(inputs)


def linear(width, dim):
    weight = torch.randn(dim, width, generator=torch.Generator().manual_seed(width))
    return Linear(weight, torch.ones(dim))


def test_identity_gives_the_features():
    features = torch.randn(3, 5)
    assert torch.equal(IdentityProjection()(features), features)


@pytest.mark.parametrize(
    ("projection", "width", "dim"),
    [
        (IdentityProjection(), None, None),
        (LabelAnchored(ANCHORS), 4, 3),
        (LabelAnchored(ANCHORS, head=nn.Linear(7, 4)), 7, 3),
        (LabelAnchored(ANCHORS, head=Scaled(7, 4)), 7, 3),
        (LabelAnchored(ANCHORS, head=nn.Sequential(nn.Linear(7, 4))), None, 3),
        (linear(6, 2), 6, 2),
        (Truncation(5), None, 5),
        (Perceptron(6, 2, hidden=9), 6, 2),
        (Chain(linear(6, 2), linear(2, 8)), 6, 8),
        (Chain(linear(6, 2), IdentityProjection()), 6, 2),
        (Chain(IdentityProjection(), linear(2, 8)), 2, 8),
        (Chain(Truncation(2), linear(2, 8)), None, 8),
    ],
)
def test_projection_knows_what_it_takes_and_gives(projection, width, dim):
    assert (projection.width, projection.dim) == (width, dim)
    if width is not None:
        assert projection(torch.randn(3, width)).shape == (3, dim)


def test_truncation_keeps_the_first_numbers():
    features = torch.randn(3, 8)
    assert torch.equal(Truncation(5)(features), features[:, :5])


def test_truncations_to_two_sizes_have_two_digests():
    assert digest(Truncation(5)) != digest(Truncation(6))
    assert digest(Truncation(5)) == digest(Truncation(5))


@pytest.mark.parametrize("dim", [0, -1])
def test_truncation_to_nothing_is_refused(dim):
    with pytest.raises(ValueError, match="make it a positive int"):
        Truncation(dim)


def test_truncation_s_state_says_its_size():
    other = Truncation(5)
    other.load_state_dict(Truncation(3).state_dict())
    assert other(torch.ones(1, 8)).shape == (1, 3)


def test_linear_sees_only_the_direction():
    features = torch.randn(4, 6)
    torch.testing.assert_close(
        linear(6, 2)(features * torch.tensor([[0.1], [1], [7], [90]])), linear(6, 2)(features)
    )


def test_linear_is_the_matrix_and_the_bias():
    projection = linear(6, 2)
    unit = torch.eye(6)
    torch.testing.assert_close(projection(5 * unit), projection.weight.T + projection.bias)


def test_matrix_that_changes_later_changes_no_projection():
    weight, bias = torch.eye(3), torch.zeros(3)
    projection = Linear(weight, bias)
    before = digest(projection)
    weight.zero_()
    bias.fill_(1)
    assert digest(projection) == before


def test_projection_made_of_trained_parameters_can_be_copied():
    weight = nn.Parameter(torch.eye(3))
    for projection in (Linear(weight * 2, torch.zeros(3)), LabelAnchored(weight * 2)):
        assert digest(deepcopy(projection)) == digest(projection)


def test_chain_is_one_behind_the_other_on_unit_vectors():
    first, second = (
        LabelAnchored(ANCHORS, activation="sigmoid"),
        LabelAnchored(torch.eye(3), activation="sigmoid"),
    )
    features = torch.randn(5, 4)
    between = first(features) / first(features).norm(dim=1, keepdim=True)
    torch.testing.assert_close(Chain(first, second)(features), second(between))


def test_order_in_a_chain_counts_in_the_digest():
    one, other = Linear(torch.eye(2), torch.zeros(2)), Linear(-torch.eye(2), torch.zeros(2))
    assert digest(Chain(one, other)) != digest(Chain(other, one))
