"""VideoPrism (Zhao et al., "VideoPrism: A Foundational Visual Encoder for Video Understanding", 2024)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor, nn
from transformers import VideoPrismClipModel, VideoPrismConfig, VideoPrismVisionConfig, VideoPrismVisionModel

from mmencode import Encoder, Tensors

from .checkpoints import Checkpoint, FrameReader
from .policy import Policy
from .texts import TextTower
from .video import Video

_FAMILY, _VISION = "video/videoprism/", "video/videoprism-vision/"
_CONTEXT = 64  # tokens that every text is padded to, as VideoPrismProcessor does it


class PrismVideo(Encoder):
    """The video tower of VideoPrism: `pooled` by its own attention, or else the mean over patches."""

    def __init__(self, tower: nn.Module, width: int, reader: FrameReader, *, pooled: bool) -> None:
        super().__init__()
        self.tower = tower
        self.width = width
        self._reader, self._pooled = reader, pooled
        self.preprocessing = reader.rule
        self.pooling = "VideoPrism's own attention pooling" if pooled else "the mean over patches"

    def preprocess(self, item: Video) -> Tensors:
        """Prepare the frames, `[t, 3, h, w]`."""
        return {"frames": self._reader.read(item)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, those of `get_video_features` where there is a text tower."""
        found: Any = self.tower(pixel_values_videos=tensors["frames"])
        rows = found.pooler_output.flatten(1) if self._pooled else found.last_hidden_state.mean(dim=1)
        return rows  # type: ignore[no-any-return]

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the last layer's outputs of patches, frame after frame, `[b, t, width]`."""
        found = self.tower(pixel_values_videos=tensors["frames"]).last_hidden_state
        return found, found.new_ones(found.shape[:2]).bool()


class PrismText(TextTower):
    """The text tower of VideoPrism."""

    pooling = "VideoPrism's own: a class token behind the text"

    def __init__(self, tower: Any, checkpoint: Checkpoint) -> None:
        context = min(_CONTEXT, int(tower.config.max_position_embeddings))
        super().__init__(checkpoint, context, whole=True)
        self.tower = tower
        self.width = int(tower.config.hidden_size)

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, those of the model's `get_text_features`."""
        found = self.tower(input_ids=tensors["ids"], attention_mask=tensors["mask"].long())
        return found.pooler_output  # type: ignore[no-any-return]


def towers(variant: str, modalities: Collection[str] = ("video", "text")) -> dict[str, Encoder]:
    """Build the video and the text tower of a folder, or one of them; WeightsError unless it is whole."""
    checkpoint = Checkpoint(variant, _FAMILY, "videoprism")
    config = checkpoint.config(VideoPrismConfig)
    model: Any = checkpoint.build(lambda: VideoPrismClipModel(config))
    built: dict[str, Encoder] = {}
    if "video" in modalities:
        reader = _frames(checkpoint, config.vision_config)
        built["video"] = PrismVideo(
            model.video_model, int(config.vision_config.hidden_size), reader, pooled=True
        )
    if "text" in modalities:
        built["text"] = PrismText(model.text_model, checkpoint)
    for encoder in built.values():
        encoder.architecture = checkpoint.architecture
    return built


def build(variant: str) -> PrismVideo:
    """Build the encoder of a folder without texts; WeightsError for one that isn't whole."""
    checkpoint = Checkpoint(variant, _VISION, "videoprism_vision_model")
    config = checkpoint.config(VideoPrismVisionConfig)
    model = checkpoint.build(lambda: VideoPrismVisionModel(config))
    encoder = PrismVideo(model, int(config.hidden_size), _frames(checkpoint, config), pooled=False)
    encoder.architecture = checkpoint.architecture
    return encoder


def _frames(checkpoint: Checkpoint, config: Any) -> FrameReader:
    """Prepare frames as VideoPrismProcessor does: at the size of the model, and without normalising."""
    size = config.image_size
    height, width = (size, size) if isinstance(size, int) else size
    settings = {"size": {"height": int(height), "width": int(width)}, "do_normalize": False}
    return FrameReader(checkpoint, Policy(int(config.num_frames)), **settings)
