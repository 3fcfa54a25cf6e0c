"""Video files that the tests make: one shade of grey for each frame, so that a frame tells its number."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Sequence
from fractions import Fraction
from io import BytesIO
from typing import Any

import av
import numpy as np
from mmencode_video import mmencode_modalities

from mmencode.inputs import Limits

(VIDEO,) = mmencode_modalities()
LIMITS = Limits().of(VIDEO)
STEP = 8  # shades between frames


def limits(**declared: float) -> Limits:
    """Limits with these of videos changed."""
    return Limits(declared={f"video.{name}": value for name, value in declared.items()}).of(VIDEO)


def greys(count: int, size: tuple[int, int] = (48, 64)) -> np.ndarray[Any, Any]:
    """Frames `[t, h, w, 3]` of one shade each."""
    shades = (np.arange(count) * STEP % 256).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(shades[:, None, None, None], (count, *size, 3)))


def numbers(pixels: np.ndarray[Any, Any]) -> list[int]:
    """The numbers that frames tell by their shades; those of at most 32 frames are told apart."""
    return [round(float(frame.mean()) / STEP) for frame in pixels]


def film(
    frames: np.ndarray[Any, Any],
    form: str = "mp4",
    codec: str = "mpeg4",
    *,
    rate: int = 10,
    times: Sequence[int] | None = None,
    pixels: str = "",
    options: dict[str, str] | None = None,
    rotation: int = 0,
    colours: dict[str, int] | None = None,
    ratio: tuple[int, int] | None = None,
    sound: bool = False,
    movflags: str = "",
) -> bytes:
    """Encode frames; `times` are in units of 1/rate s."""
    file = BytesIO()
    settings = {"movflags": movflags} if movflags else {}
    with av.open(file, "w", format=form, options=settings) as container:
        stream: Any = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels or {"mjpeg": "yuvj420p", "png": "rgb24", "qtrle": "rgb24"}.get(
            codec, "yuv420p"
        )
        if times is not None:
            stream.time_base = Fraction(1, rate)
        stream.bit_rate = 8_000_000
        if codec != "libsvtav1":
            stream.bit_rate = 8_000_000
            stream.options = {"g": "12", **(options or {})}
        if ratio:
            stream.sample_aspect_ratio = stream.codec_context.sample_aspect_ratio = Fraction(*ratio)
        if rotation:
            stream.set_display_rotation(rotation)
        for name, value in (colours or {}).items():
            setattr(stream.codec_context, name, value)
        track = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number, picture in enumerate(frames):
            frame = _frame(picture, stream.pix_fmt)
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            _add_tone(container, track, len(frames) / rate)
    return file.getvalue()


def _frame(picture: np.ndarray[Any, Any], form: str) -> Any:
    if picture.dtype == np.uint16:
        return av.VideoFrame.from_ndarray(picture, format="rgb48le")
    frame = av.VideoFrame.from_ndarray(picture, format="rgba" if picture.shape[2] == 4 else "rgb24")
    return frame.reformat(format=form, dst_color_range=2) if form.startswith("yuvj") else frame


def _add_tone(container: Any, track: Any, seconds: float) -> None:
    count = int(16000 * seconds)
    samples = (0.5 * np.sin(2 * np.pi * 440 * np.arange(count) / 16000)).astype(np.float32)[None]
    for start in range(0, count, 1024):
        block = av.AudioFrame.from_ndarray(samples[:, start : start + 1024], format="fltp", layout="mono")
        block.sample_rate, block.pts = 16000, start
        container.mux(track.encode(block))
    container.mux(track.encode(None))


def recording() -> bytes:
    """Make an mp4 file with sound and nothing to see."""
    file = BytesIO()
    with av.open(file, "w", format="mp4") as container:
        _add_tone(container, container.add_stream("aac", rate=16000, layout="mono"), 1.0)
    return file.getvalue()


def of_packets(
    packets: Iterable[bytes], size: tuple[int, int], form: str = "mov", codec: str = "png"
) -> bytes:
    """Make a file of packets as they are, whatever is in them."""
    file = BytesIO()
    with av.open(file, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=10)
        stream.height, stream.width = size
        stream.pix_fmt = "rgb24"
        for number, content in enumerate(packets):
            packet = av.Packet(content)
            packet.pts = packet.dts = number
            packet.duration, packet.time_base, packet.is_keyframe = 1, Fraction(1, 10), True
            packet.stream = stream
            container.mux(packet)
    return file.getvalue()


def png(height: int, width: int) -> bytes:
    """Make a black PNG of a few bytes for each million pixels."""
    packer = zlib.compressobj(9)
    row = bytes(3 * width + 1)
    body = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
