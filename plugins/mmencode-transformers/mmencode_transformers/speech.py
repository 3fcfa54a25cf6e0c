"""Audio encoders of transformers: wav2vec 2.0, HuBERT, WavLM, Whisper's encoder and AST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from transformers import AutoFeatureExtractor

from mmencode import Encoder

from .architectures import require_kind
from .frames import Spectrogram, ast, whisper
from .loading import keep, load, load_config, load_extractor, require_whole, sign
from .sources import find
from .text import split_option
from .waves import WaveEncoder

FAMILY = "transformers/speech/"

_Builder = Callable[[Any, Any, str], Encoder]
_BUILDERS: dict[str, _Builder] = {
    "wav2vec2": WaveEncoder,
    "hubert": WaveEncoder,
    "wavlm": WaveEncoder,
    "whisper": lambda model, settings, pooled: Spectrogram(model, settings, pooled, whisper(model, settings)),
    "audio-spectrogram-transformer": lambda model, settings, pooled: Spectrogram(
        model, settings, pooled, ast(model, settings)
    ),
}


def build(variant: str) -> Encoder:
    """Build the encoder `<mean or max>:<id or folder>`, or for AST `cls:<id or folder>`.

    Raises UnknownNameError for a pooling or an id that doesn't exist, WeightsError for a checkpoint that is
    refused, isn't whole, or is of another architecture.
    """
    pooled, rest = split_option(variant, ("mean", "max", "cls"), FAMILY)
    checkpoint = find(rest, f"{FAMILY}{pooled}:")
    config = load_config(checkpoint)
    require_kind(checkpoint, config, FAMILY)
    if pooled == "cls" and config.model_type != "audio-spectrogram-transformer":
        pooled, rest = split_option(
            "cls", ("mean", "max"), FAMILY
        )  # raises, and names the poolings that there are
    whole, missing = load(checkpoint, config)
    model = whole.get_encoder() if config.is_encoder_decoder else whole
    vars(model)["_parameters"].pop("masked_spec_embed", None)  # used in training only, and often not saved
    require_whole(checkpoint, whole, missing, model)
    keep(model)
    encoder = _BUILDERS[config.model_type](model, load_extractor(checkpoint, AutoFeatureExtractor), pooled)
    sign(encoder, checkpoint)
    return encoder
