"""The image towers of open_clip: its own transformers and ResNets, and timm's models."""

from __future__ import annotations

from dataclasses import asdict
from functools import cached_property
from typing import Any

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from open_clip.transformer import AttentionalPooler, VisionTransformer
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import Compose, PILToTensor

from ...encoder import Encoder, Tensors
from ...isolation.copying import structural_copy
from ...plugins.spec import Scoring
from ..pixels import fit_to_crop, fit_to_squeeze, normalise
from .blocks import is_quick, outputs_at, quicken


class OpenClipImage(Encoder):
    """The image tower of an open_clip model, which stays as it is, with the preprocessing of its weights."""

    width: int
    preprocessing: str
    pooling: str
    resolution: int

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.tower: Any = structural_copy(model.visual)
        self.width = int(model.text.output_dim)
        self._scoring = _scoring(model)
        settings = PreprocessCfg(**model.visual.preprocess_cfg)
        facts = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(settings).items()}
        self.preprocessing = ", ".join(f"{name} {value}" for name, value in facts.items())
        self.pooling = f"open_clip {type(model.visual).__name__}"
        *resizing, _, _ = image_transform_v2(settings, is_train=False).transforms  # to floats, normalised
        self._transform = Compose([*resizing, PILToTensor()])
        self._fit = fit_to_crop if settings.resize_mode in (None, "shortest") else fit_to_squeeze
        self._mean, self._std = settings.mean, settings.std
        self._quick = _prepare(self.tower)
        size = settings.size
        self._size = (size, size) if isinstance(size, int) else tuple(size)
        self.resolution = min(self._size)
        # In a tower with an attentional pooler (CoCa) the last layer norm applies to the pooler's outputs.
        self._norm = not any(isinstance(child, AttentionalPooler) for child in self.tower.children())

    def preprocess(self, item: Image.Image) -> Tensors:
        """Resize and crop an image to uint8 pixels `[3, h, w]`, which are normalised on the device."""
        return {"pixels": self._transform(self._fit(item))}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` as open_clip's `encode_image` does."""
        pixels = self._normalise(tensors["pixels"])
        if self._quick:
            return _first_token(self.tower, pixels)
        output = self.tower(pixels)
        features: Tensor = output[0] if isinstance(output, tuple) else output  # CoCa's gives its tokens, too
        return features

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute patches of a transformer or places of a feature map, `[b, rows * columns, hidden]`.

        They are the last layer's outputs in open_clip's `forward_intermediates`, after the tower's last layer
        norm where that applies. Class and register tokens are left out, so that the rest fills `grid`.
        """
        tokens = self._map(self._normalise(tensors["pixels"])).flatten(2).transpose(1, 2)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def _normalise(self, pixels: Tensor) -> Tensor:
        return normalise(pixels, self._mean, self._std, next(self.tower.parameters()).dtype)

    @property
    def scoring(self) -> Scoring | None:
        """The scale and bias that the model was trained with: a sigmoid where there is a bias, as in SigLIP.

        None where the checkpoint lacks one that its architecture has, since initial values mean nothing.
        """
        return self._scoring

    @cached_property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of the tokens, found by one forward pass at the first access."""
        weight: nn.Parameter = next(self.tower.parameters())
        with torch.inference_mode():
            found = self._map(torch.zeros(1, 3, *self._size, dtype=weight.dtype, device=weight.device))
        return int(found.shape[2]), int(found.shape[3])

    def _map(self, pixels: Tensor) -> Tensor:
        """Compute the last layer's outputs as a map `[b, hidden, rows, columns]`."""
        found = self.tower.forward_intermediates(
            pixels,
            indices=1,
            normalize_intermediates=self._norm,
            intermediates_only=True,
            output_fmt="NCHW",
        )
        last: Tensor = found["image_intermediates"][-1]
        return last


def _prepare(tower: Any) -> bool:
    """Speed up open_clip's own transformer, and tell whether only its class token is pooled."""
    if not isinstance(tower, VisionTransformer):
        return False
    quicken(tower.transformer)
    return tower.attn_pool is None and tower.pool_type == "tok" and is_quick(tower.transformer)


def _first_token(tower: Any, pixels: Tensor) -> Tensor:
    """Compute features `[b, width]` of a VisionTransformer that pools at its class token."""
    hidden = tower._embeds(pixels)  # [b, t, hidden]
    first = torch.zeros(hidden.shape[0], dtype=torch.int64, device=hidden.device)
    features: Tensor = tower.ln_post(outputs_at(tower.transformer, hidden, first, None))
    return features if tower.proj is None else features @ tower.proj


def _scoring(model: Any) -> Scoring | None:
    if model.logit_scale is None:
        return None
    scale, bias = float(model.logit_scale.detach().exp()), getattr(model, "logit_bias", None)
    if bias is None:
        return Scoring(kind="softmax", scale=scale)
    return Scoring(kind="sigmoid", scale=scale, bias=float(bias.detach()))
