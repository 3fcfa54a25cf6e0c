"""Rates are converted by windowed sinc interpolation, as torchaudio does it and without torchaudio.

torchaudio's last release is built with CUDA 13.0, and isn't imported beside a torch of another CUDA, such as
2.15 as pip finds it. Vectors stay what they were: every step and its precision are those of
torchaudio.functional.resample (BSD-2-Clause). Smith, "Digital Audio Resampling",
https://ccrma.stanford.edu/~jos/resample/.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_CROSSINGS = 6  # zeros of the sinc on each side that the window keeps
_ROLLOFF = 0.99  # of the lower rate's highest frequency


def resample(samples: Tensor, before: int, after: int) -> Tensor:
    """Convert samples, float32 `[n]`, from one rate to another, two numbers without a common divisor."""
    if before == after:
        return samples
    count = len(samples)
    filters, width = _make_filters(before, after)  # [after, 1, before + 2 * width]
    padded = torch.nn.functional.pad(samples[None], (width, width + before))
    found = torch.nn.functional.conv1d(padded[:, None], filters, stride=before)  # [1, after, steps]
    # The length is rounded to float32 first, as torchaudio does.
    length = int(torch.ceil(torch.tensor(after * count / before, dtype=torch.float32)))
    return found.transpose(1, 2).reshape(-1)[:length]


def _make_filters(before: int, after: int) -> tuple[Tensor, int]:
    """Make a filter for each sample of a period, and count the samples that they reach to either side.

    The sample y[j] is the sum of x[i] sinc(i / before - j / after) over all i, cut off by a Hann window; from
    `after` samples on the filters come again, `before` samples further.
    """
    lower = min(before, after) * _ROLLOFF
    width = math.ceil(_CROSSINGS * before / lower)
    places = torch.arange(-width, width + before, dtype=torch.float32)[None, None] / before
    times = torch.arange(0, -after, -1, dtype=torch.float32)[:, None, None] / after + places
    times = (times * lower).clamp_(-_CROSSINGS, _CROSSINGS)
    window = torch.cos(times * math.pi / _CROSSINGS / 2) ** 2
    times *= math.pi
    filters = torch.where(times == 0, torch.ones_like(times), times.sin() / times)
    return filters * (window * (lower / before)), width
