"""Frames of a video in the form that the processors of transformers take."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from mmencode.errors import InputError


def clip_of(value: Any, processor: Any) -> tuple[Any, dict[str, Any]]:
    """Turn a video into frames `[t, 3, h, w]`, and arguments of the processor that say when they were taken.

    A video that can be sampled, as one of `mmencode-video`, is sampled at the processor's own rate. An array
    of frames `[t, h, w, 3]` has no times, and the processor chooses among its frames.
    """
    if hasattr(value, "sample"):
        return _sample(value, processor)
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
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2), {}


def _sample(value: Any, processor: Any) -> tuple[Any, dict[str, Any]]:
    rate = float(getattr(processor, "fps", None) or 1.0)
    found = value.sample(rate=rate)
    pixels, times = np.asarray(found.pixels), np.asarray(found.times, np.float64)
    most = getattr(processor, "max_frames", None)
    if most and len(pixels) > most:
        chosen = np.linspace(0, len(pixels) - 1, int(most)).round().astype(int)
        pixels, times = pixels[chosen], times[chosen]
    metadata = {
        "total_num_frames": len(pixels),
        "fps": rate,
        "duration": float(times[-1]) + 1 / rate,
        "frames_indices": [float(time) * rate for time in times],
    }
    frames = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    return frames, {"video_metadata": [metadata], "do_sample_frames": False}
