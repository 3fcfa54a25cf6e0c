"""DINOv2, DINOv3 and ViT, pooled as the encoder's name says; and the image tower that CLIP shares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor

from mmencode import Encoder, Tensors
from mmencode.encoders.pixels import fit_to_crop, fit_to_resize, fit_to_squeeze

from .architectures import require_kind
from .loading import describe, drop, keep, load, load_config, load_extractor, require_whole, sign
from .sources import find
from .text import split_option

FAMILY = "transformers/image/"


class ImageTower(Encoder):
    """A vision transformer with the checkpoint's own image processor; a subclass pools its outputs."""

    def __init__(self, tower: Any, processor: Any, patch: int) -> None:
        super().__init__()
        self.tower = tower
        self.width = int(tower.config.hidden_size)
        self._processor = processor
        self._fit = _limit_for(processor)
        self._patch = int(patch)
        self.preprocessing = describe(processor)

    def preprocess(self, item: Image.Image) -> Tensors:
        """Run the image processor: `pixel_values` `[3, h, w]`, or SigLIP 2's patches and their mask."""
        found = self._processor(images=self._fit(item), return_tensors="pt")
        return {key: value[0] for key, value in found.items()}

    def outputs(self, tensors: Tensors) -> Any:
        """Run the tower on a batch, and return transformers' output object."""
        return self.tower(**tensors)

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the last layer's outputs of patches `[b, t, hidden]`, and the mask of the image's own.

        Class and register tokens are left out, so that the rest fills `grid`.
        """
        hidden = self.outputs(tensors).last_hidden_state
        mask = tensors.get("pixel_attention_mask")
        if mask is not None:
            return hidden, mask.bool()
        patches = hidden[:, hidden.shape[1] - self._count(tensors) :]
        return patches, torch.ones(patches.shape[:2], dtype=torch.bool, device=hidden.device)

    def _count(self, tensors: Tensors) -> int:
        height, width = tensors["pixel_values"].shape[-2:]
        return (height // self._patch) * (width // self._patch)

    @property
    def grid(self) -> tuple[int, int] | None:
        """The rows and columns of patches; None where they change from image to image."""
        size = self.preprocess(Image.new("RGB", (64, 64)))
        if "pixel_attention_mask" in size:
            return None
        height, width = size["pixel_values"].shape[-2:]
        return height // self._patch, width // self._patch


class ImageEncoder(ImageTower):
    """A vision transformer's class token (`cls`), or the mean over its patches (`mean`)."""

    def __init__(self, tower: Any, processor: Any, pooled: str) -> None:
        super().__init__(tower, processor, tower.config.patch_size)
        self._pooled = pooled
        self.pooling = f"{tower.config.model_type}, {pooled}"

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` by the pooling that the name says."""
        if self._pooled == "cls":
            first: Tensor = self.outputs(tensors).last_hidden_state[:, 0]
            return first
        return self.forward_tokens(tensors)[0].mean(dim=1)


def _limit_for(processor: Any) -> Callable[[Image.Image], Image.Image]:
    """Choose the check that keeps a slender image from taking gigabytes when a processor resizes it."""
    if not (getattr(processor, "size", None) or {}).get("shortest_edge"):
        return fit_to_squeeze
    return fit_to_crop if getattr(processor, "do_center_crop", False) else fit_to_resize


def build(variant: str) -> ImageEncoder:
    """Build the encoder `<cls or mean>:<id or folder>`.

    Raises UnknownNameError for a pooling or an id that doesn't exist, WeightsError for a checkpoint that is
    refused, isn't whole, or is of another architecture.
    """
    pooled, rest = split_option(variant, ("cls", "mean"), FAMILY)
    checkpoint = find(rest, f"{FAMILY}{pooled}:")
    config = load_config(checkpoint)
    require_kind(checkpoint, config, FAMILY)
    model, missing = load(checkpoint, config)
    drop(model, "pooler")
    require_whole(checkpoint, model, missing, model)
    keep(model)
    encoder = ImageEncoder(model, load_extractor(checkpoint, AutoImageProcessor), pooled)
    sign(encoder, checkpoint)
    return encoder
