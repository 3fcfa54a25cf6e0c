"""Image and text towers of CLIP, SigLIP and SigLIP 2 in transformers, in one space."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn
from transformers import AutoImageProcessor

from mmencode import Encoder, Scoring, Tensors

from .image import ImageTower
from .loading import keep, load, load_config, load_extractor, read_scale, require_kind, require_whole
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


def towers(variant: str, modalities: Collection[str] = ("image", "text")) -> dict[str, Encoder]:
    """Build the image and the text tower of `<id or folder>`, or one of them, whose weights alone are read.

    Raises UnknownNameError or WeightsError when there is none.
    """
    checkpoint = _of_sentence_transformers(find(variant, _FAMILY))
    config = load_config(checkpoint)
    require_kind(checkpoint, config, _KINDS, _FAMILY)
    model, missing = load(checkpoint, config)
    built = {modality: _TOWERS[modality](checkpoint, model, missing) for modality in modalities}
    for encoder in built.values():
        encoder.architecture = checkpoint.architecture
    return built


def _image(checkpoint: Checkpoint, model: Any, missing: set[str]) -> ClipImage:
    projection = getattr(model, "visual_projection", nn.Identity())
    require_whole(checkpoint, model, missing, model.vision_model, projection)
    keep(model.vision_model, projection)
    processor = load_extractor(checkpoint, AutoImageProcessor)
    scoring = _scoring(checkpoint, model, missing)
    return ClipImage(model.vision_model, projection, _width(model), processor, scoring)


def _text(checkpoint: Checkpoint, model: Any, missing: set[str]) -> TowerText:
    projection = getattr(model, "text_projection", nn.Identity())
    require_whole(checkpoint, model, missing, model.text_model, projection)
    keep(model.text_model, projection)
    config = model.config.text_config
    context = int(config.max_position_embeddings)
    padded = 0 if model.config.model_type == "clip" else context
    tokenizer = CheckpointTokenizer(checkpoint, config, context, context=padded)
    return TowerText(model.text_model, projection, _width(model), tokenizer)


_TOWERS: dict[str, Callable[[Checkpoint, Any, set[str]], Encoder]] = {"image": _image, "text": _text}


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
