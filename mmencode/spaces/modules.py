"""An encoder of a space as a network of the caller's own, for data loaders and training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ..encoder import Encoder, Tensors
from ..engine.building import build_tower
from ..errors import EncoderError
from ..inputs import Limits, reader
from ..plugins.spec import EncoderSpec
from ..projection import Projection


@final
class EncoderModule(nn.Module):
    """An encoder with its projection, from raw items to the unit vectors of its space, with gradients.

    encoder     the network, as `mmencode.Encoder` describes it, in float32 on the CPU, with weights of its
                own
    projection  from the encoder's features into the space
    spec        the declaration that both were built by
    limits      what items are read within

    It is the caller's: it may be trained, moved and changed, and the space goes on as it was. Once its
    weights are others, so are its vectors: they belong to no space, until a plugin declares the encoder under
    a name of its own. Networks that a space itself computes with are watched instead, and IdentityError says
    when one was changed.
    """

    encoder: Encoder
    projection: Projection
    spec: EncoderSpec
    limits: Limits

    def __init__(self, encoder: Encoder, projection: Projection, spec: EncoderSpec, limits: Limits) -> None:
        super().__init__()
        self.encoder, self.projection = encoder, projection
        self.spec, self.limits = spec, limits

    def prepare(self, item: Any) -> Tensors:
        """Read a raw item and turn it into CPU tensors without a batch dimension; InputError for a bad one.

        It may be called in the workers of a data loader.
        """
        read = reader(self.spec.modality, parts=self.spec.parts)
        return self.encoder.preprocess(read(item, self.limits))

    def collate(self, items: Sequence[Tensors]) -> Tensors:
        """Join prepared items into one batch of tensors `[b, ...]`."""
        return self.encoder.collate(list(items))

    def collate_items(self, items: Sequence[Any]) -> Tensors:
        """Prepare raw items and join them: the `collate_fn` of a DataLoader over raw items."""
        return self.collate([self.prepare(item) for item in items])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute the unit vectors `[b, dim]` of a batch, whose tensors are on the module's device.

        Where items have many vectors, the direction of their mean.
        """
        return normalize(self.projection(self.encoder(self._like_weights(tensors))).float(), dim=-1)

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the unit vectors of all positions, `[b, t, dim]`, and their mask `[b, t]`.

        NotImplementedError where the encoder has no token outputs.
        """
        tokens, mask = self.encoder.forward_tokens(self._like_weights(tensors))
        return normalize(self.projection(tokens).float(), dim=-1), mask

    def _like_weights(self, tensors: Tensors) -> Tensors:
        """Move a batch to the device of the weights, and its floats to their type."""
        weight = next(self.encoder.parameters(), None)
        if weight is None:
            return tensors
        return {
            name: tensor.to(weight.device, weight.dtype if tensor.is_floating_point() else None)
            for name, tensor in tensors.items()
        }


def build_module(spec: EncoderSpec, projection: Projection | None, limits: Limits) -> EncoderModule:
    """Build an encoder anew, with parameters that nobody else has; EncoderError for a sum of parts."""
    if spec.weights:
        parts = " and ".join(map(repr, spec.parts)) or "its parts"
        raise EncoderError(
            f"{spec.modality!r} is the sum of its parts' vectors, and no network",
            remedy=f"take the encoders of {parts}",
        )
    encoder, leading, _ = build_tower(spec, projection)
    module = EncoderModule(encoder, leading, spec, limits)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor.data = tensor.data.clone()  # a target may have kept the network, or read it from a file
    return module.requires_grad_(True)
