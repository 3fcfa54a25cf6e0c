"""Recordings as windows of one length, each turned into features of one shape in the worker threads."""

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
    """What `compute` makes of the windows `[windows, ...]`, a few at a time."""
    windows = {key: value.split(_AT_ONCE) for key, value in tensors.items() if key != "counts"}  # type: ignore[no-untyped-call]
    parts = (dict(zip(windows, values, strict=True)) for values in zip(*windows.values(), strict=True))
    return torch.cat([compute(part) for part in parts])


class Windowed(Encoder):
    """An audio model that takes one shape of input: a recording is the mean over its windows' vectors.

    A subclass cuts a recording into windows (`cut`), makes each the model's input (`features`), and computes
    their vectors (`vectors`).
    """

    rate: int

    @abstractmethod
    def cut(self, samples: Samples) -> list[Samples]:
        """The windows of a recording at the model's rate."""

    @abstractmethod
    def inputs(self, window: Samples) -> Tensors:
        """One window's tensors."""

    @abstractmethod
    def vectors(self, tensors: Tensors) -> Tensor:
        """One vector for each window, `[windows, width]`, and all count the same."""

    def preprocess(self, item: Waveform) -> Tensors:
        """The windows' tensors, stacked."""
        made = [self.inputs(window) for window in self.cut(item.resample(self.rate).samples)]
        return {key: torch.stack([tensors[key] for tensors in made]) for key in made[0]}

    def collate(self, items: list[Tensors]) -> Tensors:
        """All windows, and how many each item has, `counts` `[b]`."""
        joined = {key: torch.cat([item[key] for item in items]) for key in items[0]}
        return {**joined, "counts": torch.tensor([len(next(iter(item.values()))) for item in items])}

    def forward(self, tensors: Tensors) -> Tensor:
        """Features `[b, width]`: the mean over an item's windows."""
        found = in_parts(self.vectors, tensors).split_with_sizes(tensors["counts"].tolist())
        return torch.stack([windows.mean(dim=0) for windows in found])


def in_rows(windows: Tensor, mask: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Frames `[windows, t, width]` with their mask as one row for each item, and the mask of that."""
    numbers = counts.tolist()
    items = zip(windows.split_with_sizes(numbers), mask.split_with_sizes(numbers), strict=True)
    return pad_rows([frames[own] for frames, own in items])
