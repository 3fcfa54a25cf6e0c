"""Videos that are generated, the same on every machine: probes of encoders, and more for tests of them."""

from __future__ import annotations

from fractions import Fraction
from io import BytesIO
from typing import Any

import numpy as np

_LEAST = 6


def probes() -> list[Any]:
    """Make five short videos, as arrays with their rate: a square that moves, others that turn or fade."""
    return [(frames(number), 8.0) for number in range(_LEAST - 1)]


def samples(count: int) -> list[Any]:
    """Make so many different videos: the probes, then files of several formats."""
    made = probes()[:count]
    forms = (("mp4", "mpeg4"), ("matroska", "mpeg4"), ("avi", "mjpeg"), ("mov", "png"))
    while len(made) < count:
        made.append(encode_frames(frames(len(made)), *forms[len(made) % len(forms)]))
    return made


def frames(number: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Make the frames `[t, h, w, 3]` of a generated video: a bright square on a ground that changes."""
    draw = np.random.default_rng(number)
    length, height, width = 8 + 3 * number % 7, 48 + 16 * (number % 3), 64 + 16 * (number % 2)
    x = np.mgrid[0:height, 0:width][1] / max(height, width)
    ground, square, speed = draw.uniform(30, 220, (2, 3)), draw.uniform(0, 255, 3), draw.uniform(1, 4, 2)
    made = np.empty((length, height, width, 3), np.uint8)
    for time in range(length):
        share = 0.5 + 0.5 * np.sin(6 * x * (1 + number) + time * speed[0] / 4)[..., None]
        picture = ground[0] * share + ground[1] * (1 - share)
        left, top = int(4 + speed[0] * time) % (width - 16), int(4 + speed[1] * time) % (height - 16)
        picture[top : top + 16, left : left + 16] = square
        made[time] = picture.clip(0, 255).astype(np.uint8)
    return made


def encode_frames(
    pictures: np.ndarray[Any, np.dtype[np.uint8]], form: str = "mp4", codec: str = "mpeg4", rate: int = 8
) -> bytes:
    """Encode frames `[t, h, w, 3]` into a file of an FFmpeg format, by one of FFmpeg's own codecs."""
    import av  # imported here, since the probes need it not

    pixels = {"mjpeg": "yuvj420p", "png": "rgb24"}.get(codec, "yuv420p")
    file = BytesIO()
    with av.open(file, "w", format=form, options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = pixels
        stream.time_base = Fraction(1, rate)
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()
