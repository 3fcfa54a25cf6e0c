"""Faster transformer blocks for open_clip: the same weights, and the same numbers up to rounding."""

from __future__ import annotations

from typing import Any

import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class Attention(nn.Module):
    """Multi-head attention as the `nn.MultiheadAttention` of an open_clip block, of ordinary linear layers.

    Linear layers can be packed (see `mmencode.engine.packing`), and queries can be fewer than keys. The
    weights share the memory of the module that this one replaces, and the block calls it in the same way.
    """

    queries: nn.Linear
    keys_values: nn.Linear
    output: nn.Linear

    def __init__(self, plain: nn.MultiheadAttention) -> None:
        super().__init__()
        width = plain.embed_dim
        self.heads = plain.num_heads
        # On "meta" no initial weights are drawn from the user's generator; all of them come from `plain`.
        self.queries = nn.Linear(width, width, device="meta")
        self.keys_values = nn.Linear(width, 2 * width, device="meta")
        self.output = nn.Linear(width, width, device="meta")
        weights = torch.split(plain.in_proj_weight.detach(), [width, 2 * width])
        biases = torch.split(plain.in_proj_bias.detach(), [width, 2 * width])
        for layer, weight, bias in zip((self.queries, self.keys_values), weights, biases, strict=True):
            layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)
        self.output.weight, self.output.bias = plain.out_proj.weight, plain.out_proj.bias

    def forward(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Attend from queries `[b, q, width]` to keys, which are the values, too, `[b, t, width]`."""
        b, t, width = keys.shape
        shape = (b, -1, self.heads, width // self.heads)
        q = self.queries(queries).view(shape).transpose(1, 2)  # [b, heads, q, width / heads]
        k, v = (part.view(shape).transpose(1, 2) for part in self.keys_values(keys).split(width, dim=-1))
        if attn_mask is not None and attn_mask.ndim == 3:  # [b * heads, q, t]
            attn_mask = attn_mask.view(b, self.heads, -1, t)
        mixed = scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
        return self.output(mixed.transpose(1, 2).flatten(2)), None


def quicken(transformer: Any) -> None:
    """Replace the attention of an open_clip `Transformer`'s blocks by the faster `Attention`.

    Blocks of other kinds keep theirs. Gain, with packing and `outputs_at`: 1.20 times for captions, 1.14 for
    images (tests/benchmarks/gains.py).
    """
    for block in transformer.resblocks:
        usual = type(block) is ResidualAttentionBlock and type(block.attn) is nn.MultiheadAttention
        if usual and block.attn._qkv_same_embed_dim and block.attn.batch_first:
            block.attn = Attention(block.attn).train(block.training)


def is_quick(transformer: Any) -> bool:
    """Whether the last block of a transformer can be computed for one token only."""
    return type(transformer.resblocks[-1]) is ResidualAttentionBlock and isinstance(
        transformer.resblocks[-1].attn, Attention
    )


def outputs_at(transformer: Any, hidden: Tensor, places: Tensor, mask: Tensor | None) -> Tensor:
    """Compute a transformer's outputs `[b, width]` at one place of each row of hidden `[b, t, width]`.

    In the last block attention's queries and the feed-forward net are computed for that place alone. The mask
    `[t, t]` is added to the attention scores. Gain: 1.08 times for captions, 1.06 for images
    (tests/benchmarks/gains.py).
    """
    *blocks, last = transformer.resblocks
    for block in blocks:
        hidden = block(hidden, attn_mask=mask)
    rows = torch.arange(hidden.shape[0], device=hidden.device)  # which a trace sees
    asking = hidden[rows, places].unsqueeze(1)  # [b, 1, width]
    seen = None if mask is None else mask[places][:, None, None].to(hidden.dtype)  # [b, 1, 1, t]
    keys = last.ln_1(hidden)
    mixed, _ = last.attn(last.ln_1(asking), keys, keys, attn_mask=seen)
    asking = asking + last.ls_1(mixed)
    asking = asking + last.ls_2(last.mlp(last.ln_2(asking)))
    result: Tensor = asking[:, 0]
    return result
