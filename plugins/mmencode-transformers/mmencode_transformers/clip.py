"""Image and text towers of CLIP, SigLIP and SigLIP 2 in transformers, in one space."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoImageProcessor

from mmencode import Scoring, Tensors

from .image import ImageTower
from .loading import load, load_config, load_extractor, read_scale, require_kind, require_whole
from .sources import Checkpoint, find, modules_of
from .tokenizer import CheckpointTokenizer
from .towers import TowerText

_FAMILY = "transformers/clip/"
_KINDS = ("clip", "siglip", "siglip2")


class ClipImage(ImageTower):
    """The image tower of CLIP, SigLIP or SigLIP 2, with its own pooling and projection."""

    def __init__(
        self, tower: Any, projection: nn.Module, width: int, processor: Any, scoring: Scoring | None
    ) -> None:
        super().__init__(tower, processor, tower.config.patch_size)
        self.projection = projection
        self.width = width
        self._scoring = scoring
        self.pooling = f"{type(tower).__name__}, its own pooling"

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]` as the model's `get_image_features` does."""
        features: Tensor = self.projection(self.outputs(tensors).pooler_output)
        return features

    @property
    def scoring(self) -> Scoring | None:
        """The scale, and SigLIP's bias, that the model was trained with; None without one."""
        return self._scoring


def image(variant: str) -> ClipImage:
    """Build the image tower of `<id or folder>`; UnknownNameError or WeightsError when there is none."""
    checkpoint, model, missing = _model(variant)
    projection = getattr(model, "visual_projection", nn.Identity())
    require_whole(checkpoint, model, missing, model.vision_model, projection)
    processor = load_extractor(checkpoint, AutoImageProcessor)
    scoring = _scoring(checkpoint, model, missing)
    encoder = ClipImage(model.vision_model, projection, _width(model), processor, scoring)
    encoder.architecture = checkpoint.architecture
    return encoder


def text(variant: str) -> TowerText:
    """Build the text tower of `<id or folder>`; UnknownNameError or WeightsError when there is none."""
    checkpoint, model, missing = _model(variant)
    projection = getattr(model, "text_projection", nn.Identity())
    require_whole(checkpoint, model, missing, model.text_model, projection)
    config = model.config.text_config
    context = int(config.max_position_embeddings)
    padded = 0 if model.config.model_type == "clip" else context
    tokenizer = CheckpointTokenizer(checkpoint, config, context, context=padded)
    encoder = TowerText(model.text_model, projection, _width(model), tokenizer)
    encoder.architecture = checkpoint.architecture
    return encoder


def _model(variant: str) -> tuple[Checkpoint, Any, set[str]]:
    checkpoint = _of_sentence_transformers(find(variant, _FAMILY))
    config = load_config(checkpoint)
    require_kind(checkpoint, config, _KINDS, _FAMILY)
    return checkpoint, *load(checkpoint, config)


def _of_sentence_transformers(checkpoint: Checkpoint) -> Checkpoint:
    """Find the model's own folder (`0_CLIPModel`) in a checkpoint that sentence-transformers saved."""
    if not (checkpoint.folder / "modules.json").is_file():
        return checkpoint
    kind, inner = modules_of(checkpoint)[0]
    return inner if kind == "CLIPModel" else checkpoint


def _width(model: Any) -> int:
    config = model.config
    if config.model_type == "clip":
        return int(config.projection_dim)
    return int(getattr(config.text_config, "projection_size", None) or config.vision_config.hidden_size)


def _scoring(checkpoint: Checkpoint, model: Any, missing: set[str]) -> Scoring | None:
    scale = read_scale(model.logit_scale.exp(), "logit_scale", missing, checkpoint)
    if not hasattr(model, "logit_bias"):
        return None if scale is None else Scoring(kind="softmax", scale=scale)
    bias = read_scale(model.logit_bias, "logit_bias", missing, checkpoint)
    return None if scale is None or bias is None else Scoring(kind="sigmoid", scale=scale, bias=bias)
