"""Frames of a video in the form that the processors of transformers take."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from mmencode.errors import InputError

_RATE = 2.0  # frames a second, as qwen-vl-utils samples: Qwen2-VL's processor names no rate


def clip_of(value: Any, processor: Any) -> tuple[Any, dict[str, Any]]:
    """Turn a video into frames `[t, 3, h, w]`, and arguments of the processor that say when they were taken.

    A video that can be sampled, as one of `mmencode-video`, gives as many frames in a second as the processor
    wants, or all that it has where it says no times. An array `[t, h, w, 3]` has no times either; among its
    frames the processor chooses.
    """
    if hasattr(value, "sample"):
        if getattr(value, "seconds", math.nan) is not None:
            return _sample(value, processor)
        value = value.sample(count=value.count).pixels
    frames = value if isinstance(value, np.ndarray) else None
    if (
        frames is None
        or frames.ndim != 4
        or frames.shape[-1] != 3
        or frames.dtype != np.uint8
        or not frames.size
    ):
        shown = f"an array of {frames.dtype} {frames.shape}" if frames is not None else type(value).__name__
        raise InputError(
            f"the video is {shown}",
            source="",
            remedy="give frames as an array of uint8 [t, h, w, 3]; pip install mmencode-video reads files",
        )
    return _channels_first(frames), {}


def _sample(value: Any, processor: Any) -> tuple[Any, dict[str, Any]]:
    """Sample a video at the processor's rate, or evenly where that gives too few frames or too many."""
    fixed = getattr(processor, "num_frames", None)
    rate = float(getattr(processor, "fps", None) or _RATE)
    least = int(getattr(processor, "min_frames", None) or 1)
    most = int(getattr(processor, "max_frames", None) or 2**31)
    seconds = float(getattr(value, "seconds", math.nan))
    wanted = int(fixed or (seconds * rate if math.isfinite(seconds) else least))
    even = fixed or not least <= wanted <= most
    found = value.sample(count=min(max(wanted, least), most)) if even else value.sample(rate=rate)
    pixels, times = np.asarray(found.pixels), np.asarray(found.times, np.float64)
    metadata = {
        "total_num_frames": len(pixels),
        "fps": rate,
        "duration": seconds if math.isfinite(seconds) else float(times[-1]) + 1 / rate,
        "frames_indices": [float(time) * rate for time in times],
    }
    return _channels_first(pixels), {"video_metadata": [metadata], "do_sample_frames": False}


def _channels_first(frames: Any) -> Any:
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
