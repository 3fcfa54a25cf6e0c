"""Composites of separate towers: an item's vector is the normalised weighted sum of its parts' vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor

from ..card import TowerCard
from ..encoder import Encoder, Tensors
from ..isolation.copying import Borrowed
from ..plugins.modalities import find_modality
from ..plugins.spec import EncoderSpec
from ..projection import IdentityProjection
from .runtime import move
from .towers import Tower

_ITEMS = "items"


def fuse_towers(spec: EncoderSpec, card: TowerCard, parts: Sequence[Tower]) -> Tower:
    """Make the tower of a composite out of those of its parts on one device, which it shares with the space.

    Its tensors travel in float32, and each part's take the dtype of their own tower.
    """
    encoder = FusedEncoder(parts, spec.weights)
    return Tower(
        spec=spec,
        encoder=encoder.eval(),
        forward=encoder,
        projection=IdentityProjection(),
        card=card,
        dim=parts[0].dim,
        device=parts[0].device,
        dtype=torch.float32,
        borrowed=Borrowed(encoder),
        parts=tuple(parts),
    )


@final
class FusedEncoder(Encoder):
    """The weighted sum of the unit vectors of an item's parts; those that are absent are left out.

    The encoders of the parts are no modules of this one, since they belong to their own towers.
    """

    width: int
    resolution: int

    def __init__(self, towers: Sequence[Tower], weights: Sequence[float]) -> None:
        super().__init__()
        self._towers, self._weights = tuple(towers), tuple(weights)
        self.width = towers[0].dim
        self.resolution = _least_resolution(towers)

    def preprocess(self, item: Any) -> Tensors:
        """Preprocess each part that is there, as its own encoder does it."""
        return {
            f"{place}.{name}": tensor
            for place, (tower, part) in enumerate(zip(self._towers, item, strict=True))
            if part is not None
            for name, tensor in tower.encoder.preprocess(part).items()
        }

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join each part's tensors of the items that have it, `[p, ...]`, with the places of these items."""
        batch = {_ITEMS: torch.zeros(len(items), dtype=torch.int64)}
        for place, tower in enumerate(self._towers):
            parts = [_take(item, place) for item in items]
            rows = [row for row, part in enumerate(parts) if part]
            if rows:
                batch[f"{place}"] = torch.tensor(rows)
                joined = tower.encoder.collate([parts[row] for row in rows])
                batch |= {f"{place}.{name}": tensor for name, tensor in joined.items()}
        return batch

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute the parts' unit vectors, and sum them up by their weights, `[b, dim]`.

        A part without a direction leaves its item without one.
        """
        total = torch.zeros(len(tensors[_ITEMS]), self.width, device=tensors[_ITEMS].device)
        for place, (tower, weight) in enumerate(zip(self._towers, self._weights, strict=True)):
            rows = tensors.get(f"{place}")
            if rows is None:
                continue
            features = tower.forward(move(_take(tensors, place), tower.device, tower.dtype))  # [p, width]
            vectors = tower.projection(features.float())  # [p, dim]
            total.index_add_(0, rows, weight * vectors / vectors.norm(dim=-1, keepdim=True))
        return total

    def cost(self, tensors: Tensors) -> int:
        """Add up the costs of the parts."""
        each = [(tower, _take(tensors, place)) for place, tower in enumerate(self._towers)]
        return sum(tower.encoder.cost(part) for tower, part in each if part)


def _take(tensors: Tensors, place: int) -> Tensors:
    """Take the tensors of one part, by the names that its own encoder knows."""
    prefix = f"{place}."
    return {name[len(prefix) :]: each for name, each in tensors.items() if name.startswith(prefix)}


def _least_resolution(towers: Sequence[Tower]) -> int:
    """The resolution that all parts bear which may be decoded at a smaller scale; 0 where one bears none."""
    scaled = [
        tower.encoder.resolution
        for tower in towers
        if (found := find_modality(tower.spec.modality)) is not None and found.scales
    ]
    return max(scaled) if scaled and all(scaled) else 0
