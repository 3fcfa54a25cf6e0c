"""A fake of an omni encoder, which takes texts, pictures, both at once, and any interleaving of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..encoder import Encoder, Tensors, pad_rows
from ..plugins.composites import INTERLEAVED, parts_of
from ..plugins.spec import IMAGE, TEXT, EncoderSpec
from .fakes import DIM, FakeImage, FakeText

_PARTS = (IMAGE, TEXT)
_FUSED = "image+text"
_SHARE = 0.7  # of a part's weight that the next one has


class FakeFused(Encoder):
    """An encoder of items with parts: the sum of a unit vector for each, of which later ones weigh less.

    `network` is what the encoders of one omni space share. Of a `modality` that is no composite an item is
    its only part.
    """

    width = DIM
    preprocessing = "characters; 8 x 1 box average, RGB mean, 0 to 1"
    tokenizer = "unicode code points"
    pooling = "sum over the parts, each of 0.7 the weight of the one before"

    def __init__(self, network: nn.Linear, modality: str = _FUSED) -> None:
        super().__init__()
        self.network = network
        self._modality = modality

    def preprocess(self, item: Any) -> Tensors:
        """Describe each part that is there by a unit vector, `[t, 8]`."""
        return {"parts": torch.stack([_describe(*part) for part in self._list_parts(item)])}

    def _list_parts(self, item: Any) -> Sequence[tuple[str, Any]]:
        if self._modality == INTERLEAVED:
            return list(item)
        names = parts_of(self._modality)
        pairs = zip(names, item, strict=True) if names else [(self._modality, item)]
        return [(name, part) for name, part in pairs if part is not None]

    def collate(self, items: list[Tensors]) -> Tensors:
        """Pad the parts of all items to the most, with a mask of those that are there."""
        parts, mask = pad_rows([item["parts"] for item in items])
        return {"parts": parts, "mask": mask}

    def forward(self, tensors: Tensors) -> Tensor:
        """Sum up the parts of each item, and take them through the network, `[b, 8]`."""
        parts, mask = tensors["parts"], tensors["mask"]
        places = torch.arange(parts.shape[1], device=parts.device)
        weights = mask.to(parts.dtype) * (_SHARE**places).to(parts.dtype)
        features: Tensor = self.network((parts * weights[..., None]).sum(dim=1))
        return features


def _describe(modality: str, value: Any) -> Tensor:
    """Describe a part of an item by a unit vector `[8]`, as the fakes of its modality do."""
    if modality == IMAGE:
        found = FakeImage().preprocess(value)["stripes"]
    else:
        found = FakeText().preprocess(value)["hidden"].mean(dim=0)
    return nn.functional.normalize(found, dim=0)


def build_omni(modalities: Sequence[str]) -> Mapping[str, FakeFused]:
    """Build the encoders of a fake omni space for some modalities, which share one network."""
    network = nn.Linear(DIM, DIM, bias=False)
    network.weight = nn.Parameter(torch.diag(torch.linspace(1, 2, DIM)))
    return {modality: FakeFused(network, modality) for modality in modalities}


def fake_omni_specs(space: str = "fake-omni") -> tuple[EncoderSpec, ...]:
    """Declare a fake omni encoder as a plugin would: text, image, "image+text" and "interleaved"."""
    return tuple(
        EncoderSpec(
            name=f"{space}/{modality.replace('+', '-')}",
            modality=modality,
            parts=_PARTS if modality == INTERLEAVED else (),
            target=f"{__name__}:build_omni",
            shared=True,
            space=space,
            dim=DIM,
            description="a fake that keeps the contract",
        )
        for modality in (TEXT, IMAGE, _FUSED, INTERLEAVED)
    )
