"""The contract of an encoder that gives many vectors for each item, which late interaction compares."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from .contract import Encoder, Tensors


class MultiEncoder(Encoder):
    """Turns items of one modality into many vectors each: of the tokens, patches or frames that count.

    Its spec says `outputs="many"`. `Space.encode_multi` projects and normalises the vectors that its mask
    lets through, and leaves the others out: padding, and whatever the checkpoint skips, such as punctuation
    in documents.

    counting   in a few words, which positions count; part of the identity, as `pooling`
    """

    counting: str = ""

    @property
    def pooling(self) -> str:  # type: ignore[override]
        """The words of the identity that tell many vectors from a single one."""
        return f"many vectors: {self.counting or 'each position of the mask'}"

    @property
    def gives_many(self) -> bool:
        """Whether the encoder gives many vectors for an item, which it does."""
        return True

    @abstractmethod
    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the vectors of all positions, `[b, t, width]`, and the mask `[b, t]` of those that count.

        An item without a position that counts gets an error of its own.
        """

    def forward(self, tensors: Tensors) -> Tensor:
        """Average the vectors that count, `[b, width]`: by that, precision and identity are checked."""
        tokens, mask = self.forward_tokens(tensors)
        weight = mask.unsqueeze(-1).to(tokens.dtype)  # [b, t, 1]
        return (tokens * weight).sum(dim=1) / weight.sum(dim=1)
