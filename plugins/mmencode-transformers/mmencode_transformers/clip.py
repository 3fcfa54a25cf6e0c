"""Image and text towers in one space: CLIP, MetaCLIP 2, AltCLIP, Chinese-CLIP, AIMv2, TIPS v2 and SigLIP."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from torch import Tensor, nn
from transformers import AutoImageProcessor

from mmencode import Encoder, Scoring, Tensors
from mmencode.errors import WeightsError

from .architectures import require_kind
from .image import ImageTower
from .loading import keep, load, load_config, load_extractor, read_scale, require_whole, sign
from .sentencepieces import tokenizer_of
from .sources import Checkpoint, find, modules_of
from .text import context
from .towers import FirstTokenText, TowerText

_FAMILY = "transformers/clip/"
_WHOLE_CONTEXT = ("siglip", "siglip2")  # text towers that look at the padding of their whole context
_FIRST_TOKEN = ("altclip", "chinese_clip")  # BERT-like text towers


class ClipImage(ImageTower):
    """The image tower of CLIP, SigLIP and their kin, with its own pooling and projection."""

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
    require_kind(checkpoint, config, _FAMILY)
    if not getattr(config.vision_config, "use_head", True):
        raise WeightsError(
            f"the image tower of {checkpoint.name!r} has no head that pools its patches (use_head is false)",
            culprit=str(checkpoint.folder / "config.json"),
            remedy="choose a checkpoint with two towers in one space, such as AIMv2's with -lit in its name",
        )
    model, missing = load(checkpoint, config)
    built = {modality: _TOWERS[modality](checkpoint, model, missing) for modality in modalities}
    for encoder in built.values():
        sign(encoder, checkpoint)
    return built


def _image(checkpoint: Checkpoint, model: Any, missing: set[str]) -> ClipImage:
    projection = getattr(model, "visual_projection", nn.Identity())
    require_whole(checkpoint, model, missing, model.vision_model, projection)
    keep(model.vision_model, projection)
    processor = load_extractor(checkpoint, AutoImageProcessor)
    scoring = _scoring(checkpoint, model, missing)
    return ClipImage(model.vision_model, projection, _width(model), processor, scoring)


def _text(checkpoint: Checkpoint, model: Any, missing: set[str]) -> TowerText:
    kind, tower = model.config.model_type, model.text_model
    projection = getattr(model, "text_projection", nn.Identity())
    require_whole(checkpoint, model, missing, tower, projection)
    keep(tower, projection)
    if kind == "aimv2":
        _make_causal(tower)
    longest = context(getattr(tower, "roberta", tower)) or 0
    tokenizer = tokenizer_of(checkpoint, tower.config, longest, longest if kind in _WHOLE_CONTEXT else 0)
    made = FirstTokenText if kind in _FIRST_TOKEN else TowerText
    return made(tower, projection, _width(model), tokenizer)


def _make_causal(tower: Any) -> None:
    """Keep AIMv2's attention causal where no row of a batch is padded, too.

    transformers leaves the mask away there, and its layers then let tokens see those behind them, so that a
    text alone would have another vector than in a batch.
    """
    for layer in tower.encoder.layers:
        layer.attention.is_causal = True


_TOWERS: dict[str, Callable[[Checkpoint, Any, set[str]], Encoder]] = {"image": _image, "text": _text}


def _of_sentence_transformers(checkpoint: Checkpoint) -> Checkpoint:
    """Find the model's own folder (`0_CLIPModel`) in a checkpoint that sentence-transformers saved."""
    if not (checkpoint.folder / "modules.json").is_file():
        return checkpoint
    kind, inner = modules_of(checkpoint)[0]
    return inner if kind == "CLIPModel" else checkpoint


def _width(model: Any) -> int:
    config = model.config
    if hasattr(model, "visual_projection"):
        return int(config.projection_dim)
    return int(getattr(config.text_config, "projection_size", None) or config.vision_config.hidden_size)


def _scoring(checkpoint: Checkpoint, model: Any, missing: set[str]) -> Scoring | None:
    scale = _scale(checkpoint, model, missing)
    if not hasattr(model, "logit_bias"):
        return None if scale is None else Scoring(kind="softmax", scale=scale)
    bias = read_scale(model.logit_bias, "logit_bias", missing, checkpoint)
    return None if scale is None or bias is None else Scoring(kind="sigmoid", scale=scale, bias=bias)


def _scale(checkpoint: Checkpoint, model: Any, missing: set[str]) -> float | None:
    """Read the factor of cosines as the model's own forward pass applies it; None where nobody trained it."""
    if model.config.model_type == "tipsv2":
        return _inverse_temperature(checkpoint, model)
    learned = model.logit_scale
    if model.config.model_type == "aimv2":
        learned = learned.clamp(0.0, model.max_log_logit_scale)
    return read_scale(learned.exp(), "logit_scale", missing, checkpoint)


def _inverse_temperature(checkpoint: Checkpoint, model: Any) -> float | None:
    """Read the scale of TIPS v2, whose published weights lack it: their config.json has it instead."""
    told = "temperature_init_value" in checkpoint.whole.settings("config.json")
    learned = float(model.temperature.detach()) != float(model.config.temperature_init_value)
    missing = set() if told or learned else {"temperature"}
    return read_scale(1 / model.temperature, "temperature", missing, checkpoint)
