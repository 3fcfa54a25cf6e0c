"""CLAP towers of transformers, sounds and texts in one space, made deterministic.

transformers' own extractor takes a random crop of a long recording, or three random ones beside a shrunken
whole, and in a batch without long recordings it marks a random one as long. Here nothing is random, so that a
recording has one vector.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize
from transformers import AutoFeatureExtractor
from transformers.audio_utils import spectrogram, window_function

from mmencode import Encoder, Scoring, Tensors
from mmencode.errors import WeightsError

from .architectures import require_kind
from .loading import (
    describe,
    keep,
    load,
    load_config,
    load_extractor,
    read_scale,
    require_whole,
    sign,
)
from .recordings import Samples, Windowed
from .sources import Checkpoint, find
from .text import context
from .tokenizer import CheckpointTokenizer
from .towers import TowerText

_FAMILY = "transformers/clap/"
Mel = np.ndarray[tuple[int, int], np.dtype[np.float32]]


class ClapAudio(Windowed):
    """The audio tower of a CLAP model.

    Without feature fusion a long recording is the mean over the unit vectors of windows of 10 s, of which the
    last one ends where the recording does. With feature fusion (Wu et al., "Large-scale Contrastive
    Language-Audio Pretraining", 2023, section 3.3) the model gets the shrunken whole and three crops, the
    middle ones of those that training drew from. Short recordings are repeated.
    """

    def __init__(self, tower: Any, projection: Any, settings: Any, scoring: Scoring | None) -> None:
        super().__init__()
        self.tower = tower
        self.projection = projection
        self.width = int(projection.linear2.out_features)
        self.rate = int(settings.sampling_rate)
        self._settings = settings
        self._scoring = scoring
        self._fused = bool(tower.config.enable_fusion)
        self._length = int(settings.nb_max_samples)
        self.preprocessing = f"{describe(settings)}, of the filters {'htk' if self._fused else 'slaney'}"
        self.pooling = "the audio tower's own, projected"
        long = (
            "the whole, shrunk, and the middle one of the crops in each third, fused"
            if self._fused
            else "the mean over the unit vectors of consecutive windows, the last one ending with it"
        )
        self.windows = f"{self._length} samples; a longer recording is {long}; a shorter one is repeated"

    def cut(self, samples: Samples) -> list[Samples]:
        """Cut a recording into windows of 10 s; with feature fusion it is one window, of any length."""
        last = len(samples) - self._length
        if last <= 0 or self._fused:
            return [samples]
        starts = [*range(0, last, self._length), last]
        return [samples[start : start + self._length] for start in starts]

    def inputs(self, window: Samples) -> Tensors:
        """Compute the log-mel spectrogram `[1, frames, bins]`, or `[4, frames, bins]` for feature fusion."""
        mel = self._mel(_pad(window, self._length, self._settings.padding))
        if not self._fused:
            return {"mel": torch.from_numpy(mel)[None], "longer": torch.tensor(False)}
        frames = self._length // self._settings.hop_length + 1
        if len(mel) <= frames:
            return {"mel": torch.from_numpy(mel).expand(4, -1, -1), "longer": torch.tensor(False)}
        return {"mel": _fusion(mel, frames), "longer": torch.tensor(True)}

    def vectors(self, tensors: Tensors) -> Tensor:
        """Compute one unit vector for each window."""
        longer = tensors["longer"][:, None] if self._fused else None
        found = self.tower(input_features=tensors["mel"], is_longer=longer).pooler_output
        return normalize(self.projection(found), dim=-1)

    def _mel(self, samples: Samples) -> Mel:
        settings = self._settings
        found = spectrogram(
            samples,
            window_function(settings.fft_window_size, "hann"),
            frame_length=settings.fft_window_size,
            hop_length=settings.hop_length,
            power=2.0,
            mel_filters=settings.mel_filters if self._fused else settings.mel_filters_slaney,
            log_mel="dB",
        )
        return np.ascontiguousarray(found.T, np.float32)

    @property
    def scoring(self) -> Scoring | None:
        """The scale of cosines with texts that the model was trained with; None without it."""
        return self._scoring


def towers(variant: str, modalities: Collection[str] = ("audio", "text")) -> dict[str, Encoder]:
    """Build the audio and the text tower of `<id or folder>`, or one of them, whose weights alone are read.

    Raises UnknownNameError or WeightsError when there is none.
    """
    checkpoint = find(variant, _FAMILY)
    config = load_config(checkpoint)
    require_kind(checkpoint, config, _FAMILY)
    model, missing = load(checkpoint, config)
    built = {modality: _TOWERS[modality](checkpoint, model, missing) for modality in modalities}
    for encoder in built.values():
        sign(encoder, checkpoint)
    return built


def _audio(checkpoint: Checkpoint, model: Any, missing: set[str]) -> ClapAudio:
    require_whole(checkpoint, model, missing, model.audio_model, model.audio_projection)
    keep(model.audio_model, model.audio_projection)
    settings = load_extractor(checkpoint, AutoFeatureExtractor)
    expected = "fusion" if model.config.audio_config.enable_fusion else "rand_trunc"
    if settings.truncation != expected:
        raise WeightsError(
            f"the extractor of {checkpoint.name!r} has truncation {settings.truncation!r}, and its model was "
            f"made for {expected!r}",
            culprit=str(checkpoint.folder / "preprocessor_config.json"),
            remedy="put the preprocessor_config.json of these weights there",
        )
    scale = read_scale(model.logit_scale_a.exp(), "logit_scale_a", missing, checkpoint)
    scoring = None if scale is None else Scoring(kind="softmax", scale=scale)
    return ClapAudio(model.audio_model, model.audio_projection, settings, scoring)


def _text(checkpoint: Checkpoint, model: Any, missing: set[str]) -> TowerText:
    require_whole(checkpoint, model, missing, model.text_model, model.text_projection)
    keep(model.text_model, model.text_projection)
    tokenizer = CheckpointTokenizer(checkpoint, model.config.text_config, context(model.text_model))
    width = int(model.text_projection.linear2.out_features)
    return TowerText(model.text_model, model.text_projection, width, tokenizer)


_TOWERS: dict[str, Callable[[Checkpoint, Any, set[str]], Encoder]] = {"audio": _audio, "text": _text}


def _pad(samples: Samples, length: int, padding: str) -> Samples:
    """Lengthen short samples to `length`: repeat and add zeros, repeat and cut, or only add zeros."""
    if len(samples) < length and padding == "repeat":
        return np.tile(samples, length // len(samples) + 1)[:length]
    if len(samples) < length and padding == "repeatpad":
        samples = np.tile(samples, length // len(samples))
    return np.pad(samples, (0, max(0, length - len(samples))))


def _fusion(mel: Mel, frames: int) -> Tensor:
    """Stack the whole, shrunk to so many frames, and a crop from each of its thirds: `[4, frames, bins]`."""
    thirds = np.array_split(np.arange(len(mel) - frames + 1), 3)
    starts = [int(third[len(third) // 2]) if len(third) else 0 for third in thirds]
    whole = torch.from_numpy(mel)[None, None]
    shrunk = interpolate(whole, size=[frames, mel.shape[1]], mode="bilinear", align_corners=False)[0, 0]
    return torch.stack([shrunk, *(torch.from_numpy(mel[start : start + frames]) for start in starts)])
