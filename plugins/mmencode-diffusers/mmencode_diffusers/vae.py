"""The VAE of latent diffusion, which turns an image into a grid of latents, and that into an image again.

Rombach et al., "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022.
"""

from __future__ import annotations

from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import pil_to_tensor

from mmencode import Encoder, Tensors
from mmencode.checkpoints import structural_copy
from mmencode.encoders.pixels import fit_to_crop
from mmencode.errors import EncoderError

from .source import find, load_model

SIZE = 256


class Vae(Encoder):
    """An `AutoencoderKL` or `AutoencoderTiny` of diffusers, which stays as it is.

    vae    the model
    size   the side in pixels to which the middle square of each image is resized

    Latents are those that a diffusion model gets: the mean of the VAE's distribution, minus the shift, times
    the scale, both from its config. Raises EncoderError for a VAE that doesn't take RGB, ValueError for a
    size that isn't a multiple of the width of a latent.
    """

    def __init__(self, vae: nn.Module, size: int = SIZE) -> None:
        super().__init__()
        self.vae: Any = structural_copy(vae)
        config: Any = self.vae.config
        _require_rgb(config)
        self.factor = factor(config)
        if size < self.factor or size % self.factor:
            near = max(1, round(size / self.factor)) * self.factor
            raise ValueError(f"size is {size}: make it a multiple of {self.factor}, such as {near}")
        self.size = self.resolution = size
        self.width = int(config.latent_channels)
        shift, scale = _standardisation(config)
        self.register_buffer("shift", shift, persistent=False)  # [1, c, 1, 1]
        self.register_buffer("scale", scale, persistent=False)
        self.shift: Tensor
        self.scale: Tensor
        self.preprocessing = f"RGB, the middle square, bicubic to {size}x{size}, -1 to 1"
        self.pooling = (
            f"diffusers {type(vae).__name__}, mean over positions of the latents' means, "
            f"shift {_numbers(shift)}, scale {_numbers(scale)}"
        )
        self.eval().requires_grad_(False)

    @property
    def grid(self) -> tuple[int, int]:
        """The rows and columns of the latents."""
        return self.size // self.factor, self.size // self.factor

    def preprocess(self, item: Image.Image) -> Tensors:
        """Cut the largest square from the middle and resize it to uint8 pixels `[3, size, size]`."""
        item = fit_to_crop(item)
        side = min(item.size)
        left, top = (item.width - side) / 2, (item.height - side) / 2
        square = item.resize(
            (self.size, self.size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side)
        )
        return {"pixels": pil_to_tensor(square)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, c]`, the mean of the latents over all positions."""
        return self._latents(tensors).mean(dim=(2, 3))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute latents `[b, rows * columns, c]`, row by row, and a mask that is true everywhere."""
        tokens = self._latents(tensors).flatten(2).transpose(1, 2)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def decode(self, tokens: Tensor) -> Tensor:
        """Decode latents of `forward_tokens` to images `[b, 3, size, size]` of values from 0 to 1.

        Raises ValueError for latents of another shape.
        """
        rows, columns = self.grid
        if tokens.ndim != 3 or tokens.shape[1:] != (rows * columns, self.width):
            raise ValueError(
                f"latents of shape {list(tokens.shape)}: make it [b, {rows * columns}, {self.width}]"
            )
        latents = tokens.transpose(1, 2).reshape(-1, self.width, rows, columns)  # [b, c, rows, columns]
        latents = (latents / self.scale + self.shift).to(self._dtype)
        with torch.inference_mode():
            pixels: Tensor = self.vae.decode(latents).sample  # [b, 3, size, size], -1 to 1
        return (pixels.float() / 2 + 0.5).clamp(0, 1)

    def _latents(self, tensors: Tensors) -> Tensor:
        """Compute latents `[b, c, rows, columns]` of pixels `[b, 3, size, size]`."""
        pixels = (tensors["pixels"].float() / 127.5 - 1).to(self._dtype)
        found = self.vae.encode(pixels)
        # A tiny VAE gives its latents, the other one a distribution of them.
        latents: Tensor = found.latent_dist.mode() if "latent_dist" in found else found.latents
        return (latents - self.shift) * self.scale

    @property
    def _dtype(self) -> torch.dtype:
        dtype: torch.dtype = self.shift.dtype
        return dtype


def encoder(variant: str) -> Vae:
    """Load the VAE of a local folder or a hub's `org/repo`, with `@size` after it or at 256 pixels.

    Raises WeightsError when it isn't whole, can't be fetched, or isn't one of the two kinds;
    UnknownNameError for a size that doesn't fit it.
    """
    source = find(variant)
    loaded = load_model(source)
    size = source.choose_size(SIZE, factor(loaded.config))
    found = Vae(loaded, size)
    found.architecture = source.architecture
    return found


def psnr(found: Tensor, expected: Tensor) -> float:
    """The peak signal-to-noise ratio in decibels of two images of values from 0 to 1."""
    return float(-10 * torch.log10((found - expected).square().mean()))


def factor(config: Any) -> int:
    """The width of a latent in pixels: each block of the encoder but one halves the image."""
    blocks = config.get("encoder_block_out_channels") or config["block_out_channels"]
    return int(2 ** (len(blocks) - 1))


def _require_rgb(config: Any) -> None:
    if (config["in_channels"], config["out_channels"]) != (3, 3):
        raise EncoderError(
            f"the VAE takes images of {config['in_channels']} channels and gives {config['out_channels']}",
            remedy="choose one of RGB images",
        )


def _standardisation(config: Any) -> tuple[Tensor, Tensor]:
    """Read the shift that pipelines subtract from latents, and the scale to multiply by, `[1, c, 1, 1]`."""
    channels, scale = int(config["latent_channels"]), float(config["scaling_factor"])
    shift, spread = config.get("shift_factor") or 0.0, 1.0
    if config.get("latents_mean") is not None and config.get("latents_std") is not None:
        shift, spread = config["latents_mean"], config["latents_std"]
    shape = (1, channels, 1, 1)
    return _column(shift, shape), scale / _column(spread, shape)


def _column(value: Any, shape: tuple[int, ...]) -> Tensor:
    return torch.as_tensor(value, dtype=torch.float32).reshape(-1).expand(shape[1]).reshape(shape).clone()


def _numbers(column: Tensor) -> str:
    """Write a buffer's numbers in words, one number where all are equal."""
    found = [f"{value:g}" for value in column.flatten().tolist()]
    return found[0] if len(set(found)) == 1 else " ".join(found)
