"""The anchors: the place of each tag in the space of texts, computed by scripts/build_anchors.py."""

from __future__ import annotations

from importlib.resources import files

from safetensors.torch import load
from torch import Tensor

IMAGE = "image_anchors.safetensors"
AUDIO = "audio_anchors.safetensors"


def read(name: str) -> dict[str, Tensor]:
    """The tensors of one of the files that this package ships."""
    return load(files(__package__).joinpath("data").joinpath(name).read_bytes())
