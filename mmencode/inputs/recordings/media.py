"""Formats beyond libsndfile are decoded by PyAV (FFmpeg) where it is installed, else named in an error."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from io import BytesIO
from typing import Any, NoReturn

import numpy as np

from ...errors import InputError
from ...errors.causes import describe_error
from ..signatures import kind_of_bytes, remedy_for
from ..waveform import LOUDEST
from . import ogg
from .mix import Mix
from .segment import damage_error, truncation_error

# FFmpeg's names of formats, by the offset and value of a magic number. FFmpeg isn't left to guess a format,
# since some (playlists) make it open other files.
_MARKS = (
    *((4, mark, "mov") for mark in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"#!AMR", "amr"),
    *((0, bytes((0xFF, second)), "aac") for second in (0xF0, 0xF1, 0xF8, 0xF9)),
    (0, b"wvpk", "wv"),
    (0, b"MAC ", "ape"),
    (0, b"TTA1", "tta"),
    (0, b"\x0b\x77", "ac3"),
    (0, b"FLV\x01", "flv"),
    (8, b"AVI ", "avi"),
    (188, b"G", "mpegts"),
    (0, ogg.MAGIC, "ogg"),
)
# Formats that state their length, which is believed up to _SPARSEST seconds for each byte of the file.
_COUNTED = ("mov", "matroska", "asf", "wv", "tta", "ape")
_SPARSEST = 1 / 12
_COMMON_RATE = 48_000  # Hz, of a stream that doesn't say its own before it is decoded
_SLACK = 0.2  # seconds by which encoders' padding may change the length
_BEGUN = ("WAV ", "AIFF", "FLAC", "CAF", "AU rec", "Wave64", "Creative")  # kinds that libsndfile reads
_READ = (
    "wav, flac, ogg, opus and mp3 are read; m4a, webm, wma, amr and aac are with PyAV: "
    "pip install 'mmencode[av]'"
)


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError(f"the recording refers to another file, {url}")


def _alone(version: str) -> dict[str, Any]:
    """The arguments of `av.open` for a file that opens no other, and has metadata in any encoding."""
    before_19 = int(version.partition(".")[0]) < 19  # from which on PyAV takes every encoding by itself
    return {"io_open": _refuse_to_open, **({"metadata_errors": "replace"} if before_19 else {})}


def add(content: bytes, mix: Mix, source: str) -> None:
    """Decode a file by PyAV into the mix; InputError that names its kind where PyAV can't."""
    name = next((name for place, mark, name in _MARKS if content[place : place + len(mark)] == mark), None)
    kind = kind_of_bytes(content)
    if name is None or (name == "mpegts" and "transport" not in kind):
        _refuse(content, kind, source)
    kind = kind or f"of FFmpeg's format {name}"
    if name == "ogg":
        kind += f" of {' and '.join(ogg.other_codecs(content, source)) or 'something unknown'}"
    try:
        import av
    except Exception as cause:  # or one of its libraries
        missing = isinstance(cause, ModuleNotFoundError)
        raise InputError(
            f"it can't be decoded as audio: it is {kind}, which PyAV would read"
            + ("" if missing else f", and that can't be imported: {describe_error(cause)}"),
            source=source,
            remedy="pip install 'mmencode[av]', or convert it to wav or flac",
            fault="access",
        ) from cause
    try:
        with av.open(BytesIO(content), format=name, **_alone(av.__version__)) as container:
            _add(container, kind, len(content) * _SPARSEST if name in _COUNTED else 0.0, mix, source)
    except av.FFmpegError as cause:
        raise InputError(
            f"it can't be decoded as audio: it is {kind}, and FFmpeg says: {cause.strerror}",
            source=source,
            remedy="fetch it again; it may be truncated",
            fault="process" if cause.errno == errno.ENOMEM else "content",  # the other codes mean damage
        ) from cause


def _refuse(content: bytes, kind: str, source: str) -> NoReturn:
    if "MP3" in kind or "layer" in kind:
        raise damage_error(f"it begins like {kind}, and has no consecutive frames", source)
    if any(word in kind for word in _BEGUN):
        raise damage_error(f"it begins like {kind}, and isn't a valid one", source)
    what = kind or f"nothing known: it begins with {content[:8].hex(' ')}"
    raise InputError(f"it can't be decoded as audio: it is {what}", source=source, remedy=_remedy(kind))


def _remedy(kind: str) -> str:
    if "picture" in kind or "a camera's raw file" in kind:
        return 'encode it as "image"'
    if "playlist" in kind:
        return "pass the files that it lists"
    if "MIDI" in kind or "tracker" in kind:
        return "play it into a wav file, and pass that"
    return remedy_for(kind, _READ)


def _add(container: Any, kind: str, most: float, mix: Mix, source: str) -> None:
    """Decode the first audio stream into the mix; a stated length over `most` seconds isn't believed."""
    if not container.streams.audio:
        raise InputError(f"it is {kind} without sound", source=source, remedy="leave it out")
    stream = container.streams.audio[0]
    length = _length(container, stream)
    length = length if 0 < length <= most else 0.0
    rate = stream.rate or _COMMON_RATE
    frames = int(length * rate) if length else None
    with mix.room(frames, max(1, stream.channels), rate, last=False):
        for block, own in _blocks(container, stream):
            mix.add(block, 0, own)
    if not mix.peak <= LOUDEST and not stream.codec_context.name.startswith("pcm_f"):
        raise damage_error(
            f"its samples go up to {mix.peak:g}, and full scale is 1, so it is damaged", source
        )
    seconds = mix.count / mix.rate if mix.rate else 0.0
    if seconds < 0.98 * length - _SLACK:
        raise truncation_error(f"it has {seconds:.1f} s, and its header claims {length:.1f} s", source)


def _length(container: Any, stream: Any) -> float:
    """The stated length of the audio in seconds; 0 if only the container of a video states one."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.streams.video else (container.duration or 0) / 1e6


def _blocks(container: Any, stream: Any) -> Iterator[tuple[np.ndarray[Any, Any], int]]:
    """Yield float32 blocks `[channels, n]` with their rate, converted from any sample format."""
    import av

    resampler, kind = None, None
    for frame in container.decode(stream):
        if resampler is None or kind != (frame.format.name, frame.layout.name, frame.sample_rate):
            kind = frame.format.name, frame.layout.name, frame.sample_rate
            resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=frame.sample_rate)
        for made in resampler.resample(frame):
            yield made.to_ndarray(), made.sample_rate
