"""The encoder of a transformer, from scratch: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, 3.

Read it from top to bottom: positions, attention, the feed-forward net, a layer of both, the stack. Shapes
stand at the end of a line: b items in a batch, t tokens, d numbers for each (`width`), h heads.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def sinusoids(length: int, width: int) -> Tensor:
    """Positional encodings `[length, width]` (3.5): sines in the even columns, cosines in the odd ones.

    Their wavelengths grow from 2 pi to 10 000 * 2 pi, so that a step of k tokens is a rotation of each pair,
    the same wherever it begins. Without them attention would see a set of tokens without order.
    """
    position = torch.arange(length, dtype=torch.float32).unsqueeze(1)  # [length, 1]
    exponent = torch.arange(0, width, 2, dtype=torch.float32) / width  # [d / 2]
    angle = position / 10000**exponent  # [length, d / 2]
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # [length, d]


class Attention(nn.Module):
    """Multi-head self-attention (3.2): each token mixes in the others by how well they match its query.

    Each head does so in its own d / h numbers, and can look for something else.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"a width of {width} can't be divided among {heads} heads")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map hidden `[b, t, d]` to the same shape; mask `[b, t]` is true where a token counts."""
        query = self._split(self.query(hidden))  # [b, h, t, d / h]
        key = self._split(self.key(hidden))  # [b, h, t, d / h]
        value = self._split(self.value(hidden))  # [b, h, t, d / h]
        scores = query @ key.transpose(-2, -1)  # [b, h, t, t]: row i asks, column j answers
        scores = scores / math.sqrt(query.shape[-1])  # of variance 1 again, where softmax has a gradient
        scores = scores.masked_fill(~mask[:, None, None, :], float("-inf"))  # padding answers nobody
        weights = scores.softmax(dim=-1)  # [b, h, t, t]: each row adds up to 1
        mixed = weights @ value  # [b, h, t, d / h]
        joined = mixed.transpose(1, 2).flatten(2)  # [b, t, d]: the heads side by side
        attended: Tensor = self.output(joined)  # [b, t, d]
        return attended

    def _split(self, rows: Tensor) -> Tensor:
        """Split rows `[b, t, d]` into heads `[b, h, t, d / h]`."""
        b, t, d = rows.shape
        return rows.view(b, t, self.heads, d // self.heads).transpose(1, 2)


class FeedForward(nn.Module):
    """The position-wise net (3.3): two matrices with a ReLU between, for each token by itself."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.widen = nn.Linear(width, inner)
        self.narrow = nn.Linear(inner, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map hidden `[b, t, d]` to the same shape."""
        wide = self.widen(hidden).relu()  # [b, t, inner]
        fed: Tensor = self.narrow(wide)  # [b, t, d]
        return fed


class Layer(nn.Module):
    """Attention, then the feed-forward net; each is added to its input, and the sum is normalised (3.1).

    The norm stands behind the sum, as in the paper; many later models put it before. What is added goes
    through dropout while training (5.4). A new layer adds nothing, since the last matrices are zero.
    """

    def __init__(self, width: int, heads: int, inner: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.attention = Attention(width, heads)
        self.attended = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, inner)
        self.fed = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)
        for last in (self.attention.output, self.feed_forward.narrow):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Map hidden `[b, t, d]` to the same shape; mask `[b, t]` is true where a token counts."""
        hidden = self.attended(hidden + self.dropout(self.attention(hidden, mask)))  # [b, t, d]
        hidden = self.fed(hidden + self.dropout(self.feed_forward(hidden)))  # [b, t, d]
        return hidden


class Transformer(nn.Module):
    """Token ids to contextual tokens: embeddings with positions (3.4, 3.5), then a stack of layers.

    A new one is a normalised bag of embeddings, since its layers add nothing yet.
    """

    positions: Tensor

    def __init__(
        self,
        vocabulary: int,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        tokens: int,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        self.layers = nn.ModuleList(Layer(width, heads, inner, dropout) for _ in range(layers))
        self.dropout = nn.Dropout(dropout)
        self.register_buffer("positions", sinusoids(tokens, width), persistent=False)  # [tokens, d]
        # Small beside the positions, so that a word that training hardly ever shows adds little noise.
        nn.init.normal_(self.embedding.weight, std=0.02 * width**-0.5)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Map ids `[b, t]`, t at most `tokens`, and their mask `[b, t]` to contextual tokens `[b, t, d]`."""
        hidden = self.embed(ids)  # [b, t, d]
        for layer in self.layers:
            hidden = layer(hidden, mask)  # [b, t, d]
        return hidden

    def embed(self, ids: Tensor) -> Tensor:
        """Map ids `[b, t]` to embeddings, scaled to the size of the positions and added to them."""
        words = self.embedding(ids) * math.sqrt(self.embedding.embedding_dim)  # [b, t, d]
        hidden: Tensor = self.dropout(words + self.positions[: ids.shape[1]])  # [b, t, d]
        return hidden
