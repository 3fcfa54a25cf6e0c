"""Decoding of picture files: parse the header, estimate and check the cost, then decode the pixels."""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from PIL import Image, ImageFile

from ...errors import InputError
from ..gate import common_gate
from ..limits import PIXELS, Limits, limit_remedy
from . import boxes, jpeg, jxl, netpbm, png, tiff, webp
from .header import Header, HeaderParser
from .orientation import orientation_of, upright
from .readers import open_picture, require_pixels
from .refusals import decoding_error, unknown_format_error
from .samples import rgb

# The formats that photographs are kept in. Left out on purpose: formats whose readers start other programs
# (EPS) or are unmaintained. A file's first bytes choose the reader, never its ending.
FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "Netpbm", "AVIF", "HEIC", "JPEG XL")

_STARTS: Mapping[str, re.Pattern[bytes]] = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "GIF": re.compile(rb"GIF8[79]a"),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*|MM\*\0|II\0\*|MM\0\+|II\+\0"),
    "PNM": netpbm.START,
    "PPM": re.compile(rb"P[0yfF]"),
    "JXL": re.compile(re.escape(jxl.BARE) + b"|" + re.escape(jxl.BOXED)),
}
_PARSERS: Mapping[str, HeaderParser] = {
    "JPEG": jpeg.parse_header,
    "PNG": png.parse_header,
    "WEBP": webp.parse_header,
    "TIFF": tiff.parse_header,
    "PNM": netpbm.parse_header,
    "AVIF": boxes.parse_header,
    "HEIF": boxes.parse_header,
    "JXL": jxl.parse_header,
}
_EAGER = ("WEBP", "JXL", "PNM")  # whose readers allocate or decode already when opening
_SIZED = (*_EAGER, "AVIF", "HEIF")  # whose size our own parser reads, and is checked before opening
_WITH_METADATA = ("WEBP", "AVIF")  # whose readers return the EXIF and XMP with the orientation

# Bytes of a pixel by Pillow's mode, with 4 for the other modes.
_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
_LINE = 24  # bytes of Pillow's overhead for each row, of the picture and its converted copy
# Further bytes for each pixel, by decoder: of one in Python, and of the previous frame that Pillow keeps.
_BESIDES = {"bmp_rle": 3, "gif": 1}
_SLOW = 16  # times fewer pixels are allowed in a run-length encoded BMP, which Pillow decodes in Python
# No compression of photographs puts more than _SPARSE pixels into a byte. A picture with more is blank or a
# decompression bomb, and may take 1/_PART of the memory limit, unless the caller has raised the pixel limit.
_SPARSE, _PART = 250, 8
_PASSES = 20  # that all scans may make over as many pixels as the largest allowed picture has


def decode(content: bytes, source: str, limits: Limits, least: int = 0) -> Image.Image:
    """Decode a file's first picture to an upright RGB image; InputError for other files, or beyond a limit.

    With `least`, a JPEG may be decoded at a half, a quarter or an eighth of its size, as long as its shorter
    side keeps that many pixels.
    """
    kind = _format_of(content)
    if not kind:
        raise unknown_format_error(content, source, FORMATS)
    header = Header(content=content)
    try:
        header = _parse_header(kind, content)
        return _decode_within(kind, header, len(content), source, limits, least)
    except InputError:
        raise
    except Exception as cause:  # a decoder may raise anything at untrusted bytes; the item is at fault
        raise decoding_error(cause, source, header.layout) from cause


def count_pixels(content: bytes, limits: Limits, source: str = "a picture") -> int:
    """Count the pixels of a file's first picture by its header, decoding nothing.

    InputError for other files, damaged headers, and more pixels than `limits.pixels`.
    """
    kind = _format_of(content)
    if not kind:
        raise unknown_format_error(content, source, FORMATS)
    try:
        header = _parse_header(kind, content)
        size = header.size
        if not all(size):
            if kind in _SIZED:
                _estimate_memory(header, None, len(content), source, limits)  # opening may allocate
            size = open_picture(kind, header.content, source, limits).size
        require_pixels(size, source, limits)
    except InputError:
        raise
    except Exception as cause:  # a reader may raise anything at untrusted bytes; the item is at fault
        raise decoding_error(cause, source) from cause
    return size[0] * size[1]


def _decode_within(
    kind: str, header: Header, length: int, source: str, limits: Limits, least: int
) -> Image.Image:
    if kind in _SIZED:
        need = _estimate_memory(header, None, length, source, limits)
    if kind in _EAGER:
        with common_gate.holding(need, limits.wait, source):
            content = header.unpack(header.content) if header.unpack else header.content
            image = open_picture(kind, content, source, limits)
            require_pixels(image.size, source, limits)  # the header may have claimed another size
            return _load_pixels(image, kind, header, source, limits)
    image = open_picture(kind, header.content, source, limits)
    require_pixels(image.size, source, limits)
    if least and kind == "JPEG":
        shrink = min(image.size) / least
        image.draft(None, (int(image.width / shrink), int(image.height / shrink)))
    need = _estimate_memory(header, image, length, source, limits)
    with common_gate.holding(need, limits.wait, source):
        return _load_pixels(image, kind, header, source, limits)


def require_header(image: Image.Image, source: str, limits: Limits) -> None:
    """Raise InputError where loading an image that Pillow has only open_picture would exceed a limit.

    Its file is read again from the start for that. Where it can't be, nothing is raised, and only the size
    and mode of the image can be checked.
    """
    if not isinstance(image, ImageFile.ImageFile) or not (image.tile or image.format == "WEBP"):
        return
    try:
        if image.tell():  # it stands at a later frame, and the header is the first one's
            return
        file: Any = image.fp
        place = file.tell()
        file.seek(0)
        content = file.read(limits.bytes + 1)
        file.seek(place)
        kind = _format_of(content)
        header = _parse_header(kind, content)
    except Exception:  # of a foreign file object, or of a parser on damaged bytes
        return
    _estimate_memory(header, image, len(content), source, limits)


def memory_of(size: tuple[int, int], mode: str, turned: bool = False) -> int:
    """An estimate of the bytes that a decoded image takes while it is rotated and converted to RGB."""
    each = _BYTES.get(mode, 4)
    most = max(each * (2 if turned else 1), each + (0 if mode == "RGB" else 4))
    return size[0] * size[1] * most + _LINE * max(size)


def _format_of(content: bytes) -> str:
    return next((kind for kind, start in _STARTS.items() if start.match(content)), "") or boxes.format_of(
        content
    )


def _parse_header(kind: str, content: bytes) -> Header:
    try:
        return _PARSERS[kind](content) if kind in _PARSERS else Header(content=content)
    except (struct.error, IndexError) as cause:
        raise ValueError("its header is damaged") from cause


def _estimate_memory(
    header: Header, image: ImageFile.ImageFile | None, length: int, source: str, limits: Limits
) -> int:
    """Estimate the bytes that decoding takes, from the header alone; InputError beyond a limit.

    `image` is None before the picture is opened, which is costly for some readers; `length` is the file's.
    """
    size, mode = (header.size, "RGBA") if image is None else (image.size, image.mode)
    pixels = size[0] * size[1]
    coded = max(header.coded, pixels)
    if image is None and not coded:
        raise ValueError("its size can't be read")
    if image is not None or pixels:
        require_pixels(size, source, limits)
    _require_scans(header, source, limits)
    decoder = image.tile[0][0] if image is not None and image.tile else ""
    _require_fast(decoder, pixels, source, limits)
    each = _BYTES.get(mode, 4) + _BESIDES.get(decoder, 0)
    need = header.fixed + header.each * coded + each * pixels + _LINE * size[1]
    need = max(need, memory_of(size, mode, header.orientation != 1))
    part = _PART if coded > _SPARSE * length and limits.pixels <= PIXELS else 1
    if need > limits.memory // part:
        why = f": a file of {length} bytes for {coded} pixels may take 1/{part} of Limits.memory" * (part > 1)
        raise InputError(
            f"decoding it takes about {need} bytes of memory, and the limit is {limits.memory // part}{why}",
            source=source,
            remedy=f"scale it down, or {limit_remedy('memory', need * part)}",
            fault="limit",
        )
    return need


def _require_scans(header: Header, source: str, limits: Limits) -> None:
    """Raise InputError for a progressive JPEG with too many scans, each a pass over the picture."""
    if header.scans > limits.scans:
        raise InputError(
            f"it is a JPEG of {header.scans} scans, passes over the picture; the limit is {limits.scans}",
            source=source,
            remedy=f"save it again as a baseline JPEG, or {limit_remedy('scans', header.scans)}",
            fault="limit",
        )
    passed = header.scans * header.size[0] * header.size[1]
    if header.scans > 1 and passed > _PASSES * limits.pixels:
        raise InputError(
            f"it is a JPEG of {header.scans} scans, passes over {passed} pixels in all; the limit is "
            f"{_PASSES * limits.pixels}, {_PASSES} times Limits.pixels",
            source=source,
            remedy=f"save it again as a baseline JPEG, or {limit_remedy('pixels', -(-passed // _PASSES))}",
            fault="limit",
        )


def _require_fast(decoder: str, pixels: int, source: str, limits: Limits) -> None:
    if decoder == "bmp_rle" and pixels > limits.pixels // _SLOW:
        raise InputError(
            f"it is a run-length encoded BMP, which decodes slowly, of {pixels} pixels; the limit is "
            f"{limits.pixels // _SLOW}, 1/{_SLOW} of Limits.pixels",
            source=source,
            remedy=f"save it as PNG, or {limit_remedy('pixels', pixels * _SLOW)}",
            fault="limit",
        )


def _load_pixels(
    image: ImageFile.ImageFile, kind: str, header: Header, source: str, limits: Limits
) -> Image.Image:
    image.load()
    orientation = header.orientation
    if kind in _WITH_METADATA or getattr(image, "jpeg", False):  # a JPEG XL that wraps a JPEG
        exif, xmp = image.info.get("exif"), image.info.get("xmp")
        orientation = orientation_of(*(found if isinstance(found, bytes) else b"" for found in (exif, xmp)))
    samples = header.samples if header.samples.top else replace(header.samples, top=65535.0)
    low = None if samples.key is None else _decode_lower_bytes(kind, header, source, limits)
    turned = upright(image, orientation)
    return rgb(turned, samples, low and upright(low, orientation))


def _decode_lower_bytes(kind: str, header: Header, source: str, limits: Limits) -> Image.Image:
    """Decode the lower bytes of 16-bit colours, by telling Pillow that the samples are little-endian."""
    image = open_picture(kind, header.content, source, limits)
    image.tile = [(*tile[:3], "RGB;16L") for tile in image.tile]  # type: ignore[misc]
    image.load()
    return image
