"""Recordings of any length as windows, run so that only windows of equal length share a forward pass.

Padding would change vectors: the group norm of the base models of wav2vec 2.0 counts it in, and WavLM's
attention takes no mask. So a window runs with others of its own length, and a recording has the same vector
whatever stands beside it in the batch.

An encoder calls these in order: `cut` and `tensors_of` in `preprocess`, `collate`, then `passes` in `forward`
and `rows` in `forward_tokens`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .contract import Tensors
from .padding import pad_rows

Samples = TypeVar("Samples", Tensor, np.ndarray[Any, Any])

# Samples in one pass. The first convolution of wav2vec 2.0 turns each into a hundred numbers. One window of
# 15 s fills the limit of a CPU, which gains nothing from more; that of a GPU is an estimate, not measured.
_CPU_AT_ONCE, _GPU_AT_ONCE = 2**18, 2**21


def cut(samples: Samples, length: int, least: int = 1) -> list[Samples]:
    """Cut samples `[n]` into consecutive windows of `length`; the last one may be shorter.

    A last window of fewer than `least` samples is left out, unless it is the only one.
    """
    windows = [samples[start : start + length] for start in range(0, max(1, len(samples)), length)]
    return windows[:-1] if len(windows) > 1 and len(windows[-1]) < least else windows


def tensors_of(windows: Sequence[Tensor]) -> Tensors:
    """One recording's windows as `samples` `[n]`, one after the other, and their `lengths` `[windows]`."""
    return {"samples": torch.cat(list(windows)), "lengths": torch.tensor([len(one) for one in windows])}


def collate(items: Sequence[Tensors]) -> Tensors:
    """Join recordings into one batch: `samples` `[n]`, `lengths` `[windows]`, and `counts` `[b]`.

    `counts` says how many windows each recording has.
    """
    joined = {key: torch.cat([item[key] for item in items]) for key in ("samples", "lengths")}
    return {**joined, "counts": torch.tensor([len(item["lengths"]) for item in items])}


def passes(tensors: Tensors) -> Iterator[tuple[list[int], Tensor]]:
    """Yield windows of equal length together, `[k, length]`, with their places among all; short ones first.

    One pass holds no more samples than the device likes, and one window at least.
    """
    most = _CPU_AT_ONCE if tensors["samples"].device.type == "cpu" else _GPU_AT_ONCE
    lengths = tensors["lengths"].tolist()
    windows = tensors["samples"].split_with_sizes(lengths)
    for length in sorted(set(lengths)):
        same = [place for place, other in enumerate(lengths) if other == length]
        step = max(1, most // length)
        for start in range(0, len(same), step):
            places = same[start : start + step]
            yield places, torch.stack([windows[place] for place in places])


def rows(outputs: Iterable[tuple[Sequence[int], Tensor]], counts: Tensor) -> tuple[Tensor, Tensor]:
    """Join the frames `[k, t, width]` of windows into one padded row for each recording, with a mask.

    `outputs` are the places that `passes` gave, each with the frames of its windows; `counts` is that of
    `collate`. The rows are `[b, t, width]`, a window's frames after those of the one before it; the mask is
    `[b, t]`.
    """
    frames: dict[int, Tensor] = {}
    for places, hidden in outputs:
        frames |= zip(places, hidden, strict=True)
    joined, first = [], 0
    for count in counts.tolist():
        joined.append(torch.cat([frames[place] for place in range(first, first + count)]))
        first += count
    return pad_rows(joined)


def receptive_field(layers: Iterable[tuple[int, int]]) -> int:
    """The number of samples that one frame of stacked convolutions covers.

    `layers` are their (kernel size, stride) in order, the first one that of the samples.
    """
    field, jump = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * jump
        jump *= stride
    return field
