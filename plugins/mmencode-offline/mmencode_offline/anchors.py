"""Anchors, the vector of each tag in the space of texts, as scripts/build_anchors.py computed them."""

from __future__ import annotations

from importlib.resources import files

from safetensors.torch import load
from torch import Tensor

IMAGE = "image_anchors.safetensors"
AUDIO = "audio_anchors.safetensors"


def read(name: str) -> dict[str, Tensor]:
    """Read the tensors of a file that this package ships."""
    return load(files(__package__).joinpath("data").joinpath(name).read_bytes())
