"""The table of which family takes which architecture of transformers, and the refusals that it answers."""

from __future__ import annotations

from typing import Any

from transformers import AutoModel
from transformers.models.auto.auto_factory import _get_model_class

from mmencode.errors import WeightsError

from .sources import Checkpoint

# The architectures (`model_type` in config.json) that each family computes. Models of text aren't listed:
# transformers/text takes whatever reads nothing but text.
TAKEN: dict[str, tuple[str, ...]] = {
    "transformers/clip/": (
        *("clip", "metaclip_2", "altclip", "chinese_clip", "aimv2", "tipsv2"),
        *("siglip", "siglip2"),
    ),
    "transformers/clap/": ("clap",),
    "transformers/image/": ("dinov2", "dinov2_with_registers", "dinov3_vit", "vit"),
    "transformers/late/": ("colpali", "colqwen2", "colmodernvbert"),
    "transformers/pe-av/": ("pe_audio", "pe_video", "pe_audio_video"),
    "transformers/omni/": ("embedding_gemma2", "qwen3_vl", "qwen2_vl", "qwen2_5_vl"),  # without modules.json
    "transformers/speech/": ("wav2vec2", "hubert", "wavlm", "whisper", "audio-spectrogram-transformer"),
}
# Those that families of mmencode-video compute, from folders.
ELSEWHERE: dict[str, tuple[str, ...]] = {
    "video/videoprism/": ("videoprism",),
    "video/videoprism-vision/": ("videoprism_vision_model",),
    "video/vjepa2/": ("vjepa2",),
    "video/xclip/": ("xclip",),
}
# What stands between a family and the checkpoint in a name.
OPTIONS = {
    "transformers/text/": "<cls, mean, max or last>:",
    "transformers/image/": "<cls or mean>:",
    "transformers/speech/": "<mean or max>:",
}


def require_kind(checkpoint: Checkpoint, config: Any, family: str) -> None:
    """Raise WeightsError unless the architecture is one that the family computes."""
    if config.model_type not in TAKEN[family]:
        raise refusal(checkpoint, config, f"{family} takes {', '.join(TAKEN[family])}")


def refusal(checkpoint: Checkpoint, config: Any, takes: str) -> WeightsError:
    """Make the error for a checkpoint of another family; its remedy is the name under which it is taken."""
    return WeightsError(
        f"the checkpoint {checkpoint.name!r} is a {config.model_type}; {takes}",
        culprit=str(checkpoint.folder),
        remedy=_remedy(checkpoint, config),
    )


def is_taken(config: Any) -> bool:
    """Whether a family other than that of text models takes the architecture."""
    return bool(_family_of(config.model_type, TAKEN) or _family_of(config.model_type, ELSEWHERE))


def _remedy(checkpoint: Checkpoint, config: Any) -> str:
    family = _family_of(config.model_type, TAKEN) or ("transformers/text/" if _reads_text(config) else "")
    if family:
        return f"name it {family}{OPTIONS.get(family, '')}{checkpoint.name}"
    if elsewhere := _family_of(config.model_type, ELSEWHERE):
        return f"name it {elsewhere}<its folder>, which is a family of mmencode-video (pip install it)"
    return f"no family of this plugin takes a {config.model_type}; `mmencode list` shows what each takes"


def _family_of(kind: str, table: dict[str, tuple[str, ...]]) -> str:
    return next((family for family, kinds in table.items() if kind in kinds), "")


def _reads_text(config: Any) -> bool:
    """Whether a model is one network that reads the tokens of a text and nothing else."""
    try:
        kind = _get_model_class(config, AutoModel._model_mapping)  # type: ignore[no-untyped-call]
    except KeyError:  # it has a config, and no model of its own
        return False
    return not config.sub_configs and kind.main_input_name == "input_ids"
