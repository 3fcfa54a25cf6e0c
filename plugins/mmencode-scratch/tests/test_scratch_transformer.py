"""The transformer computes what torch's own computes, on the same weights, padding included."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmencode_scratch.transformer import Attention, Layer, Transformer, sinusoids
from torch import Tensor, nn


def copied(ours: Layer, theirs: nn.TransformerEncoderLayer) -> None:
    """Give our layer the weights of torch's."""
    attention = theirs.self_attn
    parts = (ours.attention.query, ours.attention.key, ours.attention.value)
    pairs = zip(parts, attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3), strict=True)
    for part, weight, bias in pairs:
        part.load_state_dict({"weight": weight, "bias": bias})
    ours.attention.output.load_state_dict(attention.out_proj.state_dict())
    ours.attended.load_state_dict(theirs.norm1.state_dict())
    ours.feed_forward.widen.load_state_dict(theirs.linear1.state_dict())
    ours.feed_forward.narrow.load_state_dict(theirs.linear2.state_dict())
    ours.fed.load_state_dict(theirs.norm2.state_dict())


def drawn(module: nn.Module) -> None:
    """Weights that are no module's first ones: norms with a gain and an offset, biases that aren't zero."""
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)


@torch.no_grad()
def both(
    width: int, heads: int, inner: int, layers: int, lengths: list[int], seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Our stack's output and torch's `[b, t, width]` for items of these lengths, and the mask."""
    torch.manual_seed(seed)
    one = nn.TransformerEncoderLayer(width, heads, inner, dropout=0.0, batch_first=True)
    theirs = nn.TransformerEncoder(one, layers, enable_nested_tensor=False).eval()
    drawn(theirs)
    ours = [Layer(width, heads, inner).eval() for _ in range(layers)]
    for mine, other in zip(ours, theirs.layers, strict=True):
        copied(mine, other)
    hidden = torch.randn(len(lengths), max(lengths), width)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    found = hidden
    for layer in ours:
        found = layer(found, mask)
    return found, theirs(hidden, src_key_padding_mask=~mask), mask


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_stack_equals_torchs_with_the_same_weights_and_mask(layers: int) -> None:
    found, expected, mask = both(64, 4, 96, layers, [7, 3, 12, 1])
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(
    heads=st.integers(1, 4),
    each=st.integers(1, 5),
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    seed=st.integers(0, 100),
)
def test_stack_equals_torchs_for_any_shape(heads: int, each: int, lengths: list[int], seed: int) -> None:
    found, expected, mask = both(2 * each * heads, heads, 11, 2, lengths, seed)
    torch.testing.assert_close(found[mask], expected[mask], rtol=0, atol=1e-5)


def test_what_stands_in_the_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    layer = Layer(16, 2, 8).eval()
    hidden, mask = torch.randn(1, 6, 16), torch.tensor([[True] * 4 + [False] * 2])
    other = hidden.clone()
    other[:, 4:] = 1e4
    torch.testing.assert_close(layer(hidden, mask)[:, :4], layer(other, mask)[:, :4], rtol=0, atol=0)


def test_positions_are_those_of_the_papers_formula() -> None:
    found = sinusoids(50, 8)
    for position in (0, 1, 49):
        for pair in range(4):
            angle = position / 10000 ** (2 * pair / 8)
            assert found[position, 2 * pair] == pytest.approx(math.sin(angle), abs=1e-5)
            assert found[position, 2 * pair + 1] == pytest.approx(math.cos(angle), abs=1e-5)


@given(step=st.integers(0, 20), start=st.integers(0, 29))
def test_step_between_positions_is_one_rotation_wherever_it_begins(step: int, start: int) -> None:
    rows = sinusoids(50, 8).double().view(50, 4, 2)
    products = (rows[start] * rows[start + step]).sum(dim=-1)
    torch.testing.assert_close(products, rows[step, :, 1], rtol=0, atol=1e-5)


def test_order_of_words_counts() -> None:
    torch.manual_seed(0)
    network = Transformer(vocabulary=10, width=16, layers=1, heads=2, inner=8, tokens=6).eval()
    drawn(network)
    mask = torch.ones(1, 3, dtype=torch.bool)
    one, other = (network(torch.tensor([ids]), mask).mean(dim=1) for ids in ([1, 2, 3], [3, 2, 1]))
    assert not torch.allclose(one, other, atol=1e-3)


def test_new_transformer_is_a_normalised_bag_of_embeddings() -> None:
    torch.manual_seed(0)
    network = Transformer(vocabulary=10, width=16, layers=3, heads=2, inner=8, tokens=6).eval()
    ids, mask = torch.tensor([[1, 2, 3]]), torch.ones(1, 3, dtype=torch.bool)
    expected = nn.functional.layer_norm(network.embed(ids), (16,))
    torch.testing.assert_close(network(ids, mask), expected, rtol=0, atol=1e-4)


def test_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width of 10 can't be divided among 4 heads"):
        Attention(10, 4)
