"""The image encoder EfficientNet-Lite0, whose thousand ImageNet labels lead into the space."""

from __future__ import annotations

import io
from typing import Any

import timm
import torch
from torch import Tensor, nn

from mmencode import LabelAnchored
from mmencode.encoders.timm import TimmEncoder
from mmencode.errors import WeightsError

from . import anchors
from .sources import EFFICIENTNET, read

ARCHITECTURE = "tf_efficientnet_lite0"
# As the network was trained; ImageNet's own mean and deviation would cost ten points.
DATA_CONFIG = {
    "input_size": (3, 224, 224),
    "crop_pct": 0.875,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


def encoder() -> TimmEncoder:
    """Build EfficientNet-Lite0 up to the features before its classifier, 1280 wide.

    Raises MissingPackageError or WeightsError when its file isn't there as released.
    """
    return TimmEncoder.taking(classifier(), data_config=DATA_CONFIG)


def projection() -> LabelAnchored:
    """Build the projection: the mean anchor of the ten most probable labels, weighted by probability."""
    head: nn.Linear = classifier().classifier
    return LabelAnchored(anchors.read(anchors.IMAGE)["anchors"], head=head, activation="softmax", top=10)


def classifier() -> Any:
    """Load the whole network, from images to 1000 logits, as timm's architecture."""
    model: Any = timm.create_model(ARCHITECTURE)
    file = torch.load(io.BytesIO(read(EFFICIENTNET)), map_location="cpu", weights_only=True)
    model.load_state_dict(_by_position(file, model.state_dict()), assign=True)
    return model.eval().requires_grad_(False)


def _by_position(file: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """Map a file's tensors to timm's names: both list the same layers in the same order."""
    if len(file) != len(own):
        raise WeightsError(f"the checkpoint has {len(file)} tensors, and {ARCHITECTURE} has {len(own)}")
    for (theirs, tensor), (ours, expected) in zip(file.items(), own.items(), strict=True):
        same_part = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_part or tensor.shape != expected.shape:
            raise WeightsError(f"{theirs} {tuple(tensor.shape)} doesn't fit {ours} {tuple(expected.shape)}")
    return dict(zip(own, file.values(), strict=True))
