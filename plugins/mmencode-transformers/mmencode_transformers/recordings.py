"""Audio models of one input length: a recording is cut into windows, and their vectors are averaged."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from mmencode import Encoder, Tensors, Waveform
from mmencode.encoder import pad_rows

Samples = np.ndarray[tuple[int], np.dtype[np.float32]]


_AT_ONCE = 16  # windows in one pass: an hour's would take gigabytes


def in_parts(compute: Callable[[Tensors], Tensor], tensors: Tensors) -> Tensor:
    """Apply `compute` to the windows `[windows, ...]`, a few at a time."""
    windows = {key: value.split(_AT_ONCE) for key, value in tensors.items() if key != "counts"}  # type: ignore[no-untyped-call]
    parts = (dict(zip(windows, values, strict=True)) for values in zip(*windows.values(), strict=True))
    return torch.cat([compute(part) for part in parts])


class Windowed(Encoder):
    """An audio model that takes one shape of input: a recording is the mean over its windows' vectors.

    A subclass cuts a recording into windows (`cut`), computes the model's input of each (`inputs`), and the
    windows' vectors (`vectors`).
    """

    rate: int

    @abstractmethod
    def cut(self, samples: Samples) -> list[Samples]:
        """Cut a recording at the model's rate into windows."""

    @abstractmethod
    def inputs(self, window: Samples) -> Tensors:
        """Compute the tensors of one window."""

    @abstractmethod
    def vectors(self, tensors: Tensors) -> Tensor:
        """Compute one vector for each window, `[windows, width]`; a recording's vector is their mean."""

    def preprocess(self, item: Waveform) -> Tensors:
        """Stack the tensors of a recording's windows."""
        made = [self.inputs(window) for window in self.cut(item.resample(self.rate).samples)]
        return {key: torch.stack([tensors[key] for tensors in made]) for key in made[0]}

    def collate(self, items: list[Tensors]) -> Tensors:
        """Join the windows of all recordings, with `counts` `[b]` of each one's windows."""
        joined = {key: torch.cat([item[key] for item in items]) for key in items[0]}
        return {**joined, "counts": torch.tensor([len(next(iter(item.values()))) for item in items])}

    def forward(self, tensors: Tensors) -> Tensor:
        """Compute features `[b, width]`, the mean over a recording's windows."""
        found = in_parts(self.vectors, tensors).split_with_sizes(tensors["counts"].tolist())
        return torch.stack([windows.mean(dim=0) for windows in found])


def in_rows(windows: Tensor, mask: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Join frames `[windows, t, width]` that their mask marks to a padded row for each recording."""
    numbers = counts.tolist()
    items = zip(windows.split_with_sizes(numbers), mask.split_with_sizes(numbers), strict=True)
    return pad_rows([frames[own] for frames, own in items])
