"""Whisper's encoder and AST, which take spectrograms of one length; a recording's own frames are tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmencode import Tensors
from mmencode.encoder import windows

from .loading import describe
from .recordings import Samples, Windowed, in_parts, in_rows
from .text import POOLINGS


@dataclass(frozen=True, slots=True)
class SpectrogramLayout:
    """The layout of one architecture's spectrograms and outputs.

    key      the name of the spectrogram among the extractor's results
    length   the samples of a window; shorter windows are padded with silence
    least    the samples that one frame needs
    bands    the outputs of one time step
    leading  the outputs before those of the first frame
    steps    gives the number of time steps that a number of samples fills
    """

    key: str
    length: int
    least: int
    bands: int
    leading: int
    steps: Callable[[int], int]


class Spectrogram(Windowed):
    """A model of spectrograms, pooled over the outputs that a recording's own samples fill.

    The silence after a short window is part of the model's input, as in its training, but isn't pooled. `cls`
    is AST's own pooling: the mean of its class and distillation tokens.
    """

    def __init__(self, model: Any, settings: Any, pooled: str, layout: SpectrogramLayout) -> None:
        super().__init__()
        self.model = model
        self.width = int(model.config.hidden_size)
        self.rate = int(settings.sampling_rate)
        self._settings = settings
        self._pooled = pooled
        self._layout = layout
        self.preprocessing = f"mono, {describe(settings)}"
        self.pooling = f"{model.config.model_type}, {pooled}"
        self.windows = (
            f"the mean over all consecutive windows of {layout.length} samples, no last one below "
            f"{layout.least}; a shorter one is followed by silence"
        )

    def cut(self, samples: Samples) -> list[Samples]:
        """Cut a recording into consecutive windows without overlap."""
        return windows.cut(samples, self._layout.length, self._layout.least)

    def inputs(self, window: Samples) -> Tensors:
        """Compute the spectrogram of a window, and the number of time steps that the window fills."""
        padded = np.pad(window, (0, max(0, self._layout.least - len(window))))
        found = self._settings(padded, sampling_rate=self.rate, return_tensors="np")[self._layout.key][0]
        steps = self._layout.steps(len(padded))
        return {"spectrogram": torch.from_numpy(np.asarray(found, np.float32)), "steps": torch.tensor(steps)}

    def vectors(self, tensors: Tensors) -> Tensor:
        """Pool one vector for each window."""
        hidden = self._last_layer(tensors)
        if self._pooled == "cls":
            return hidden[:, : self._layout.leading].mean(dim=1)
        return POOLINGS[self._pooled](*self._own(hidden, tensors["steps"]))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Compute a recording's own frames `[b, t, width]`, window after window, and their mask.

        AST's are patches of frequency and time: those of the lowest band first, in order of time.
        """
        frames, mask = self._own(in_parts(self._last_layer, tensors), tensors["steps"])
        return in_rows(frames, mask, tensors["counts"])

    def _last_layer(self, tensors: Tensors) -> Tensor:
        hidden: Tensor = self.model(tensors["spectrogram"]).last_hidden_state
        return hidden

    def _own(self, hidden: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """Drop the leading outputs, and mark in a mask the ones that the samples fill."""
        frames = hidden[:, self._layout.leading :]
        places = torch.arange(frames.shape[1] // self._layout.bands, device=frames.device)
        return frames, (places < steps[:, None]).repeat(1, self._layout.bands)


def whisper(model: Any, settings: Any) -> SpectrogramLayout:
    """The layout of Whisper: windows of 30 s at 100 spectra a second, of which two make a frame."""
    samples = 2 * int(settings.hop_length)
    return SpectrogramLayout(
        "input_features", int(settings.n_samples), samples, 1, 0, lambda count: -(-count // samples)
    )


def ast(model: Any, settings: Any) -> SpectrogramLayout:
    """The layout of AST: a spectrum of 25 ms every 10 ms, in patches that overlap."""
    config = model.config
    stride = int(config.time_stride)
    hop, frame = int(settings.sampling_rate) // 100, int(settings.sampling_rate) // 40
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    places = int(config.max_length - config.patch_size) // stride + 1
    length = frame + hop * (int(settings.max_length) - 1)

    def steps(count: int) -> int:
        spectra = 1 + (count - frame) // hop
        return max(1, min(places, -(-spectra // stride)))

    return SpectrogramLayout("input_values", length, frame, bands, 2, steps)
