"""V-JEPA 2 (Assran et al., "V-JEPA 2: Self-Supervised Video Models", 2025), without its predictor."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import VJEPA2Config, VJEPA2Model

from mmencode import Encoder, Tensors

from .checkpoints import Checkpoint, FrameReader, require_multiple
from .policy import Policy, split_policy
from .video import Video

_FAMILY = "video/vjepa2/"


class VJepa2(Encoder):
    """The mean over all patches of V-JEPA 2's last layer."""

    pooling = "the mean over patches"

    def __init__(self, trunk: Any, width: int, reader: FrameReader) -> None:
        super().__init__()
        self.trunk = trunk
        self.width = width
        self._reader = reader
        self.preprocessing = reader.rule

    def preprocess(self, item: Video) -> Tensors:
        """Prepare the frames, `[t, 3, h, w]`."""
        return {"frames": self._reader.read(item)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`."""
        return self.forward_tokens(tensors)[0].mean(dim=1)

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the last layer's outputs of patches, as `get_vision_features` does, `[b, t, width]`."""
        found = self.trunk(pixel_values_videos=tensors["frames"]).last_hidden_state
        return found, found.new_ones(found.shape[:2]).bool()


def build(variant: str) -> VJepa2:
    """Build the encoder of `[<count>:]<folder>`; without a count it takes as many frames as in training.

    Raises UnknownNameError for a number of frames that it can't take, WeightsError for a folder that isn't
    whole.
    """
    policy, path = split_policy(variant, _FAMILY)
    checkpoint = Checkpoint(path, _FAMILY, "vjepa2")
    config = checkpoint.config(VJEPA2Config)
    if path == variant:
        policy = Policy(int(config.frames_per_clip))
    require_multiple(policy, int(config.tubelet_size), path)
    trunk = checkpoint.build(lambda: VJEPA2Model(config).encoder)
    encoder = VJepa2(trunk, int(config.hidden_size), FrameReader(checkpoint, policy))
    encoder.architecture = checkpoint.architecture
    return encoder
