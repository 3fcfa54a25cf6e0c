"""wav2vec 2.0, HuBERT and WavLM: waveforms of any length, pooled over the frames of the last layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from mmencode import Encoder, Waveform

from .loading import described
from .recordings import Tensors, consecutive
from .text import POOLINGS

_SECONDS = 15  # in pre-training these models saw crops of at most 15.6 s (base) and 20 s (large)
_AT_ONCE = {"cpu": 2**18}  # samples in one pass; elsewhere eight times as many


class WaveEncoder(Encoder):
    """A waveform model of transformers, pooled over the frames of all windows of a recording.

    Only windows of equal length share a pass: the group norm of the base models counts padding in, so that is
    the only way to a recording's own vector.
    """

    def __init__(self, model: Any, settings: Any, pooled: str) -> None:
        super().__init__()
        self.model = model
        self.width = int(model.config.hidden_size)
        self._settings = settings
        self._pooled = pooled
        self._rate = int(settings.sampling_rate)
        self._least = _receptive_field(model.config)
        self.preprocessing = f"mono, {described(settings)}"
        self.pooling = f"{model.config.model_type}, {pooled} over frames"
        self.windows = (
            f"all consecutive windows of {_SECONDS * self._rate} samples, no last one below {self._least}; a "
            f"shorter recording is followed by zeros up to {self._least}"
        )

    def preprocess(self, item: Waveform) -> Tensors:
        """The windows' samples `[n]`, one after the other, and how many each has, `lengths` `[windows]`."""
        samples = item.resample(self._rate).samples
        windows = consecutive(samples, _SECONDS * self._rate, self._least)
        made = [self._input(np.pad(window, (0, max(0, self._least - len(window))))) for window in windows]
        return {"samples": torch.cat(made), "lengths": torch.tensor([len(window) for window in made])}

    def _input(self, window: Any) -> Tensor:
        found = self._settings(window, sampling_rate=self._rate, padding=False, return_tensors="np")
        return torch.from_numpy(np.asarray(found["input_values"][0], np.float32))

    def collate(self, items: list[Tensors]) -> Tensors:
        """All windows' samples `[n]`, their `lengths` `[windows]`, and how many each item has, `counts`."""
        joined = {key: torch.cat([item[key] for item in items]) for key in ("samples", "lengths")}
        return {**joined, "counts": torch.tensor([len(item["lengths"]) for item in items])}

    def cost(self, tensors: Tensors) -> int:
        """The number of samples; items of one length stand together and run together."""
        return len(tensors["samples"])

    def forward(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`."""
        return POOLINGS[self._pooled](*self.forward_tokens(tensors))

    def forward_tokens(self, tensors: Tensors) -> tuple[Tensor, Tensor]:
        """Frames `[b, t, width]`, a window's after those of the one before it, and their mask `[b, t]`."""
        windows: dict[int, Tensor] = {}
        for places, hidden in self._hidden(tensors):
            windows |= zip(places, hidden, strict=True)
        rows, first = [], 0
        for count in tensors["counts"].tolist():
            rows.append(torch.cat([windows[place] for place in range(first, first + count)]))
            first += count
        frames = pad_sequence(rows, batch_first=True)  # [b, t, width]
        lengths = torch.tensor([len(row) for row in rows], device=frames.device)
        return frames, torch.arange(frames.shape[1], device=frames.device) < lengths[:, None]

    def _hidden(self, tensors: Tensors) -> Iterator[tuple[list[int], Tensor]]:
        """The places of a few windows of one length, and their frames `[k, t, width]`, until all are done."""
        most = _AT_ONCE.get(tensors["samples"].device.type, 2**21)
        lengths = tensors["lengths"].tolist()
        windows = tensors["samples"].split_with_sizes(lengths)
        for length in sorted(set(lengths)):
            same = [place for place, other in enumerate(lengths) if other == length]
            step = max(1, most // length)
            for start in range(0, len(same), step):
                places = same[start : start + step]
                yield places, self.model(torch.stack([windows[place] for place in places])).last_hidden_state


def _receptive_field(config: Any) -> int:
    """How many samples one frame takes."""
    field, stride = 1, 1
    for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
        field += (kernel - 1) * stride
        stride *= step
    return field
