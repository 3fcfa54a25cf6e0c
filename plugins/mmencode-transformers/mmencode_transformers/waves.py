"""Audio models that take waveforms of any length: wav2vec 2.0, HuBERT and WavLM."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmencode import Encoder, Tensors, Waveform
from mmencode.encoder import windows

from .loading import describe
from .text import POOLINGS

_SECONDS = 15  # in pre-training these models saw crops of at most 15.6 s (base) and 20 s (large)


class WaveEncoder(Encoder):
    """A waveform model of transformers, pooled over the frames of all windows of a recording.

    Only windows of equal length share a pass, since the group norm of the base models counts padding in.
    """

    def __init__(self, model: Any, settings: Any, pooled: str) -> None:
        super().__init__()
        self.model = model
        self.width = int(model.config.hidden_size)
        self._settings = settings
        self._pooled = pooled
        self._rate = int(settings.sampling_rate)
        layers = zip(model.config.conv_kernel, model.config.conv_stride, strict=True)
        self._least = windows.receptive_field(layers)
        self.preprocessing = f"mono, {describe(settings)}"
        self.pooling = f"{model.config.model_type}, {pooled} over frames"
        self.windows = (
            f"all consecutive windows of {_SECONDS * self._rate} samples, no last one below {self._least}; a "
            f"shorter recording is followed by zeros up to {self._least}"
        )

    def preprocess(self, item: Waveform) -> Tensors:
        """Cut a recording into windows, `samples` `[n]` in order, with their `lengths` `[windows]`."""
        samples = item.resample(self._rate).samples
        cut = windows.cut(samples, _SECONDS * self._rate, self._least)
        padded = [np.pad(window, (0, max(0, self._least - len(window)))) for window in cut]
        return windows.tensors_of([self._input(window) for window in padded])

    def _input(self, window: Any) -> Tensor:
        found = self._settings(window, sampling_rate=self._rate, padding=False, return_tensors="np")
        return torch.from_numpy(np.asarray(found["input_values"][0], np.float32))

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join recordings: `samples` `[n]`, `lengths` `[windows]`, and `counts` `[b]` of their windows."""
        return windows.collate(items)

    def cost(self, tensors: Tensors) -> int:
        """The number of samples: recordings of one length share batches, and their windows passes."""
        return len(tensors["samples"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, pooled over frames."""
        return POOLINGS[self._pooled](*self.forward_tokens(tensors))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute frames `[b, t, width]`, those of all windows in order, and their mask `[b, t]`."""
        passes = windows.passes(tensors)
        frames = ((places, self.model(samples).last_hidden_state) for places, samples in passes)
        return windows.rows(frames, tensors["counts"])
