"""Whisper's encoder and AST: spectrograms of one length, the frames of a recording's own as tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmencode import Tensors
from mmencode.encoder import windows

from .loading import described
from .recordings import Samples, Windowed, in_parts, in_rows
from .text import POOLINGS


@dataclass(frozen=True, slots=True)
class Shape:
    """How one architecture's spectrograms and outputs are laid out.

    key     the extractor's name for the spectrogram, which is the model's for its input, too
    length  of a window in samples; shorter ones are followed by silence
    least   how many samples a window needs for one frame
    bands   how many outputs one time step has
    leading outputs before the first frame's
    steps   how many time steps that many samples fill
    """

    key: str
    length: int
    least: int
    bands: int
    leading: int
    steps: Callable[[int], int]


class Spectrogram(Windowed):
    """A model of spectrograms, pooled over the outputs that a recording's own samples fill.

    The silence behind a short window is part of the model's input, as in its training, and not of the
    pooling. `cls` is AST's own pooling: the mean of its class and distillation tokens.
    """

    def __init__(self, model: Any, settings: Any, pooled: str, shape: Shape) -> None:
        super().__init__()
        self.model = model
        self.width = int(model.config.hidden_size)
        self.rate = int(settings.sampling_rate)
        self._settings = settings
        self._pooled = pooled
        self._shape = shape
        self.preprocessing = f"mono, {described(settings)}"
        self.pooling = f"{model.config.model_type}, {pooled}"
        self.windows = (
            f"the mean over all consecutive windows of {shape.length} samples, no last one below "
            f"{shape.least}; a shorter one is followed by silence"
        )

    def cut(self, samples: Samples) -> list[Samples]:
        """Windows one after the other."""
        return windows.cut(samples, self._shape.length, self._shape.least)

    def inputs(self, window: Samples) -> Tensors:
        """The spectrogram, and how many time steps the window fills."""
        padded = np.pad(window, (0, max(0, self._shape.least - len(window))))
        found = self._settings(padded, sampling_rate=self.rate, return_tensors="np")[self._shape.key][0]
        steps = self._shape.steps(len(padded))
        return {"spectrogram": torch.from_numpy(np.asarray(found, np.float32)), "steps": torch.tensor(steps)}

    def vectors(self, tensors: Tensors) -> Tensor:
        """One vector for each window."""
        hidden = self._hidden(tensors)
        if self._pooled == "cls":
            return hidden[:, : self._shape.leading].mean(dim=1)
        return POOLINGS[self._pooled](*self._own(hidden, tensors["steps"]))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """The outputs of a recording's own frames `[b, t, width]`, window after window, and their mask.

        AST's are patches of frequency and time: the lowest band's first, in order of time.
        """
        frames, mask = self._own(in_parts(self._hidden, tensors), tensors["steps"])
        return in_rows(frames, mask, tensors["counts"])

    def _hidden(self, tensors: Tensors) -> Tensor:
        hidden: Tensor = self.model(tensors["spectrogram"]).last_hidden_state
        return hidden

    def _own(self, hidden: Tensor, steps: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs without the leading ones, and the mask of those that the samples fill."""
        frames = hidden[:, self._shape.leading :]
        places = torch.arange(frames.shape[1] // self._shape.bands, device=frames.device)
        return frames, (places < steps[:, None]).repeat(1, self._shape.bands)


def whisper(model: Any, settings: Any) -> Shape:
    """30 s at 100 spectra a second, of which two make a frame."""
    samples = 2 * int(settings.hop_length)
    return Shape("input_features", int(settings.n_samples), samples, 1, 0, lambda count: -(-count // samples))


def ast(model: Any, settings: Any) -> Shape:
    """A spectrum of 25 ms every 10 ms, in patches that overlap."""
    config = model.config
    stride = int(config.time_stride)
    hop, frame = int(settings.sampling_rate) // 100, int(settings.sampling_rate) // 40
    bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
    places = int(config.max_length - config.patch_size) // stride + 1
    length = frame + hop * (int(settings.max_length) - 1)

    def steps(count: int) -> int:
        spectra = 1 + (count - frame) // hop
        return max(1, min(places, -(-spectra // stride)))

    return Shape("input_values", length, frame, bands, 2, steps)
