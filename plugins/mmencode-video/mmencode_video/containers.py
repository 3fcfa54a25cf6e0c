"""Files are opened by the demuxer that their first bytes name, which can open nothing else."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av

from mmencode.checkpoints import describe_error
from mmencode.errors import InputError
from mmencode.inputs import Limits

# FFmpeg's names of formats, by the offset and value of a magic number. FFmpeg isn't left to guess a format,
# since some (playlists, lists to concatenate, scripts) make it open other files.
_MARKS = (
    *((4, mark, "mov") for mark in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    (0, b"\x1a\x45\xdf\xa3", "matroska"),
    (8, b"AVI ", "avi"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "asf"),
    (0, b"FLV\x01", "flv"),
    (0, b"\0\0\1\xba", "mpeg"),
    (0, b"\0\0\1\xb3", "mpegvideo"),
    (0, b"OggS", "ogg"),
    (0, b"\x06\x0e\x2b\x34\x02\x05\x01\x01", "mxf"),
    (0, b"DKIF\0\0", "ivf"),
    (0, b"YUV4MPEG2 ", "yuv4mpegpipe"),
    (0, b"GIF8", "gif"),
    (0, b"\x1f\x07\0", "dv"),
)
_PACKETS = ((188, 0), (192, 4))  # of transport streams: their length, and where their sync byte stands
_PICTURES = (b"avif", b"heic", b"heix", b"mif1", b"jxl ", b"crx ")  # brands of ISO base media
_TEXTS = (b"#EXTM3U", b"ffconcat", b";FFMETADATA", b"[playlist]", b"<?xml", b"<MPD", b"http", b"RTSP")
_DOLBY = ("dvh1", "dvhe", "dav1", "dva1", "dvav")  # whose base layer isn't that of HDR10 or HLG
_READ = "pass a video: mp4, mov, mkv, webm, avi, wmv, flv, mpg, m2ts, ogv, mxf, dv, y4m, ivf, gif"
_HEAD = 1024
# From 19 on PyAV takes metadata of any encoding by itself.
_ANY_ENCODING: dict[str, Any] = (
    {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
)


def sniff(head: bytes, source: str) -> str:
    """FFmpeg's name of the format that a file begins like; InputError for what is no video."""
    if head[4:8] == b"ftyp" and head[8:12] in _PICTURES:
        raise InputError("it is a picture", source=source, remedy='encode it as "image"')
    for place, mark, name in _MARKS:
        if head[place : place + len(mark)] == mark:
            return name
    for length, place in _PACKETS:
        if all(head[at : at + 1] == b"G" for at in range(place, 4 * length, length)):
            return "mpegts"
    if head.lstrip().startswith(_TEXTS):
        raise InputError(
            "it is a text that names other files or addresses, and none of these is ever opened",
            source=source,
            remedy="pass the videos themselves",
        )
    raise InputError(
        f"it is no video: it begins with {head[:8].hex(' ')}",
        source=source,
        remedy=_READ,
    )


@contextmanager
def open_video(file: BinaryIO, limits: Limits, source: str) -> Iterator[tuple[Any, Any]]:
    """Open a file from its beginning; gives its container and its main video stream.

    Whatever FFmpeg finds wrong with the file, also later in the block, is an InputError.
    """
    file.seek(0)
    name = sniff(file.read(_HEAD), source)
    file.seek(0)
    # FFmpeg's own limit counts rows and columns that decoders add.
    pixels = int(min(2 * limits.declared["video.pixels"] + 2**16, 2**31 - 1))
    try:
        with av.open(
            file,
            format=name,
            io_open=_refuse_to_open,
            **_ANY_ENCODING,
            options={"max_pixels": str(pixels)},
            buffer_size=2**17,
        ) as container:
            stream = _choose(container, name, source)
            require_pixels(stream.width, stream.height, limits, source)
            context = stream.codec_context
            context.thread_count = 1  # several videos are decoded at once, in threads of mmencode
            context.options = {"max_pixels": str(pixels)}
            yield container, stream
    except av.FFmpegError as cause:
        if getattr(cause, "errno", None) == errno.EINVAL:  # what FFmpeg says of frames beyond max_pixels
            fact = f"its frames have more than {limits.declared['video.pixels']:.12g} pixels, or are damaged"
            raise limit_error(fact, "pixels", source) from cause
        raise damage_error(f"FFmpeg says: {cause.strerror}", source, cause) from cause
    except InputError:
        raise
    except OSError as cause:
        raise InputError(
            f"reading it failed: {cause.strerror or cause}",
            source=source,
            remedy="try it again",
            fault="access",
        ) from cause
    except Exception as cause:  # PyAV raises this and that at damaged names and numbers
        raise damage_error(describe_error(cause), source, cause) from cause


def _refuse_to_open(url: str, flags: int, options: dict[str, str]) -> Any:
    raise PermissionError(f"the video refers to another file, {url}")


def damage_error(fact: str, source: str, cause: BaseException | None = None) -> InputError:
    """Make the error of a file that can't be decoded, or of memory that ran out over it."""
    memory = isinstance(cause, MemoryError) or getattr(cause, "errno", None) == errno.ENOMEM
    return InputError(
        f"it can't be decoded as a video: {fact}",
        source=source,
        remedy="fetch it again, or convert it to mp4",
        fault="process" if memory else "content",
    )


def _choose(container: Any, name: str, source: str) -> Any:
    """Choose the stream that plays: no cover of a recording, and one whose codec is there."""
    streams = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not streams:
        sound = " but sound" if container.streams.audio else ""
        raise InputError(
            f"it is a {name} file without a video in it: nothing{sound}",
            source=source,
            remedy='encode it as "audio"' if sound else "leave it out",
        )
    best = container.streams.best("video")
    chosen = best if any(best is stream for stream in streams) else streams[0]
    if getattr(chosen, "codec_context", None) is None:
        raise InputError(
            "its codec is one that FFmpeg, as PyAV brings it, can't decode",
            source=source,
            remedy="convert it to mp4 (H.264)",
        )
    if chosen.codec_context.codec_tag in _DOLBY:
        raise InputError(
            "its colours are Dolby Vision's own, which FFmpeg doesn't convert",
            source=source,
            remedy="export it in HDR10, HLG or standard range",
        )
    return chosen


def _is_cover(stream: Any) -> bool:
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


def require_pixels(width: int, height: int, limits: Limits, source: str) -> None:
    """Raise InputError for frames of more pixels than the limit."""
    most = limits.declared["video.pixels"]
    if width * height > most:
        fact = f"its frames are {width} x {height} pixels, and {most:.12g} are the most"
        raise limit_error(fact, "pixels", source, width * height)


def limit_error(fact: str, name: str, source: str, number: int | None = None) -> InputError:
    """Make the error of a video beyond one of the limits of videos, with the value that would admit it."""
    value = "..." if number is None else number
    return InputError(
        fact,
        source=source,
        remedy=f"raise the limit if you trust it: Limits(declared={{'video.{name}': {value}}}), or "
        f"--limit video.{name}={value} on the command line",
        fault="limit",
    )
