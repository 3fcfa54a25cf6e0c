"""X-CLIP (Ni et al., "Expanding Language-Image Pretrained Models for General Video Recognition", 2022)."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import Tensor
from transformers import XCLIPConfig, XCLIPModel

from mmencode import Encoder, Tensors

from .checkpoints import Checkpoint, FrameReader
from .policy import Policy
from .texts import TextTower
from .video import Video

_FAMILY = "video/xclip/"


class XClipVideo(Encoder):
    """The video tower of X-CLIP: frames that exchange messages, and an integration over time."""

    pooling = "X-CLIP's own: class tokens, integrated over the frames"

    def __init__(self, model: Any, reader: FrameReader) -> None:
        super().__init__()
        self.vision, self.projection, self.mit = model.vision_model, model.visual_projection, model.mit
        self.width = int(model.projection_dim)
        self._reader = reader
        self.preprocessing = reader.rule

    def preprocess(self, item: Video) -> Tensors:
        """Prepare the frames, `[t, 3, h, w]`."""
        return {"frames": self._reader.read(item)}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, those of the model's `get_video_features`."""
        return self._integrate(tensors).pooler_output  # type: ignore[no-any-return]

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute what the integration makes of each frame, `[b, t, width]`; all of them count."""
        frames = self._integrate(tensors).last_hidden_state
        return frames, frames.new_ones(frames.shape[:2]).bool()

    def _integrate(self, tensors: Tensors) -> Any:
        frames = tensors["frames"]
        found = self.vision(pixel_values=frames.flatten(0, 1)).pooler_output
        return self.mit(self.projection(found).unflatten(0, frames.shape[:2]))


class XClipText(TextTower):
    """The text tower of X-CLIP, without the prompts that its trained classifier makes of each video."""

    pooling = "X-CLIP's own: the token of the text's end"

    def __init__(self, model: Any, checkpoint: Checkpoint) -> None:
        super().__init__(checkpoint, int(model.config.text_config.max_position_embeddings), whole=False)
        self.text, self.projection = model.text_model, model.text_projection
        self.width = int(model.projection_dim)

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, those of the model's `get_text_features`."""
        found = self._outputs(tensors).pooler_output
        return self.projection(found)  # type: ignore[no-any-return]

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute the last layer's outputs `[b, t, hidden]` and the mask of the text's own tokens."""
        return self._outputs(tensors).last_hidden_state, tensors["mask"]

    def _outputs(self, tensors: Tensors) -> Any:
        return self.text(input_ids=tensors["ids"], attention_mask=tensors["mask"].long())


def towers(variant: str, modalities: Collection[str] = ("video", "text")) -> dict[str, Encoder]:
    """Build the video and the text tower of a folder, or one of them; WeightsError unless it is whole."""
    checkpoint = Checkpoint(variant, _FAMILY, "xclip")
    config = checkpoint.config(XCLIPConfig)
    model = checkpoint.build(lambda: XCLIPModel(config))
    built: dict[str, Encoder] = {}
    if "video" in modalities:
        policy = Policy(int(config.vision_config.num_frames))
        built["video"] = XClipVideo(model, FrameReader(checkpoint, policy))
    if "text" in modalities:
        built["text"] = XClipText(model, checkpoint)
    for encoder in built.values():
        encoder.architecture = checkpoint.architecture
    return built
