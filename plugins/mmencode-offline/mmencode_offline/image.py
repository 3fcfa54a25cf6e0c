"""The image encoder EfficientNet-Lite0, whose thousand ImageNet labels lead into the space."""

from __future__ import annotations

import io
from typing import Any, TypeVar, cast

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mmencode import Encoder, LabelAnchored, Tensors
from mmencode.encoders.pixels import fit_to_crop, normalise
from mmencode.errors import WeightsError

from . import anchors
from .efficientnet import HEAD, EfficientNetLite0
from .sources import EFFICIENTNET, read

ARCHITECTURE = "tf_efficientnet_lite0"
CLASSES = 1000
_OF_HEAD = 2  # tensors of the file's last layer, which come last
M = TypeVar("M", bound=nn.Module)
SIZE, SHORTER = 224, 256  # pixels of the crop from the middle, and of the image's shorter side before
HALF = (0.5, 0.5, 0.5)  # as the network was trained; ImageNet's own mean and deviation would cost ten points


class EfficientNet(Encoder):
    """EfficientNet-Lite0 without its classifier, with images prepared as timm's Lite models prepare them."""

    width = HEAD
    preprocessing = "RGB 224x224, center crop 0.875, bicubic, mean 0.5 0.5 0.5, std 0.5 0.5 0.5"
    pooling = f"timm {ARCHITECTURE}, features before the classifier"
    resolution = SHORTER
    grid = (SIZE // 32, SIZE // 32)

    def __init__(self, model: EfficientNetLite0) -> None:
        super().__init__()
        # Convolutions are faster on a CPU in this layout and differ by rounding only.
        # Older releases of torch don't type it.
        self.model: EfficientNetLite0 = cast(Any, model).to(memory_format=torch.channels_last)

    def preprocess(self, item: Image.Image) -> Tensors:
        """Resize and crop an image to uint8 pixels `[3, 224, 224]`, which are normalised on the device."""
        image = fit_to_crop(item)
        short = min(image.size)
        width, height = (int(SHORTER * side / short) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BICUBIC)
        left, top = round((width - SIZE) / 2), round((height - SIZE) / 2)
        image = image.crop((left, top, left + SIZE, top + SIZE))
        return {"pixels": torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, 1280]` of pixels `[b, 3, 224, 224]`."""
        features: Tensor = self.model(self._normalise(tensors))
        return features

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the places of the last map, `[b, 49, 1280]`, all of which count."""
        tokens = self.model.maps(self._normalise(tensors)).flatten(2).transpose(1, 2)
        return tokens, torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)

    def _normalise(self, tensors: Tensors) -> Tensor:
        return normalise(tensors["pixels"], HALF, HALF, next(self.model.parameters()).dtype)


def encoder() -> EfficientNet:
    """Build EfficientNet-Lite0 up to the features before its classifier, 1280 wide.

    Raises MissingPackageError or WeightsError when its file isn't there as released.
    """
    return EfficientNet(_network(_read()))


def projection() -> LabelAnchored:
    """Build the projection: the mean anchor of the ten most probable labels, weighted by probability."""
    head = _head(_read())
    return LabelAnchored(anchors.read(anchors.IMAGE)["anchors"], head=head, activation="softmax", top=10)


def classifier() -> nn.Sequential:
    """Load the whole network, from normalised images to 1000 logits."""
    file = _read()
    return nn.Sequential(_network(file), _head(file)).eval()


def _read() -> dict[str, Tensor]:
    return torch.load(io.BytesIO(read(EFFICIENTNET)), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]


def _network(file: dict[str, Tensor]) -> EfficientNetLite0:
    """The network up to the features: all layers of the file but the last."""
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        model = EfficientNetLite0()
    return _fill(model, dict(list(file.items())[:-_OF_HEAD]))


def _head(file: dict[str, Tensor]) -> nn.Linear:
    """The file's last layer, from features to logits."""
    with torch.device("meta"):
        head = nn.Linear(HEAD, CLASSES)
    return _fill(head, dict(list(file.items())[-_OF_HEAD:]))


def _fill(module: M, file: dict[str, Tensor]) -> M:
    """Give a module the tensors of a file, both of which list the same layers in the same order."""
    own = module.state_dict()
    if len(file) != len(own):
        raise WeightsError(
            f"the checkpoint of {ARCHITECTURE} has {len(file)} tensors where {len(own)} are needed"
        )
    for (theirs, tensor), (ours, expected) in zip(file.items(), own.items(), strict=True):
        same_part = theirs.rpartition(".")[2] == ours.rpartition(".")[2]
        if not same_part or tensor.shape != expected.shape:
            raise WeightsError(f"{theirs} {tuple(tensor.shape)} doesn't fit {ours} {tuple(expected.shape)}")
    module.load_state_dict(dict(zip(own, file.values(), strict=True)), assign=True)
    return module.eval().requires_grad_(False)
